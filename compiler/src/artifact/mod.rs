//! From planned programs to something that runs: code in memory, executables, shared libraries, objects.

mod jit;
mod listing;

pub use jit::{JitError, jit, weight_source};
pub use listing::{ListingError, listings};
