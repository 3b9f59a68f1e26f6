//! What latent attention is made of.

use serde::Serialize;

use super::attention::Gate;
use super::index::Picked;
use super::parts::{Linear, Norm};

/// Multi-head latent attention (DeepSeek-AI 2024, DeepSeek-V2): keys and values of all heads are made from one latent
/// vector per token, beside a part of the keys that rotates and that all heads share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatentAttention {
    /// Query heads; each has keys and values of its own.
    pub heads: usize,
    /// Leading components of a query or key head, made from the latent.
    pub nope_dim: usize,
    /// Trailing components of a query or key head, which rotate; one key for all heads.
    pub rope_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// Width of the latent.
    pub rank: usize,
    /// Name of what queries are made from, if not the step's input.
    pub q_from: Option<String>,
    /// Queries.
    pub q: LatentQuery,
    /// `[rank + rope_dim, in]`: the latent, and the shared part of the keys.
    pub kv_a: Linear,
    /// Norm of the latent.
    pub kv_norm: Norm,
    /// Multiplies the latent behind its norm.
    #[serde(skip_serializing_if = "is_one")]
    pub latent_scale: f32,
    /// `[heads · (nope_dim + value_dim), rank]`: for each head its part of the keys, then its values.
    pub kv_b: Linear,
    /// What the result is multiplied by.
    pub gate: Option<Gate>,
    /// `[hidden, heads · value_dim]`.
    pub o: Linear,
    /// Index into [`Model::ropes`](super::Model::ropes).
    pub rope: Option<usize>,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// What queries are limited to.
    pub picked: Option<Picked>,
}

fn is_one(scale: &f32) -> bool {
    *scale == 1.0
}

impl LatentAttention {
    /// Width of a query or key head.
    pub fn head_dim(&self) -> usize {
        self.nope_dim + self.rope_dim
    }
}

/// Where latent attention's queries come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LatentQuery {
    /// `[heads · head_dim, in]`.
    Direct(Linear),
    /// `b · norm(a · x)`.
    Compressed {
        /// `[q_rank, in]`.
        a: Linear,
        /// Over `q_rank` components.
        norm: Norm,
        /// `[heads · head_dim, q_rank]`.
        b: Linear,
    },
}
