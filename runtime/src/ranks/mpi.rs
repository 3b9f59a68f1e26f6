//! Ranks that are processes, which MPI has started and connected.
//!
//! What goes wrong between processes ends all of them, as MPI does by default: calls here do not come back with an error.

use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use mpi::Threading;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::request::{Request, Scope, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives, Destination, Root, Source};

use super::communicator::{Communicator, LARGE_SUM, RankLost};
use super::mpi_sum::PendingSum;
use crate::error::Error;

/// Bytes that go with a message's length: enough for most commands, so that they take one broadcast.
const AT_ONCE: usize = 1024;

/// One of the processes that MPI has started.
pub struct MpiRank {
    /// Ended by [`Communicator::leave`] alone: a process that ends without is one that failed, upon which MPI ends the others.
    universe: ManuallyDrop<Universe>,
    world: SimpleCommunicator,
    /// What ranks have sent.
    received: Vec<f32>,
    /// A sum that goes on.
    pending: Option<Box<PendingSum>>,
}

// SAFETY: MPI was told that calls come from several threads, one at a time, as `&mut self` makes sure.
unsafe impl Send for MpiRank {}

impl MpiRank {
    /// Joins the others.
    ///
    /// # Errors
    /// Other than `expected` processes, and an MPI whose calls all have to come from one thread.
    pub fn join(expected: usize) -> Result<MpiRank, Error> {
        let joined = mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) = joined.ok_or(Error::MpiTwice)?;
        let universe = ManuallyDrop::new(universe);
        if threading < Threading::Serialized {
            return Err(Error::MpiThreads);
        }
        let world = universe.world();
        match world.size() as usize {
            found if found == expected => Ok(MpiRank {
                universe,
                world,
                received: vec![],
                pending: None,
            }),
            found => Err(Error::Processes { found, expected }),
        }
    }
}

/// How long a rank asks MPI without a pause whether something has come, and how long it sleeps before it asks again afterwards: next to
/// nothing of a processor is used up, and nobody notices.
const EAGER: Duration = Duration::from_millis(20);
const NAP: Duration = Duration::from_millis(1);

/// Waits for what has been asked for.
fn wait_for<'a, D: ?Sized, S: Scope<'a>>(mut request: Request<'a, D, S>) {
    let begun = Instant::now();
    while let Err(not_yet) = request.test() {
        request = not_yet;
        if begun.elapsed() > EAGER {
            std::thread::sleep(NAP);
        }
    }
}

/// The sum of runs of the length of `sum` that follow each other, in their order.
pub(super) fn sum_up(runs: &[f32], sum: &mut [f32]) {
    for (i, run) in runs.chunks_exact(sum.len().max(1)).enumerate() {
        match i {
            0 => sum.copy_from_slice(run),
            _ => sum.iter_mut().zip(run).for_each(|(s, v)| *s += v),
        }
    }
}

impl Communicator for MpiRank {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn ranks(&self) -> usize {
        self.world.size() as usize
    }

    fn all_reduce(&mut self, own: &[f32], sum: &mut [f32]) -> Result<(), RankLost> {
        if own.len() >= LARGE_SUM && self.ranks() > 2 {
            PendingSum::begin(&self.world, own).end(&self.world, sum, true);
            return Ok(());
        }
        self.received.resize(own.len() * self.ranks(), 0.0);
        self.world.all_gather_into(own, &mut self.received[..]);
        sum_up(&self.received, sum);
        Ok(())
    }

    fn begin_sum(&mut self, own: &[f32]) -> Result<(), RankLost> {
        self.pending = Some(PendingSum::begin(&self.world, own));
        Ok(())
    }

    fn end_sum(&mut self, sum: &mut [f32], wait: bool) -> Result<bool, RankLost> {
        let Some(pending) = &mut self.pending else {
            return Ok(true);
        };
        let is_done = pending.end(&self.world, sum, wait);
        if is_done {
            self.pending = None;
        }
        Ok(is_done)
    }

    fn goes_on(&self) -> bool {
        true
    }

    fn all_gather(
        &mut self,
        own: &[f32],
        lengths: &[usize],
        all: &mut [f32],
    ) -> Result<(), RankLost> {
        let (counts, firsts) = partition(lengths);
        let mut to = PartitionMut::new(all, &counts[..], &firsts[..]);
        self.world.all_gather_varcount_into(own, &mut to);
        Ok(())
    }

    fn send(&mut self, to: usize, numbers: &[f32]) -> Result<(), RankLost> {
        self.world.process_at_rank(to as i32).send(numbers);
        Ok(())
    }

    fn receive(&mut self, from: usize, numbers: &mut [f32]) -> Result<(), RankLost> {
        self.world
            .process_at_rank(from as i32)
            .receive_into(numbers);
        Ok(())
    }

    fn broadcast(&mut self, bytes: &mut Vec<u8>) -> Result<(), RankLost> {
        let from = self.world.process_at_rank(0);
        let mut first = [0; AT_ONCE];
        let room = AT_ONCE - size_of::<u64>();
        let (length, start) = first.split_at_mut(size_of::<u64>());
        length.copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        let n = bytes.len().min(room);
        start[..n].copy_from_slice(&bytes[..n]);
        // Between steps others may have nothing to do for long.
        scope(|scope| wait_for(from.immediate_broadcast_into(scope, &mut first[..])));
        let (length, start) = first.split_at(size_of::<u64>());
        let length = length.iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
        if self.rank() != 0 {
            bytes.resize(length, 0);
            let n = length.min(room);
            bytes[..n].copy_from_slice(&start[..n]);
        }
        if length > room {
            from.broadcast_into(&mut bytes[room..]);
        }
        Ok(())
    }

    fn exchange(&mut self, own: &[u8]) -> Result<Vec<Vec<u8>>, RankLost> {
        let mut lengths = vec![0u64; self.ranks()];
        self.world
            .all_gather_into(&(own.len() as u64), &mut lengths[..]);
        let lengths: Vec<usize> = lengths.into_iter().map(|n| n as usize).collect();
        let (counts, firsts) = partition(&lengths);
        let mut all = vec![0u8; lengths.iter().sum()];
        let mut to = PartitionMut::new(&mut all[..], &counts[..], &firsts[..]);
        self.world.all_gather_varcount_into(own, &mut to);
        let mut rest = all.as_slice();
        let one = |n: &usize| {
            let (one, after) = rest.split_at(*n);
            rest = after;
            one.to_vec()
        };
        Ok(lengths.iter().map(one).collect())
    }

    fn wait(&mut self) -> Result<(), RankLost> {
        self.world.barrier();
        Ok(())
    }

    fn leave(&mut self) {
        // SAFETY: nobody leaves twice, and the communicator is not used afterwards: a link leaves when it is dropped.
        unsafe { ManuallyDrop::drop(&mut self.universe) };
    }
}

/// Lengths and first places of runs that follow each other.
fn partition(lengths: &[usize]) -> (Vec<i32>, Vec<i32>) {
    let mut next = 0;
    let first = |n: &usize| {
        let first = next;
        next += *n as i32;
        first
    };
    let firsts = lengths.iter().map(first).collect();
    (lengths.iter().map(|n| *n as i32).collect(), firsts)
}
