//! Measures variants of one model against each other, on the same cores, in turn.
//!
//! In: a loaded model, variants (which passes run), points (prefill or decode, of so many tokens, at a depth), and how many
//! rounds. In each round every variant runs every point once, so that what disturbs the machine disturbs all alike; ratios are taken
//! within a round. Out: a [`Report`], with what each variant's step is made of beside its times, and the machine's ceilings.

mod diff;
mod error;
mod executables;
mod headline;
mod measure;
mod record;
mod stats;
mod text;
mod variants;
mod verdict;

use std::sync::Arc;

use graver_runtime::Error;
use graver_runtime::abi::{Dtype, Encoding};
use graver_runtime::ceilings;
use graver_runtime::cpu::{self, Spent};
use graver_runtime::kernels::{Choices, Isa};
use graver_runtime::profile::Profile;
use graver_runtime::ranks::{Communicator, Shared};
use graver_runtime::session::{Session, SessionOptions};

use crate::artifact::jit;
use crate::codegen::Instruments;
use crate::driver::{
    self, Activations, CompileOptions, Loaded, OpenError, plan_ranks, start_rank, start_ranks,
};
use crate::shard::Division;

pub use diff::{Difference, Differences, diff};
pub use error::BenchError;
pub use executables::{Duel, DuelError, DuelPoint, DuelSettings, duel};
pub use record::{
    Busy, FORMAT, Headline, Phase, Point, PointReport, Report, Speeds, VariantReport,
};
pub use stats::Ratio;

pub(crate) use measure::token_ids;
use measure::{Contender, Machine, measure, point_cost};
use variants::most_saving;
pub use variants::{Variant, ab, ablation, fused, profiled, unfused};
use verdict::verdict;

/// How it is measured.
pub struct Settings {
    /// Times that every variant runs every point.
    pub rounds: usize,
    /// Threads of each rank.
    pub threads: usize,
    /// Ranks that share the model.
    pub division: Division,
    /// The way to the others, where ranks are processes, of which this is one: all of them call [`run`] alike.
    pub others: Option<Shared>,
}

/// Measures every variant at every point. `progress` hears what is running, and how far it has come, from 0 to 1.
/// Where ranks are processes, only the first one has a report.
///
/// # Errors
/// Points without room, and what compiling or the runtime reports.
pub fn run(
    model: &str,
    loaded: Loaded,
    options: &CompileOptions,
    variants: &[Variant],
    points: &[Point],
    mut settings: Settings,
    progress: &dyn Fn(&str, f64),
) -> Result<Option<Report>, BenchError> {
    let context = loaded.model.context;
    if let Some(p) = points.iter().find(|p| p.tokens + p.depth > context) {
        let (tokens, depth) = (p.tokens, p.depth);
        return Err(BenchError::Context {
            tokens,
            depth,
            context,
        });
    }
    let kernels = Isa::chosen().map_err(Error::from)?;
    let choices = Choices::chosen(kernels, &options.tuned).map_err(Error::from)?;
    let weight_bytes = loaded.weights.total_bytes() as u64;
    progress("measuring the machine", 0.0);
    let arithmetic = ceiling(&loaded);
    let model_checksum = driver::plan(&loaded, options).manifest.model_checksum();
    let saved = most_saving(&loaded, options);
    let mut gflops_ceiling = 0.0;
    let mut contenders = match settings.division.ranks {
        1 => compile(loaded, options, variants, points, &settings)?,
        _ => compile_ranks(loaded, options, variants, points, &settings)?,
    };
    let leads = settings.others.as_ref().is_none_or(|o| o.rank() == 0);
    let own_threads = match settings.others {
        Some(_) => settings.threads,
        None => settings.threads * settings.division.ranks,
    };
    let mut spent = Spent::default();
    let mut reports = vec![];
    for (i, point) in points.iter().enumerate() {
        let step = point_cost(point, &contenders[0].planned).1;
        let mut machine = Machine {
            threads: own_threads,
            arithmetic,
            read_bytes: step.memory_bytes() as usize,
            ceilings: [0.0, gflops_ceiling],
            spent: &mut spent,
            others: settings.others.as_mut(),
        };
        let at =
            |share: f64| progress(&point.to_string(), (i as f64 + share) / points.len() as f64);
        let seconds = measure(&mut contenders, point, settings.rounds, &mut machine, &at)?;
        let machine = machine.ceilings;
        if !leads {
            continue;
        }
        let [gbps_ceiling, gflops] = machine;
        gflops_ceiling = gflops;
        reports.push(PointReport {
            point: *point,
            gbps_ceiling,
            variants: contenders
                .iter()
                .zip(&seconds)
                .map(|(c, s)| c.report(point, s, &seconds[0], machine))
                .collect(),
        });
    }
    let busy = Busy {
        lost: spent.lost(own_threads),
        steal: spent.steal(),
    };
    let profiles = profiles(&mut contenders)?;
    if let Some(mut others) = settings.others {
        // Sessions leave first, those of all ranks in one order.
        contenders
            .into_iter()
            .try_for_each(|c| c.session.end_together())?;
        others.leave();
        if !leads {
            return Ok(None);
        }
    }
    Ok(Some(Report {
        format: FORMAT,
        model: model.into(),
        model_checksum,
        verdict: verdict(&reports, busy.is_busy(), saved.as_ref()),
        weight_bytes,
        processor: cpu::model_name(),
        kernels: kernels.name().into(),
        choices: Some(choices),
        threads: settings.threads,
        ranks: settings.division.ranks,
        rounds: settings.rounds,
        gflops_ceiling,
        busy,
        headline: Headline::of(&reports),
        points: reports,
        profiles,
    }))
}

/// Where the time of the variant went that takes it.
fn profiles(contenders: &mut [Contender]) -> Result<Vec<Profile>, Error> {
    let profiled = contenders
        .iter_mut()
        .find(|c| c.session.profile().is_some());
    let profiles = profiled.map(|c| c.session.together(Session::profiles));
    Ok(profiles.transpose()?.flatten().unwrap_or_default())
}

/// How the sessions of all variants are made.
fn session_options(points: &[Point], settings: &Settings) -> SessionOptions {
    let slots = points.iter().map(|p| p.sequences).max();
    SessionOptions {
        threads: Some(settings.threads),
        context: points.iter().map(|p| p.tokens + p.depth).max(),
        slots: slots.unwrap_or(1),
        // MPI says which processors its processes run on.
        pin: settings.others.is_none(),
        ..SessionOptions::default()
    }
}

/// What products with a model's weights are compared with.
fn ceiling(loaded: &Loaded) -> fn(usize) -> f64 {
    let any = |is: fn(Encoding) -> bool| loaded.weights.views().any(|v| is(v.encoding));
    if any(|e| matches!(e, Encoding::Quantized(_))) {
        ceilings::int8_gops
    } else if any(|e| e == Encoding::Float(Dtype::Bf16)) {
        match loaded.activations {
            Activations::F32 => |threads| ceilings::product_gflops(threads, Dtype::Bf16),
            Activations::Bf16 => ceilings::rounded_gflops,
        }
    } else if any(|e| e == Encoding::Float(Dtype::F16)) {
        |threads| ceilings::product_gflops(threads, Dtype::F16)
    } else {
        |threads| ceilings::product_gflops(threads, Dtype::F32)
    }
}

/// Options of a variant's code.
fn of_variant(options: &CompileOptions, v: &Variant) -> CompileOptions {
    CompileOptions {
        passes: v.passes.clone(),
        instruments: Instruments {
            stamps: v.profiled,
            ..options.instruments
        },
        ..options.clone()
    }
}

/// [`compile`] for the ranks of this process, or for that which it is.
fn compile_ranks(
    mut loaded: Loaded,
    options: &CompileOptions,
    variants: &[Variant],
    points: &[Point],
    settings: &Settings,
) -> Result<Vec<Contender>, BenchError> {
    loaded.weights.settle();
    let contender = |v: &Variant| {
        let options = of_variant(options, v);
        let mut parts =
            plan_ranks(&loaded, &options, settings.division).map_err(OpenError::from)?;
        let planned = parts.iter().map(|p| p.model.programs.clone()).collect();
        let session = SessionOptions {
            profile: v.profiled,
            ..session_options(points, settings)
        };
        let session = match &settings.others {
            None => start_ranks(parts, &options, &session)?,
            Some(others) => {
                let own = parts.swap_remove(others.rank());
                drop(parts);
                start_rank(own, session, Box::new(others.another()))?
            }
        };
        Ok(Contender {
            name: v.name.clone(),
            planned,
            session,
        })
    };
    variants.iter().map(contender).collect()
}

fn compile(
    mut loaded: Loaded,
    options: &CompileOptions,
    variants: &[Variant],
    points: &[Point],
    settings: &Settings,
) -> Result<Vec<Contender>, BenchError> {
    let mut compiled = vec![];
    for v in variants {
        let planned = driver::plan(&loaded, &of_variant(options, v));
        let program = jit(&planned)?;
        compiled.push((v, planned.programs, program));
    }
    loaded.weights.settle();
    let weights = Arc::new(loaded.weights);
    let open = |(v, planned, program): (&Variant, _, _)| {
        let options = SessionOptions {
            profile: v.profiled,
            ..session_options(points, settings)
        };
        let session = driver::start(program, &weights, options)?;
        Ok(Contender {
            name: v.name.clone(),
            planned: vec![planned],
            session,
        })
    };
    compiled.into_iter().map(open).collect()
}
