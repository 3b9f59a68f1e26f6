//! Graver compiles a language model, described by a JSON spec, into a native forward pass.

pub mod graph;
pub mod interp;
pub mod passes;
pub mod spec;
