//! What is wrong with a grammar, and where.

/// A grammar that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub(crate) struct GbnfError {
    /// From 1.
    pub(super) line: usize,
    /// In characters, from 1.
    pub(super) column: usize,
    /// What was found, and what was expected.
    pub(super) message: String,
}
