//! A rank that is a process, however it was started.

use super::communicator::Communicator;
use crate::error::Error;

/// What Open MPI, and what MPICH, Intel MPI and Slurm call the number of processes.
const SIZES: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];

/// How many processes MPI has started together with this one; nothing where it has not started any.
pub fn processes() -> Option<usize> {
    let size = |name: &&str| std::env::var(name).ok()?.parse().ok();
    SIZES.iter().find_map(size)
}

/// Joins the other processes, of which there have to be `ranks` with this one.
///
/// # Errors
/// Another number of processes, and a runtime that knows no way to reach them.
#[cfg(feature = "mpi")]
pub fn of_process(ranks: usize) -> Result<Box<dyn Communicator>, Error> {
    Ok(Box::new(super::mpi::MpiRank::join(ranks)?))
}

/// Joins the other processes, of which there have to be `ranks` with this one.
///
/// # Errors
/// In any case: this runtime knows no way to reach them.
#[cfg(not(feature = "mpi"))]
pub fn of_process(ranks: usize) -> Result<Box<dyn Communicator>, Error> {
    Err(Error::NoMpi { ranks })
}
