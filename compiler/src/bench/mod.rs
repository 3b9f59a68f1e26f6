//! Measures variants of one model against each other, on the same cores, in turn.
//!
//! In: a loaded model, variants (which passes run), points (prefill or decode, of so many tokens, at a depth), and how many
//! rounds. In each round every variant runs every point once, so that what disturbs the machine disturbs all alike; ratios are taken
//! within a round. Out: a [`Report`], with what each variant's step is made of beside its times, and the machine's ceilings.

mod diff;
mod headline;
mod record;
mod stats;
mod text;
mod verdict;

use std::sync::Arc;
use std::time::Instant;

use graver_runtime::abi::{DECODE_TOKENS, PREFILL_TOKENS};
use graver_runtime::cpu::{self, Spent, Usage};
use graver_runtime::kernels::{Choices, Isa};
use graver_runtime::session::{Session, SessionOptions, Wanted};
use graver_runtime::{Error, ceilings};

use crate::artifact::{JitError, jit};
use crate::codegen::{Instruments, Planned};
use crate::cost::{self, Cost, Step};
use crate::driver::{self, CompileOptions, Loaded, plain_program, plan_program};
use crate::explain::{Counts, counts};
use crate::graph::ProgramKind;
use crate::passes::{Outcome, PASSES, PassOptions};

pub use diff::{Difference, Differences, diff};
pub use record::{
    Busy, FORMAT, Headline, Phase, Point, PointReport, Report, Speeds, VariantReport,
};
pub use stats::Ratio;
use stats::{median, quantile};
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

/// A compiled variant.
struct Contender {
    name: String,
    planned: [Planned; 2],
    session: Session,
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
    let session_options = SessionOptions {
        threads: Some(settings.threads),
        context,
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

/// What the machine reaches by itself. Neighbours come and go, so it is measured between the runs, and its best counts.
struct Machine<'a> {
    threads: usize,
    /// Whether operations are on integers.
    integers: bool,
    /// Bytes that a step reads.
    read_bytes: usize,
    /// 10⁹ bytes and 10⁹ operations a second.
    ceilings: [f64; 2],
    /// What the runs got of the processors.
    spent: &'a mut Spent,
}

impl Machine<'_> {
    fn measure(&mut self) {
        let arithmetic = match self.integers {
            true => ceilings::int8_gops(self.threads),
            false => ceilings::gflops(self.threads),
        };
        let now = [ceilings::gbps(self.threads, self.read_bytes), arithmetic];
        for (best, now) in self.ceilings.iter_mut().zip(now) {
            *best = best.max(now);
        }
    }
}

/// Seconds of each run, for each contender. The first round warms up and is not kept.
fn measure(
    contenders: &mut [Contender],
    point: &Point,
    rounds: usize,
    machine: &mut Machine<'_>,
    progress: &dyn Fn(f64),
) -> Result<Vec<Vec<f64>>, BenchError> {
    let mut seconds = vec![vec![]; contenders.len()];
    for round in 0..=rounds {
        progress(round as f64 / (rounds + 1) as f64);
        machine.measure();
        for i in 0..contenders.len() {
            // Each round begins with another one, so that none always follows the same.
            let i = (i + round) % contenders.len();
            let taken = contenders[i].time(point, machine.spent)?;
            if round > 0 {
                seconds[i].push(taken);
            }
        }
    }
    Ok(seconds)
}

impl Contender {
    fn time(&mut self, point: &Point, spent: &mut Spent) -> Result<f64, BenchError> {
        let tokens = token_ids(point.depth + point.tokens, self.session.vocab());
        let (before, fed) = tokens.split_at(point.depth);
        // A ring may have lost what a cut needs.
        let is_cut = self.session.position(0)? >= point.depth
            && self.session.truncate(0, point.depth).is_ok();
        if !is_cut {
            self.session.reset(0)?;
        }
        // Where rotations change with the length, nothing is to be computed again while time is taken.
        self.session.expect(0, tokens.len())?;
        if !is_cut && point.depth > 0 {
            self.session.feed(0, before, Wanted::None)?;
        }
        let (usage, begun) = (Usage::now(), Instant::now());
        match point.phase {
            Phase::Prefill => drop(self.session.feed(0, fed, Wanted::Last)?),
            Phase::Decode => {
                for token in fed.chunks(1) {
                    self.session.feed(0, token, Wanted::Last)?;
                }
            }
        }
        let seconds = begun.elapsed().as_secs_f64();
        spent.add(&usage);
        Ok(seconds)
    }

    fn report(
        &self,
        point: &Point,
        seconds: &[f64],
        base: &[f64],
        [gbps_ceiling, gflops_ceiling]: [f64; 2],
    ) -> VariantReport {
        let (all, _, made_of) = point_cost(point, &self.planned);
        let middle = median(seconds);
        let rate = |n: u64| n as f64 / middle / 1e9;
        let (gbps, gflops) = (rate(all.memory_bytes()), rate(all.flops));
        let ceiling_share = (gbps / gbps_ceiling).max(gflops / gflops_ceiling);
        VariantReport {
            name: self.name.clone(),
            kernels: made_of.kernels,
            barriers: made_of.barriers,
            flops: all.flops,
            memory_bytes: all.memory_bytes(),
            bytes: all.bytes(),
            tokens_per_second: point.tokens as f64 / middle,
            spread: [0.25, 0.75].map(|q| quantile(seconds, q) / middle),
            gbps,
            gflops,
            ceiling_share,
            impossible: ceiling_share > 1.0,
            ratio: (!std::ptr::eq(seconds, base)).then(|| stats::paired(base, seconds)),
            seconds: seconds.to_vec(),
        }
    }
}

/// Ids that differ, the same for every variant.
fn token_ids(n: usize, vocab: usize) -> Vec<u32> {
    (0..n).map(|i| ((i * 7919 + 13) % vocab) as u32).collect()
}

/// What the whole point costs, what its first step does, and what a step is made of.
fn point_cost(point: &Point, planned: &[Planned; 2]) -> (Cost, Cost, Counts) {
    let longest = match point.phase {
        Phase::Prefill => PREFILL_TOKENS,
        Phase::Decode => 1,
    };
    let steps = (0..point.tokens).step_by(longest).map(|from| Step {
        tokens: longest.min(point.tokens - from),
        depth: point.depth + from,
        logit_rows: usize::from(point.phase == Phase::Decode || from + longest >= point.tokens),
    });
    let program = |s: &Step| &planned[usize::from(s.tokens > DECODE_TOKENS)];
    let costs = steps.map(|s| (cost::total(&cost::kernels(program(&s), s)), s));
    let costs: Vec<_> = costs.collect();
    let (first, step) = costs[0];
    (
        costs.iter().map(|c| c.0).sum(),
        first,
        counts(program(&step)),
    )
}
