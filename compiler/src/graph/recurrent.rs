//! Operations whose state does not grow with the sequence: a short convolution, and the gated delta rule.

use std::fmt;

use super::op::{Activation, Norm, roles};

/// Index of a recurrent state in its graph's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecurrentId(pub u32);

/// A state of fixed size, zero where a sequence begins: `[heads, rows, columns]` of f32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecurrentDecl {
    /// Name: `delta_net.state`.
    pub name: String,
    /// Heads, each a matrix of its own.
    pub heads: usize,
    /// Rows of a head.
    pub rows: usize,
    /// Columns of a head.
    pub columns: usize,
}

impl RecurrentDecl {
    /// Bytes of one sequence's state.
    pub fn bytes(&self) -> usize {
        self.heads * self.rows * self.columns * 4
    }
}

/// A causal convolution of every channel by itself: `out[t, c] = norm(act(Σ_j w[c, j] · x[t − taps + 1 + j, c]))`.
///
/// The state holds the last `taps − 1` rows of `x`. Operands: `x [T, n]`, `w [n, taps]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShortConv {
    /// Positions that a result sees, its own included.
    pub taps: usize,
    /// Applied to the sum.
    pub act: Option<Activation>,
    /// Applied behind it; without gain and bias.
    pub norm: Option<Norm>,
    /// `[1, taps − 1, n]`.
    pub state: RecurrentId,
}

/// The gated delta rule (Yang, Kautz & Hatamizadeh 2025); with a decay for each component of a key it is Kimi delta attention
/// (Kimi Team 2025).
///
/// For each token and head: `S ← diag(decay) S`, `S ← S + k · β (v − Sᵀ k)ᵀ`, `out = scale · Sᵀ q`. Operands: `q` and `k`
/// `[T, key_heads · key_dim]`, `v [T, heads · value_dim]`, `decay [T, heads]` or `[T, heads · key_dim]`, `beta [T, heads]`; the
/// norm's gain; the factor of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeltaRule {
    /// Heads of the state and of the values.
    pub heads: usize,
    /// Heads of queries and keys, each for as many heads of the state that follow each other.
    pub key_heads: usize,
    /// Width of a key: rows of the state.
    pub key_dim: usize,
    /// Width of a value: columns of the state.
    pub value_dim: usize,
    /// Multiplies the result.
    pub scale: f32,
    /// Normalises the result of each head.
    pub norm: Option<Norm>,
    /// Multiplies the result by an operand of its shape, behind the norm.
    pub gated: bool,
    /// `[heads, key_dim, value_dim]`.
    pub state: RecurrentId,
}

impl DeltaRule {
    /// Heads of the state that share a key.
    pub fn group(&self) -> usize {
        self.heads / self.key_heads
    }

    pub(super) fn roles(&self) -> Vec<String> {
        let mut out = roles(&["q", "k", "v", "decay", "beta"]);
        out.extend(self.norm.iter().flat_map(|n| n.roles("norm.")));
        out.extend(self.gated.then(|| "gate".into()));
        out
    }
}

impl fmt::Display for RecurrentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}
