//! Why a text is not a graph.

use crate::graph::ops::{AttrError, ShapeError};

/// Why a text is not a graph.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// A line that does not read.
    #[error("line {line}: {what}: `{text}`")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
        /// The line.
        text: String,
    },
}

/// What may go wrong inside a line; the caller adds the place.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("{0}")]
    Syntax(&'static str),
    #[error("{0} is not defined above")]
    Name(String),
    #[error("{0} is defined above already")]
    Twice(String),
    #[error("the shape is {found}, the text says {said}")]
    Shape { found: String, said: String },
    #[error(transparent)]
    Attr(#[from] AttrError),
    #[error(transparent)]
    Operands(#[from] ShapeError),
}
