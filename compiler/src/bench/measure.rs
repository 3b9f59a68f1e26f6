//! The runs: each contender in turn, and between them what the machine can do.

use std::time::Instant;

use graver_runtime::Error;
use graver_runtime::abi::{DECODE_TOKENS, PREFILL_TOKENS};
use graver_runtime::ceilings;
use graver_runtime::cpu::{Spent, Usage};
use graver_runtime::ranks::{Communicator, Shared};
use graver_runtime::session::{Segment, Session, Wanted};

use super::error::BenchError;
use super::record::{Phase, Point, VariantReport};
use super::stats::{self, median, quantile};
use crate::codegen::Planned;
use crate::cost::{self, Cost, Step};
use crate::explain::{Counts, counts};

/// A compiled variant.
pub(super) struct Contender {
    pub(super) name: String,
    /// Both programs of each rank.
    pub(super) planned: Vec<[Planned; 2]>,
    pub(super) session: Session,
}

/// What the machine reaches by itself. Neighbours come and go, so it is measured between the runs, and its best counts.
pub(super) struct Machine<'a> {
    pub(super) threads: usize,
    /// 10⁹ operations a second that so many threads do at most.
    pub(super) arithmetic: fn(usize) -> f64,
    /// Bytes that a step reads.
    pub(super) read_bytes: usize,
    /// 10⁹ bytes and 10⁹ operations a second.
    pub(super) ceilings: [f64; 2],
    /// What the runs got of the processors.
    pub(super) spent: &'a mut Spent,
    /// The way to other processes, which measure at the same time.
    pub(super) others: Option<&'a mut Shared>,
}

impl Machine<'_> {
    fn measure(&mut self) -> Result<(), Error> {
        let arithmetic = || (self.arithmetic)(self.threads);
        let now = match &mut self.others {
            None => [ceilings::gbps(self.threads, self.read_bytes), arithmetic()],
            Some(others) => {
                let each = self.read_bytes / others.ranks();
                others.wait()?;
                let gbps = ceilings::gbps(self.threads, each);
                others.wait()?;
                of_all(others, [gbps, arithmetic()])?
            }
        };
        for (best, now) in self.ceilings.iter_mut().zip(now) {
            *best = best.max(now);
        }
        Ok(())
    }
}

/// What all processes reach together.
fn of_all(others: &mut Shared, own: [f64; 2]) -> Result<[f64; 2], Error> {
    let bytes: Vec<u8> = own.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut sum = [0.0; 2];
    for theirs in others.exchange(&bytes)? {
        for (sum, bytes) in sum.iter_mut().zip(theirs.as_chunks().0) {
            *sum += f64::from_le_bytes(*bytes);
        }
    }
    Ok(sum)
}

/// Seconds of each run, for each contender. The first round warms up and is not kept.
pub(super) fn measure(
    contenders: &mut [Contender],
    point: &Point,
    rounds: usize,
    machine: &mut Machine<'_>,
    progress: &dyn Fn(f64),
) -> Result<Vec<Vec<f64>>, BenchError> {
    let mut seconds = vec![vec![]; contenders.len()];
    for round in 0..=rounds {
        progress(round as f64 / (rounds + 1) as f64);
        machine.measure()?;
        for i in 0..contenders.len() {
            // Each round begins with another one, so that none always follows the same.
            let i = (i + round) % contenders.len();
            let taken = contenders[i].time(point, machine.spent)?;
            if round > 0 {
                seconds[i].extend(taken);
            }
        }
    }
    Ok(seconds)
}

impl Contender {
    /// Seconds, where this is the first rank.
    fn time(&mut self, point: &Point, spent: &mut Spent) -> Result<Option<f64>, Error> {
        self.session
            .together(|session| time_on(session, point, spent))
    }

    pub(super) fn report(
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
            tokens_per_second: point.all_tokens() as f64 / middle,
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

fn time_on(session: &mut Session, point: &Point, spent: &mut Spent) -> Result<f64, Error> {
    let tokens: Vec<Vec<u32>> = (0..point.sequences)
        .map(|slot| token_ids(slot, point.depth + point.tokens, session.vocab()))
        .collect();
    for (slot, tokens) in tokens.iter().enumerate() {
        prepare(session, slot, &tokens[..point.depth], tokens.len())?;
    }
    let (usage, begun) = (Usage::now(), Instant::now());
    match point.phase {
        Phase::Prefill => drop(session.feed(0, &tokens[0][point.depth..], Wanted::Last)?),
        Phase::Decode => {
            for at in point.depth..point.depth + point.tokens {
                let next = tokens.iter().enumerate().map(|(slot, tokens)| Segment {
                    slot,
                    tokens: &tokens[at..=at],
                });
                session.step(&next.collect::<Vec<_>>(), Wanted::Last)?;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    spent.add(&usage);
    Ok(seconds)
}

/// Leaves `before` in a slot, which is then filled up to `end`.
fn prepare(session: &mut Session, slot: usize, before: &[u32], end: usize) -> Result<(), Error> {
    // A ring may have lost what a cut needs.
    let is_cut =
        session.position(slot)? >= before.len() && session.truncate(slot, before.len()).is_ok();
    if !is_cut {
        session.reset(slot)?;
    }
    // Where rotations change with the length, nothing is to be computed again while time is taken.
    session.expect(slot, end)?;
    if !is_cut && !before.is_empty() {
        session.feed(slot, before, Wanted::None)?;
    }
    Ok(())
}

/// Ids that differ, also from one slot to the next, the same for every variant.
pub(crate) fn token_ids(slot: usize, n: usize, vocab: usize) -> Vec<u32> {
    let id = |i: usize| ((i * 7919 + slot * 101 + 13) % vocab) as u32;
    (0..n).map(id).collect()
}

/// What the whole point costs on all ranks, what its first step does, and what a step of the first rank is made of.
pub(super) fn point_cost(point: &Point, planned: &[[Planned; 2]]) -> (Cost, Cost, Counts) {
    let longest = match point.phase {
        Phase::Prefill => PREFILL_TOKENS,
        Phase::Decode => 1,
    };
    let steps = (0..point.tokens).step_by(longest).map(|from| Step {
        tokens: longest.min(point.tokens - from) * point.sequences,
        sequences: point.sequences,
        depth: point.depth + from,
        logit_rows: match point.phase {
            Phase::Prefill => usize::from(from + longest >= point.tokens),
            Phase::Decode => point.sequences,
        },
    });
    let of_step = |s: &Step| usize::from(s.tokens > DECODE_TOKENS);
    let cost = |s: Step| -> Cost {
        let of_rank = |p: &[Planned; 2]| cost::total(&cost::kernels(&p[of_step(&s)], s));
        planned.iter().map(of_rank).sum()
    };
    let costs: Vec<_> = steps.map(|s| (cost(s), s)).collect();
    let (first, step) = costs[0];
    (
        costs.iter().map(|c| c.0).sum(),
        first,
        counts(&planned[0][of_step(&step)]),
    )
}
