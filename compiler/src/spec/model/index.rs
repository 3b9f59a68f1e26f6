//! What picks the keys that attention is limited to.

use serde::Serialize;

use super::parts::{Linear, Norm};

/// An index of all keys (DeepSeek-AI 2025, DeepSeek-V3.2): a small attention of its own, which for each query picks the positions of
/// its largest scores, or the blocks of positions with the largest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Index {
    /// Query heads, which share one key.
    pub heads: usize,
    /// Width of a query or key head.
    pub dim: usize,
    /// Name of what queries are made from, if not the step's input.
    pub q_from: Option<String>,
    /// `[heads · dim, in]`.
    pub q: Linear,
    /// Norm of each query head, before the rotation.
    pub q_norm: Option<Norm>,
    /// `[dim, in]`.
    pub k: Linear,
    /// Norm of keys, before the rotation.
    pub k_norm: Option<Norm>,
    /// How much each head's score counts, `[heads, in]`; without it heads pick each for itself.
    pub weigh: Option<Linear>,
    /// Index into [`Model::ropes`](super::Model::ropes); rotates leading components.
    pub rope: Option<usize>,
    /// What is listed.
    pub listing: Listing,
    /// So many blocks, up to the query's own, are always picked.
    pub near: usize,
}

/// What is listed for each token: blocks of positions, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Lists, each for as many key heads that follow each other.
    pub sets: usize,
    /// Blocks of a list, at most.
    pub count: usize,
    /// Positions of a block.
    pub block: usize,
}

/// Keys that queries attend to, of all that they see.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Picked {
    /// Name of the value.
    pub value: String,
    /// What it lists.
    pub listing: Listing,
}

impl Listing {
    /// Entries of all lists of a token.
    pub fn width(&self) -> usize {
        self.sets * self.count
    }

    /// Positions of a list, at most.
    pub fn positions(&self) -> usize {
        self.count * self.block
    }
}
