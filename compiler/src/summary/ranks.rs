//! What a step costs where ranks share a model: the work of the first rank, which has the largest part, and the messages of all.
//!
//! A collective takes as long as its messages on a link with a latency and a bandwidth (Hockney 1994). Nothing is assumed to go on
//! meanwhile, so that what is predicted is what ranks reach that wait for their links.

use std::fmt;

use graver_runtime::abi::PREFILL_TOKENS;
use graver_runtime::ranks::LARGE_SUM;
use serde::Serialize;

use super::machine::Machine;
use crate::codegen::{Instruments, Planned};
use crate::cost::{self, Step};
use crate::driver::{CompileOptions, Loaded, plain_programs, plan_program};
use crate::graph::{Collective, Program, ProgramKind};
use crate::shard::{Division, Method, RanksError, Sharding};
use crate::units::{bytes, counted};

/// A link between two ranks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Link {
    /// 10⁹ bytes a second.
    pub gbps: f64,
    /// Microseconds until the first byte of a message is there.
    pub latency_us: f64,
}

/// How ranks share a model, in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct RanksSummary {
    /// How many.
    pub ranks: usize,
    /// How.
    pub plan: Method,
    /// Bytes of the first rank's weights.
    pub weight_bytes: u64,
    /// What predictions assume.
    pub link: Option<Link>,
    /// The same steps as those of one rank.
    pub steps: Vec<RanksStep>,
}

/// A step of all ranks.
#[derive(Clone, Debug, Serialize)]
pub struct RanksStep {
    /// `decode` or `prefill`.
    pub program: String,
    /// The step.
    pub step: Step,
    /// Times that ranks meet.
    pub meetings: u64,
    /// Bytes that the first rank brings to all of these.
    pub brought_bytes: u64,
    /// Tokens a second that the machines and their links allow at most.
    pub tokens_per_second: Option<f64>,
}

/// Sums up how ranks share a model.
///
/// # Errors
/// Numbers of ranks that there cannot be.
pub(super) fn summarize(
    loaded: &Loaded,
    options: &CompileOptions,
    division: Division,
    steps: &[(ProgramKind, Step)],
    machine: Option<(Machine, Link)>,
) -> Result<RanksSummary, RanksError> {
    let plain = plain_programs(loaded, options.cache);
    let Division { ranks, method } = division;
    let sharding = Sharding::plan(&plain[0], division)?;
    // One after the other, or all at the same time, of which the first has most to do.
    let working = match method {
        Method::Pipeline => 0..ranks,
        Method::Tensor | Method::Expert => 0..1,
    };
    let part = |program: &Program, rank| {
        let program = sharding.rank(program, rank).program;
        plan_program(program, &options.passes, Instruments::default()).0
    };
    let planned = plain.each_ref().map(|program| {
        let parts = working.clone().map(|rank| part(program, rank));
        parts.collect::<Vec<_>>()
    });
    let of_kind = |kind| &planned[usize::from(kind == ProgramKind::Prefill)];
    let step = |(kind, step): &(ProgramKind, Step)| of_step(of_kind(*kind), *step, ranks, machine);
    Ok(RanksSummary {
        ranks,
        plan: method,
        weight_bytes: weight_bytes(&planned[0][0].program),
        link: machine.map(|m| m.1),
        steps: steps.iter().map(step).collect(),
    })
}

fn weight_bytes(program: &Program) -> u64 {
    let blocks = program.run_order().map(|b| &program.blocks[b].graph);
    let weights = blocks.flat_map(|graph| &graph.weights);
    weights.map(|w| (w.bytes() * w.count) as u64).sum()
}

/// A step of ranks that work one after the other, or of one that stands for all.
fn of_step(
    planned: &[Planned],
    step: Step,
    ranks: usize,
    machine: Option<(Machine, Link)>,
) -> RanksStep {
    let parts = planned.iter().enumerate();
    let parts: Vec<_> = parts
        .map(|(rank, p)| messages(&p.program, rank, step, ranks, machine))
        .collect();
    let first = &parts[0];
    let links = match planned.len() {
        1 => first.seconds,
        // What all hand over to the next, and where all meet.
        _ => parts.iter().map(|p| p.handed_seconds).sum::<f64>() + first.seconds,
    };
    let work = |p: &Planned| {
        let kernels = cost::kernels(p, step);
        machine.map(|(m, _)| cost::least_seconds(&kernels, m.gbps, m.gflops))
    };
    let work: Option<f64> = planned.iter().map(work).sum();
    RanksStep {
        program: planned[0].program.kind.to_string(),
        step,
        meetings: first.meetings,
        brought_bytes: first.brought,
        tokens_per_second: work.map(|work| step.tokens as f64 / (work + links)),
    }
}

/// What a rank brings to the others in a step, and how long that takes.
#[derive(Default)]
struct Messages {
    meetings: u64,
    brought: u64,
    /// Where all meet.
    seconds: f64,
    /// What it hands over.
    handed_seconds: f64,
}

fn messages(
    program: &Program,
    rank: usize,
    step: Step,
    ranks: usize,
    machine: Option<(Machine, Link)>,
) -> Messages {
    let mut out = Messages::default();
    for (block, id, collective) in program.collectives() {
        let graph = &program.blocks[block].graph;
        let times = program.run_order().filter(|b| *b == block).count() as u64;
        let rows = match block == program.head() {
            true => step.logit_rows,
            false => step.tokens,
        };
        if rows == 0 {
            continue;
        }
        let (own, width) = (graph.width(graph.input(id)) * rows, graph.width(id) * rows);
        let one = machine.map_or(0.0, |(_, link)| link.seconds(collective, own, width, ranks));
        let receivers = match collective {
            Collective::AllReduce | Collective::AllGather { .. } => 1,
            Collective::HandOver { from, .. } if from != rank => 0,
            Collective::HandOver { to: Some(_), .. } => 1,
            Collective::HandOver { to: None, .. } => ranks as u64 - 1,
        };
        out.meetings += times;
        out.brought += times * receivers * own as u64 * 4;
        match collective.is_of_all() {
            true => out.seconds += one * times as f64,
            false => out.handed_seconds += one * (times * receivers) as f64,
        }
    }
    out
}

/// The quickest way for so many ranks to share a model: by what a token takes at some depth, and what one of a long prompt does.
/// Where they are equal, that in which all ranks always have the same work.
///
/// # Errors
/// Numbers of ranks that there cannot be.
pub fn quickest(
    loaded: &Loaded,
    options: &CompileOptions,
    ranks: usize,
    machine: (Machine, Link),
) -> Result<Method, RanksError> {
    let (depth, prompt) = (DEPTH.min(loaded.model.context - 1), PREFILL_TOKENS);
    let steps = [
        (ProgramKind::Decode, Step::decode(depth)),
        (
            ProgramKind::Prefill,
            Step::prefill(prompt.min(loaded.model.context), 0),
        ),
    ];
    let seconds = |method| -> Result<f64, RanksError> {
        let division = Division { ranks, method };
        let summary = summarize(loaded, options, division, &steps, Some(machine))?;
        let rates = summary.steps.iter().filter_map(|s| s.tokens_per_second);
        Ok(rates.map(f64::recip).sum())
    };
    let mut best = (seconds(Method::Tensor)?, Method::Tensor);
    for method in [Method::Expert, Method::Pipeline] {
        match seconds(method) {
            Ok(other) if other < best.0 => best = (other, method),
            // Too many ranks for the layers there are.
            Ok(_) | Err(RanksError::Layers { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(best.1)
}

/// Positions that are filled where ways are compared.
const DEPTH: usize = 1024;

impl Link {
    /// What a collective takes to which this rank brings `own` numbers, and of which `all` come out.
    fn seconds(&self, collective: Collective, own: usize, all: usize, ranks: usize) -> f64 {
        let others = (ranks - 1) as f64;
        let rounds = (ranks as f64).log2().ceil();
        let (numbers, rounds) = match collective {
            // Each sums up a part, and hands it to the others.
            Collective::AllReduce if own >= LARGE_SUM && ranks > 2 => {
                (2.0 * others / ranks as f64 * own as f64, 2.0 * rounds)
            }
            Collective::AllReduce => (others * own as f64, rounds),
            Collective::AllGather { .. } => ((all - own) as f64, rounds),
            Collective::HandOver { .. } => (own as f64, 1.0),
        };
        rounds * self.latency_us * 1e-6 + numbers * 4.0 / (self.gbps * 1e9)
    }
}

impl RanksSummary {
    /// A line for each thing there is to say.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let ranks = counted(self.ranks, "rank");
        let weights = match self.plan {
            Method::Tensor => format!("{ranks}, weights"),
            Method::Expert => format!("{ranks} by experts, weights"),
            Method::Pipeline => format!("{ranks} by layers, weights"),
        };
        let mut out = vec![(
            weights,
            format!("{} of the first", bytes(self.weight_bytes)),
        )];
        out.extend(self.steps.iter().map(|s| {
            let name = match s.step.tokens {
                1 => format!("{} at {}", s.program, s.step.depth + 1),
                n => format!("{} of {n}", s.program),
            };
            (format!("  {name}"), s.to_string())
        }));
        out
    }
}

impl fmt::Display for RanksStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meetings = counted(self.meetings as usize, "meeting");
        write!(f, "{meetings} with {}", bytes(self.brought_bytes))?;
        match self.tokens_per_second {
            Some(t) if t < 10.0 => write!(f, "; at most {t:.2} tokens/s"),
            Some(t) => write!(f, "; at most {t:.0} tokens/s"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_take_latency_and_bandwidth() {
        let link = Link {
            gbps: 1.0,
            latency_us: 10.0,
        };
        let close =
            |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-9, "{found}");
        // Two ranks exchange 1000 numbers: one round, 4000 bytes.
        close(
            link.seconds(Collective::AllReduce, 1000, 1000, 2),
            10e-6 + 4e-6,
        );
        // Eight in three rounds, each receiving those of seven others.
        close(
            link.seconds(Collective::AllReduce, 1000, 1000, 8),
            30e-6 + 28e-6,
        );
        // Many numbers go round in parts: to the rank that sums them up, and back.
        let parts = 2.0 * 0.75 * 4.0 * LARGE_SUM as f64 / 1e9;
        close(
            link.seconds(Collective::AllReduce, LARGE_SUM, LARGE_SUM, 4),
            40e-6 + parts,
        );
        let gather = Collective::AllGather {
            first: 0,
            width: 300,
        };
        close(link.seconds(gather, 100, 300, 3), 20e-6 + 0.8e-6);
    }
}
