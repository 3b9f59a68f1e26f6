//! What a compiled model needs to run, and nothing else.

pub mod abi;
pub mod appendix;
pub mod artifact;
pub mod caught;
pub mod ceilings;
pub mod checked;
pub mod cli;
pub mod cpu;
mod error;
#[cfg(feature = "artifact")]
mod exports;
pub mod files;
pub mod fnv;
pub mod generate;
pub mod info;
pub mod kernels;
pub mod mapped;
mod memory;
pub mod pages;
mod past;
pub mod profile;
pub mod ranks;
pub mod sampling;
pub mod sequence;
pub mod session;
mod sizes;
pub mod state;
pub mod stdout;
mod step;
pub mod stream;
pub mod text;
pub mod threads;
pub mod tokenizer;
pub mod tune;
pub mod writing;

pub use error::Error;

/// The interface of shared libraries and objects, for C.
pub const HEADER: &str = include_str!("../include/graver.h");
