//! Sizes of values, and numbers of what graphs declare.

use std::fmt;

/// Index of a weight in its graph's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub u32);

/// Index of a state in its graph's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub u32);

/// Index of a recurrent state in its graph's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecurrentId(pub u32);

/// One dimension: known, or known only when a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A number.
    Const(usize),
    /// Tokens of the step.
    Tokens,
    /// Rows whose logits are wanted.
    LogitRows,
    /// Queries of an attention tile.
    Queries,
    /// Visible keys.
    Keys,
    /// So many for each token of the step, and some more.
    Routed {
        /// For each token.
        per_token: usize,
        /// Whatever the number of tokens.
        more: usize,
    },
}

/// Dimensions, slowest first.
pub(crate) type Shape = Vec<Dim>;

/// A shape as graphs print it: `[T, 64]`.
pub fn shape_text(shape: &[Dim]) -> String {
    let dims: Vec<_> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Const(n) => write!(f, "{n}"),
            Dim::Tokens => f.write_str("T"),
            Dim::LogitRows => f.write_str("R"),
            Dim::Queries => f.write_str("Q"),
            Dim::Keys => f.write_str("S"),
            Dim::Routed { per_token, more: 0 } => write!(f, "{per_token}T"),
            Dim::Routed { per_token, more } => write!(f, "{per_token}T+{more}"),
        }
    }
}

impl fmt::Display for WeightId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}", self.0)
    }
}

impl fmt::Display for RecurrentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}
