//! What stages ask of an operation before they look at its options: its name, how its work can be cut and how much of it there is,
//! which state it touches, and whether its result is int8.

use super::attention::{Attention, LatentAttention};
use super::collective::Collective;
use super::expert_block::{ExpertsIn, ExpertsOut};
use super::experts::GroupedMatmul;
use super::grouping::Grouping;
use super::heads::HeadMatmul;
use super::index::{IndexScores, PickKeys};
use super::matmul::Matmul;
use super::recurrent::{DeltaRule, ShortConv};
use super::scan::Scan;
use crate::graph::dim::{RecurrentId, StateId};

/// The facts of an operation.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The name in text form.
    pub name: &'static str,
    /// How its work can be cut.
    pub cut: Cut<'a>,
    /// The cache whose keys or values it reads.
    pub reads: Option<StateId>,
    /// Caches whose keys or values it writes.
    pub writes: Vec<StateId>,
    /// The state of fixed size that it reads and writes.
    pub recurrent: Option<RecurrentId>,
    /// Its result is rows of int8 blocks rather than of f32.
    pub int8: bool,
}

/// How the work of an operation can be cut among threads.
#[derive(Clone, Copy, Debug)]
pub enum Cut<'a> {
    /// There is none: it names or reinterprets memory.
    View,
    /// Row by row of the result, each by itself.
    Rows(Flops),
    /// By rows of the weights.
    Matmul(&'a Matmul),
    /// By heads and columns.
    HeadMatmul(&'a HeadMatmul),
    /// By queries, heads and runs of keys.
    Attention(&'a Attention),
    /// By heads, for one tile of queries at a time.
    Scores(&'a Attention),
    /// By heads, for one tile of queries at a time.
    Softmax(&'a Attention),
    /// By heads, for one tile of queries at a time.
    Mix(&'a Attention),
    /// By queries and runs of keys, for one tile of queries at a time.
    IndexScores(&'a IndexScores),
    /// By queries, for one tile of them at a time.
    PickKeys(&'a PickKeys),
    /// By segments and heads.
    LatentAttention(&'a LatentAttention),
    /// By segments and channels.
    ShortConv(&'a ShortConv),
    /// By segments and heads.
    DeltaRule(&'a DeltaRule),
    /// By segments and channels.
    Scan(&'a Scan),
    /// Not at all: in one piece.
    GroupByExpert(Grouping),
    /// By experts and rows of their matrices.
    GroupedMatmul(&'a GroupedMatmul),
    /// By experts and rows of their matrices.
    ExpertsIn(&'a ExpertsIn),
    /// By rows of the matrices, all experts of a token together.
    ExpertsOut(&'a ExpertsOut),
    /// Not at all: one thread meets the other ranks, while the others wait.
    Collective(Collective),
}

/// Floating-point operations that a row takes.
#[derive(Clone, Copy, Debug)]
pub enum Flops {
    /// So many for each element of the result.
    Each(usize),
    /// So many, whatever its width.
    Row(usize),
}

impl Flops {
    /// Of a row of `width`.
    pub(crate) fn of_row(self, width: usize) -> usize {
        match self {
            Flops::Each(n) => n * width,
            Flops::Row(n) => n,
        }
    }
}

impl<'a> Facts<'a> {
    pub(super) fn new(name: &'static str, cut: Cut<'a>) -> Facts<'a> {
        Facts {
            name,
            cut,
            reads: None,
            writes: vec![],
            recurrent: None,
            int8: false,
        }
    }

    pub(super) fn view(name: &'static str) -> Facts<'a> {
        Facts::new(name, Cut::View)
    }

    pub(super) fn rows(name: &'static str, flops_each: usize) -> Facts<'a> {
        Facts::new(name, Cut::Rows(Flops::Each(flops_each)))
    }

    pub(super) fn reads(self, state: StateId) -> Facts<'a> {
        Facts {
            reads: Some(state),
            ..self
        }
    }

    pub(super) fn writes(self, states: impl IntoIterator<Item = StateId>) -> Facts<'a> {
        Facts {
            writes: states.into_iter().collect(),
            ..self
        }
    }

    pub(super) fn recurrent(self, state: RecurrentId) -> Facts<'a> {
        Facts {
            recurrent: Some(state),
            ..self
        }
    }

    pub(super) fn int8(self, int8: bool) -> Facts<'a> {
        Facts { int8, ..self }
    }

    /// Whether numbers of its operands are its result, as they are.
    pub(crate) fn moves(&self) -> bool {
        matches!(self.cut, Cut::View | Cut::Rows(Flops::Each(0)))
    }
}
