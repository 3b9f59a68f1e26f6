//! Graver compiles a language model, described by a JSON spec, into a native forward pass.

pub mod access;
mod agree;
pub mod artifact;
pub mod bench;
pub mod codegen;
pub mod contents;
pub mod cost;
pub mod divergence;
pub mod driver;
pub mod dump;
pub mod embedded;

pub mod explain;
pub mod graph;
pub mod interp;
pub mod mechanisms;
pub mod memory;
pub mod passes;
pub mod perplexity;
pub mod report;
pub mod schedule;
pub mod spec;
pub mod summary;
pub mod text;
mod units;
pub mod verify;
mod walk;
pub mod weights;
