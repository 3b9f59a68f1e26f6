//! What attention is made of.

use serde::Serialize;

use super::index::Picked;
use super::parts::{Activation, Linear, Norm};
use super::weight::Weight;

/// Multi-head attention with grouped keys and values (Ainslie et al. 2023).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// `[heads · head_dim, in]`.
    pub q: Linear,
    /// Where keys and values come from.
    pub kv: KeyValue,
    /// Multiplies the values.
    pub value_scale: f32,
    /// Queries, keys and values are cut off at this, and at minus this, where they are made.
    pub clip: Option<f32>,
    /// What the result is multiplied by.
    pub gate: Option<Gate>,
    /// `[hidden, heads · value_dim]`.
    pub o: Linear,
    /// Norm of queries and of keys.
    pub qk_norm: Option<QkNorm>,
    /// Index into [`Model::ropes`](super::Model::ropes); none for learned positions or NoPE layers.
    pub rope: Option<usize>,
    /// A factor of the position on queries, after norm and RoPE.
    pub position_scale: Option<PositionScale>,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Which positions a query sees.
    pub reach: Reach,
    /// A logit for each query head that stands in the softmax's sum without a key of its own, `[heads]` (Xiao et al. 2024,
    /// attention sinks).
    pub sinks: Option<Weight>,
    /// How much each head's scores fall with the distance, `[heads]` (Press et al. 2022, ALiBi).
    pub slopes: Option<Weight>,
    /// What is added to scores by distance.
    pub relative: Option<Relative>,
    /// What queries are limited to.
    pub picked: Option<Picked>,
}

/// A gate behind attention (Qiu et al. 2025, gated attention).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gate {
    /// `[heads · value_dim, in]`, or `[heads, in]`, a number for each head.
    pub linear: Linear,
    /// Applied to it.
    pub act: Activation,
}

/// A bias of scores that each query mixes from learned profiles over the distance `d` to a key: `Σ_c r[c] · P[c, d]`, and nothing
/// from `extent` on (Thinking Machines 2026, Inkling; after Shaw et al. 2018, whose vectors of distances are products with queries).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Relative {
    /// `[heads · dim, in]`: how much of each profile a head's query takes.
    pub r: Linear,
    /// `[dim, extent]`.
    pub profiles: Weight,
    /// Their size.
    pub size: Profiles,
}

/// Profiles over distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Profiles {
    /// How many.
    pub dim: usize,
    /// Distances that each covers, from 0 on.
    pub extent: usize,
}

/// Where attention's keys and values come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyValue {
    /// Projections of keys, `[kv_heads · head_dim, in]`, and of values, `[kv_heads · value_dim, in]`.
    Own(Linear, Linear),
    /// Named values, `[T, kv_heads · head_dim]` and `[T, kv_heads · value_dim]`, that steps before have made.
    Named(String, String),
    /// The state of an earlier layer.
    Shared(SourceLayer),
}

/// A layer whose state another reads. Layers that differ in this alone are of one kind: code reaches states by address.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SourceLayer(pub usize);

impl PartialEq for SourceLayer {
    fn eq(&self, _: &SourceLayer) -> bool {
        true
    }
}

/// Which positions a query sees; later ones than its own never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// All before it.
    Full,
    /// Itself and the `window − 1` positions before it.
    Window(usize),
    /// Those of its chunk, which begin at multiples of this.
    Chunk(usize),
}

impl Reach {
    /// The first position that a query at `position` sees.
    pub fn start(self, position: usize) -> usize {
        match self {
            Reach::Full => 0,
            Reach::Window(w) => (position + 1).saturating_sub(w),
            Reach::Chunk(c) => position / c * c,
        }
    }

    /// The most positions that a query sees, itself included; none where there is no limit.
    pub fn limit(self) -> Option<usize> {
        match self {
            Reach::Full => None,
            Reach::Window(n) | Reach::Chunk(n) => Some(n),
        }
    }
}

/// `x · (1 + scale · ln(1 + ⌊p / every⌋))` of `p = position + offset`, or `x · (1 + scale · ln(max(p / every, 1)))`: queries that
/// grow with the context, so that attention stays as sharp over a million keys as over a thousand (Nakanishi 2025, scalable softmax).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PositionScale {
    /// Multiplies the logarithm.
    pub scale: f32,
    /// Positions after which the factor takes its next step.
    pub every: f32,
    /// Added to the position.
    pub offset: usize,
    /// The factor grows with every position, from `every` on, rather than in steps.
    pub smooth: bool,
}

impl PositionScale {
    /// What the logarithm is taken of at a position.
    pub fn grown(&self, position: usize) -> f32 {
        let times = (position + self.offset) as f32 / self.every;
        match self.smooth {
            true => times.max(1.0),
            false => 1.0 + times.floor(),
        }
    }
}

/// Norms of queries and keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QkNorm {
    /// Over each head, or over the whole projection.
    pub per_head: bool,
    /// Follows RoPE rather than coming before it.
    pub after_rope: bool,
    /// Gain `[head_dim]`, or `[heads · head_dim]`, also where each head is normed by itself.
    pub q: Norm,
    /// Gain `[head_dim]`, or `[kv_heads · head_dim]`; none where keys come from another layer.
    pub k: Option<Norm>,
    /// The same for values, with their width.
    pub v: Option<Norm>,
}
