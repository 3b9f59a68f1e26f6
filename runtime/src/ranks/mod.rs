//! Ranks that share a model: each has a session of its own part, and all take the same steps.
//!
//! Rank 0 is asked; what it is asked it tells the others (`command`), which follow. In the midst of a step ranks meet where their code
//! says so (`link`), through a [`Communicator`]: threads of one process ([`local`]), or processes that MPI has started.

mod command;
mod communicator;
mod early;
mod hello;
mod link;
pub mod local;
#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(feature = "mpi")]
mod mpi_sum;
mod process;
mod shared;

pub use communicator::{Communicator, LARGE_SUM, RankLost};

pub(crate) use command::Command;
pub(crate) use link::{Link, no_collective, nothing_finished};
pub use process::{of_process, processes};
pub use shared::Shared;
