//! Graver compiles a language model, described by a JSON spec, into a native forward pass.

pub mod codegen;
pub mod graph;
pub mod interp;
pub mod memory;
pub mod passes;
pub mod schedule;
pub mod spec;
pub mod weights;
