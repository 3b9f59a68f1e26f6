//! What a step costs where ranks share a model: the work of the first rank, which has the largest part, and the messages of all.
//!
//! A collective takes as long as its messages on a link with a latency and a bandwidth (Hockney 1994). Nothing is assumed to go on
//! meanwhile, so that what is predicted is what ranks reach that wait for their links.

use std::fmt;

use graver_runtime::ranks::LARGE_SUM;
use serde::Serialize;

use super::machine::Machine;
use crate::codegen::{Instruments, Planned};
use crate::cost::{self, Step};
use crate::driver::{CompileOptions, Loaded, plain_program, plan_program};
use crate::graph::{Collective, Program, ProgramKind};
use crate::shard::{RanksError, Sharding};
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

/// Sums up how `ranks` ranks share a model.
///
/// # Errors
/// Numbers of ranks that there cannot be.
pub(super) fn summarize(
    loaded: &Loaded,
    options: &CompileOptions,
    ranks: usize,
    steps: &[(ProgramKind, Step)],
    machine: Option<(Machine, Link)>,
) -> Result<RanksSummary, RanksError> {
    let kinds = [ProgramKind::Decode, ProgramKind::Prefill];
    let plain = kinds.map(|kind| plain_program(loaded, kind, options.cache));
    let sharding = Sharding::plan(&plain[0], ranks)?;
    let planned = plain.map(|program| {
        let program = sharding.rank(&program, 0).program;
        plan_program(program, &options.passes, Instruments::default()).0
    });
    let of_kind = |kind| &planned[usize::from(kind == ProgramKind::Prefill)];
    let step = |(kind, step): &(ProgramKind, Step)| of_step(of_kind(*kind), *step, ranks, machine);
    Ok(RanksSummary {
        ranks,
        weight_bytes: weight_bytes(&planned[0].program),
        link: machine.map(|m| m.1),
        steps: steps.iter().map(step).collect(),
    })
}

fn weight_bytes(program: &Program) -> u64 {
    let blocks = program.run_order().map(|b| &program.blocks[b].graph);
    let weights = blocks.flat_map(|graph| &graph.weights);
    weights.map(|w| (w.bytes() * w.count) as u64).sum()
}

fn of_step(
    planned: &Planned,
    step: Step,
    ranks: usize,
    machine: Option<(Machine, Link)>,
) -> RanksStep {
    let program = &planned.program;
    let (mut meetings, mut brought, mut seconds) = (0, 0, 0.0);
    for (block, id, collective) in program.collectives() {
        let graph = &program.blocks[block].graph;
        let times = program.run_order().filter(|b| *b == block).count() as u64;
        let rows = match block == program.head() {
            true => step.logit_rows,
            false => step.tokens,
        };
        let (own, width) = (graph.width(graph.input(id)) * rows, graph.width(id) * rows);
        meetings += times;
        brought += times * own as u64 * 4;
        let one = machine.map_or(0.0, |(_, link)| link.seconds(collective, own, width, ranks));
        seconds += one * times as f64;
    }
    let kernels = cost::kernels(planned, step);
    let work = machine.map(|(m, _)| cost::least_seconds(&kernels, m.gbps, m.gflops));
    RanksStep {
        program: program.kind.to_string(),
        step,
        meetings,
        brought_bytes: brought,
        tokens_per_second: work.map(|work| step.tokens as f64 / (work + seconds)),
    }
}

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
        };
        rounds * self.latency_us * 1e-6 + numbers * 4.0 / (self.gbps * 1e9)
    }
}

impl RanksSummary {
    /// A line for each thing there is to say.
    pub(super) fn rows(&self) -> Vec<(String, String)> {
        let weights = format!("{}, weights", counted(self.ranks, "rank"));
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
