//! A rank that is a process, however it was started.

use super::communicator::Communicator;
use crate::error::Error;

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
