//! Measures variants of one model against each other, on the same cores, in turn.
//!
//! In: a loaded model, variants (which passes run), points (prefill or decode, of so many tokens, at a depth), and how many
//! rounds. In each round every variant runs every point once, so that what disturbs the machine disturbs all alike; ratios are taken
//! within a round. Out: a [`Report`], with what each variant's step is made of beside its times, and the machine's ceilings.

mod diff;
mod executables;
mod headline;
mod measure;
mod record;
mod stats;
mod text;
mod verdict;

use std::sync::Arc;

use graver_runtime::Error;
use graver_runtime::cpu::{self, Spent};
use graver_runtime::kernels::{Choices, Isa};
use graver_runtime::session::SessionOptions;

use crate::artifact::{JitError, jit};
use crate::codegen::Instruments;
use crate::driver::{self, CompileOptions, Loaded, plain_program, plan_program};
use crate::explain::counts;
use crate::graph::ProgramKind;
use crate::passes::{Outcome, PASSES, PassOptions};

pub use diff::{Difference, Differences, diff};
pub use executables::{Duel, DuelError, DuelPoint, DuelSettings, duel};
pub use record::{
    Busy, FORMAT, Headline, Phase, Point, PointReport, Report, Speeds, VariantReport,
};
pub use stats::Ratio;

use measure::{Contender, Machine, measure, point_cost};
use verdict::{Saved, verdict};

/// One of the things that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// `fused`, `without norm-prologue`.
    pub name: String,
    /// Its passes.
    pub passes: PassOptions,
    /// Whether it takes the time of its kernels.
    pub profiled: bool,
}

/// How it is measured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Times that every variant runs every point.
    pub rounds: usize,
    /// Threads.
    pub threads: usize,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Code.
    #[error(transparent)]
    Jit(#[from] JitError),
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] Error),
    /// A point that the model has no room for.
    #[error(
        "{tokens} tokens after {depth} others do not fit the model's context of {context}: choose a smaller --prompt, --gen or --depth"
    )]
    Context {
        /// Tokens of the point.
        tokens: usize,
        /// Its depth.
        depth: usize,
        /// Positions of the model.
        context: usize,
    },
}

/// The graph as its passes leave it.
pub fn fused(passes: &PassOptions) -> Variant {
    variant("fused", passes.clone())
}

/// Fused and unfused.
pub fn ab(passes: &PassOptions) -> Vec<Variant> {
    vec![fused(passes), unfused()]
}

/// The plain graph.
pub fn unfused() -> Variant {
    let none = PassOptions {
        no_fuse: true,
        ..PassOptions::default()
    };
    variant("unfused", none)
}

/// Fused and unfused, then every pass that acts on the model, switched off alone and on alone.
pub fn ablation(loaded: &Loaded, options: &CompileOptions) -> Vec<Variant> {
    let mut out = ab(&options.passes);
    let acting = acting(loaded, options);
    for pass in &acting {
        let mut off = options.passes.clone();
        off.disabled.push(pass.to_string());
        out.push(variant(&format!("without {pass}"), off));
    }
    for pass in &acting {
        let others = PASSES.iter().map(|p| p.name).filter(|n| n != pass);
        let only = PassOptions {
            disabled: others.map(String::from).collect(),
            ..PassOptions::default()
        };
        out.push(variant(&format!("only {pass}"), only));
    }
    out
}

fn variant(name: &str, passes: PassOptions) -> Variant {
    Variant {
        name: name.into(),
        passes,
        profiled: false,
    }
}

/// The fused graph again, taking the time of its kernels: what that costs stands in the report like any other ratio.
pub fn profiled(passes: &PassOptions) -> Variant {
    Variant {
        profiled: true,
        ..variant("profiled", passes.clone())
    }
}

/// Passes that fuse something somewhere.
fn acting(loaded: &Loaded, options: &CompileOptions) -> Vec<&'static str> {
    let reports = [ProgramKind::Decode, ProgramKind::Prefill].map(|kind| {
        let plain = plain_program(loaded, kind, options.cache);
        plan_program(plain, &options.passes, Instruments::default()).1
    });
    let fused = |name: &str| {
        let mut sites = reports
            .iter()
            .flatten()
            .filter(|r| r.pass == name)
            .flat_map(|r| &r.candidates);
        sites.any(|(_, site)| matches!(site.outcome, Outcome::Fused(_)))
    };
    PASSES.iter().map(|p| p.name).filter(|n| fused(n)).collect()
}

/// The pass that saves most barriers of a decode step, by itself.
fn most_saving(loaded: &Loaded, options: &CompileOptions) -> Option<Saved> {
    let barriers = |passes: &PassOptions| {
        let plain = plain_program(loaded, ProgramKind::Decode, options.cache);
        counts(&plan_program(plain, passes, Instruments::default()).0).barriers
    };
    let with_all = barriers(&options.passes);
    let saved = options.passes.enabled().into_iter().map(|pass| {
        let mut without = options.passes.clone();
        without.disabled.push(pass.name.into());
        let barriers = barriers(&without).saturating_sub(with_all);
        Saved {
            pass: pass.name,
            barriers,
        }
    });
    saved.filter(|s| s.barriers > 0).max_by_key(|s| s.barriers)
}

/// Measures every variant at every point. `progress` hears what is running, and how far it has come, from 0 to 1.
///
/// # Errors
/// Points without room, and what compiling or the runtime reports.
pub fn run(
    model: &str,
    loaded: Loaded,
    options: &CompileOptions,
    variants: &[Variant],
    points: &[Point],
    settings: &Settings,
    progress: &dyn Fn(&str, f64),
) -> Result<Report, BenchError> {
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
    let choices = Choices::chosen(kernels).map_err(Error::from)?;
    let weight_bytes = loaded.weights.total_bytes() as u64;
    progress("measuring the machine", 0.0);
    let integers = loaded.weights.views().any(|v| v.encoding.quant().is_some());
    let model_checksum = driver::plan(&loaded, options).manifest.model_checksum();
    let saved = most_saving(&loaded, options);
    let mut gflops_ceiling = 0.0;
    let mut contenders = compile(loaded, options, variants, points, settings)?;
    let mut spent = Spent::default();
    let mut reports = vec![];
    for (i, point) in points.iter().enumerate() {
        let step = point_cost(point, &contenders[0].planned).1;
        let mut machine = Machine {
            threads: settings.threads,
            integers,
            read_bytes: step.memory_bytes() as usize,
            ceilings: [0.0, gflops_ceiling],
            spent: &mut spent,
        };
        let at =
            |share: f64| progress(&point.to_string(), (i as f64 + share) / points.len() as f64);
        let seconds = measure(&mut contenders, point, settings.rounds, &mut machine, &at)?;
        let machine = machine.ceilings;
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
        lost: spent.lost(settings.threads),
        steal: spent.steal(),
    };
    Ok(Report {
        format: FORMAT,
        model: model.into(),
        model_checksum,
        verdict: verdict(&reports, busy.is_busy(), saved.as_ref()),
        weight_bytes,
        processor: cpu::model_name(),
        kernels: kernels.name().into(),
        choices: Some(choices),
        threads: settings.threads,
        rounds: settings.rounds,
        gflops_ceiling,
        busy,
        headline: Headline::of(&reports),
        points: reports,
        profile: contenders.iter().find_map(|c| c.session.profile()),
    })
}

fn compile(
    mut loaded: Loaded,
    options: &CompileOptions,
    variants: &[Variant],
    points: &[Point],
    settings: &Settings,
) -> Result<Vec<Contender>, BenchError> {
    let context = points.iter().map(|p| p.tokens + p.depth).max();
    let slots = points.iter().map(|p| p.sequences).max();
    let session_options = SessionOptions {
        threads: Some(settings.threads),
        context,
        slots: slots.unwrap_or(1),
        pin: true,
        ..SessionOptions::default()
    };
    let mut compiled = vec![];
    for v in variants {
        let instruments = Instruments {
            stamps: v.profiled,
            ..options.instruments
        };
        let options = CompileOptions {
            passes: v.passes.clone(),
            instruments,
            ..options.clone()
        };
        let planned = driver::plan(&loaded, &options);
        let program = jit(&planned)?;
        compiled.push((v, planned.programs, program));
    }
    loaded.weights.settle();
    let weights = Arc::new(loaded.weights);
    let open = |(v, planned, program): (&Variant, _, _)| {
        let options = SessionOptions {
            profile: v.profiled,
            ..session_options.clone()
        };
        let session = driver::start(program, &weights, options)?;
        Ok(Contender {
            name: v.name.clone(),
            planned,
            session,
        })
    };
    compiled.into_iter().map(open).collect()
}
