//! A sum of processes that may go on while they compute: MPI is asked from time to time whether it is done, and does a part of its work
//! whenever it is asked. Of many numbers every rank sums up a run, and hands it to the others.

use std::ffi::c_int;

use mpi::ffi;
use mpi::raw::AsRaw;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, Equivalence};

use super::communicator::LARGE_SUM;
use super::mpi::sum_up;

/// A sum that was begun. Its numbers stay where they are until MPI is done with them: it has to be ended before it goes.
pub(super) struct PendingSum {
    request: ffi::MPI_Request,
    stage: Stage,
    /// This rank's numbers; those of the sum, once each rank has summed up its run.
    own: Vec<f32>,
    /// What ranks have sent.
    received: Vec<f32>,
    /// The sum of this rank's run.
    total: Vec<f32>,
    /// Lengths and first places of the runs of all ranks.
    runs: [Vec<c_int>; 2],
    /// The same of what each of them sends for this rank's run.
    sent: [Vec<c_int>; 2],
}

enum Stage {
    /// Every rank gets everything.
    All,
    /// Every rank gets its run of everything.
    Runs,
    /// Every rank gets the sums of all runs.
    Sums,
}

impl PendingSum {
    /// Begins to sum up what all ranks call this with.
    pub(super) fn begin(world: &SimpleCommunicator, own: &[f32]) -> Box<PendingSum> {
        let (rank, ranks) = (world.rank() as usize, world.size() as usize);
        let first = |r: usize| own.len() * r / ranks;
        let length = |r: usize| first(r + 1) - first(r);
        let each = |of: &dyn Fn(usize) -> usize| (0..ranks).map(|r| of(r) as c_int).collect();
        let mine = length(rank);
        let in_runs = own.len() >= LARGE_SUM && ranks > 2;
        let (stage, received) = match in_runs {
            true => (Stage::Runs, ranks * mine),
            false => (Stage::All, ranks * own.len()),
        };
        let mut sum = Box::new(PendingSum {
            // SAFETY: a constant of the library.
            request: unsafe { ffi::RSMPI_REQUEST_NULL },
            stage,
            own: own.to_vec(),
            received: vec![0.0; received],
            total: vec![0.0; mine],
            runs: [each(&length), each(&first)],
            sent: [each(&|_| mine), each(&|r| r * mine)],
        });
        let (float, comm) = (f32::equivalent_datatype().as_raw(), world.as_raw());
        let (from, to) = (sum.own.as_ptr().cast(), sum.received.as_mut_ptr().cast());
        let n = own.len() as c_int;
        let [lengths, firsts] = sum.runs.each_ref().map(Vec::as_ptr);
        let [counts, places] = sum.sent.each_ref().map(Vec::as_ptr);
        // SAFETY: all ranks call this with as many numbers, for which there is room; the box keeps them in place until the request has
        // ended.
        unsafe {
            match sum.stage {
                Stage::All => {
                    ffi::MPI_Iallgather(from, n, float, to, n, float, comm, &mut sum.request)
                }
                Stage::Runs | Stage::Sums => ffi::MPI_Ialltoallv(
                    from,
                    lengths,
                    firsts,
                    float,
                    to,
                    counts,
                    places,
                    float,
                    comm,
                    &mut sum.request,
                ),
            };
        }
        sum
    }

    /// Whether the sum is done, upon which it is in `out`; with `wait`, once it is.
    pub(super) fn end(&mut self, world: &SimpleCommunicator, out: &mut [f32], wait: bool) -> bool {
        while self.has_come(wait) {
            match self.stage {
                Stage::All => {
                    sum_up(&self.received, out);
                    return true;
                }
                Stage::Runs => self.spread(world),
                Stage::Sums => {
                    out.copy_from_slice(&self.own);
                    return true;
                }
            }
        }
        false
    }

    /// Sums up this rank's run, and begins to hand it to the others.
    fn spread(&mut self, world: &SimpleCommunicator) {
        sum_up(&self.received, &mut self.total);
        self.stage = Stage::Sums;
        let (float, comm) = (f32::equivalent_datatype().as_raw(), world.as_raw());
        let (from, to) = (self.total.as_ptr().cast(), self.own.as_mut_ptr().cast());
        let n = self.total.len() as c_int;
        let [lengths, firsts] = self.runs.each_ref().map(Vec::as_ptr);
        // SAFETY: as in `begin`.
        unsafe {
            ffi::MPI_Iallgatherv(
                from,
                n,
                float,
                to,
                lengths,
                firsts,
                float,
                comm,
                &mut self.request,
            );
        }
    }

    /// Whether what was asked for last is there.
    fn has_come(&mut self, wait: bool) -> bool {
        let mut is_there: c_int = 0;
        // SAFETY: the request is this one's, and nobody wants its status.
        unsafe {
            match wait {
                true => {
                    ffi::MPI_Wait(&mut self.request, ffi::RSMPI_STATUS_IGNORE);
                    is_there = 1;
                }
                false => {
                    let status = ffi::RSMPI_STATUS_IGNORE;
                    ffi::MPI_Test(&mut self.request, &mut is_there, status);
                }
            }
        }
        is_there != 0
    }
}
