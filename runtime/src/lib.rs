//! What a compiled model needs to run, and nothing else.

pub mod abi;
pub mod cpu;
pub mod error;
pub mod mapped;
mod memory;
pub mod session;
mod sizes;
pub mod state;
mod step;
pub mod threads;

pub use error::Error;
