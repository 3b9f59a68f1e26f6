//! The verifier: what has to hold of every graph and of every program, when it is built, after every pass, and when it is
//! scheduled. After it nothing is checked any more: generated code reads and writes what the graph says.

mod error;
mod graph;
mod operands;
mod program;
#[cfg(test)]
mod tests;

pub use self::error::VerifyError;
pub use self::graph::verify;
