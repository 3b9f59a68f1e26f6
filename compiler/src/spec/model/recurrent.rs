//! What a gated delta network is made of.

use serde::Serialize;

use super::parts::{Activation, Linear, Norm, Operand};
use super::weight::Weight;

/// A gated delta network (Yang, Kautz & Hatamizadeh 2025), of which Kimi delta attention (Kimi Team 2025) is the one with a decay
/// for each component: a state of fixed size for each head, which forgets and is corrected token by token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeltaNet {
    /// Heads of queries and keys; divides `value_heads`.
    pub key_heads: usize,
    /// Value heads take key heads in turn; if not, those with the same follow each other.
    pub in_turn: bool,
    /// Heads of values, each with a state.
    pub value_heads: usize,
    /// Width of a query or key head.
    pub key_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// Positions that a convolution sees, its own included.
    pub taps: usize,
    /// Queries, `[key_heads · key_dim, in]`.
    pub q: Convolved,
    /// Keys, `[key_heads · key_dim, in]`.
    pub k: Convolved,
    /// Values, `[value_heads · value_dim, in]`.
    pub v: Convolved,
    /// Applied after each convolution.
    pub act: Option<Activation>,
    /// Norm of each query head.
    pub q_norm: Option<Norm>,
    /// Norm of each key head.
    pub k_norm: Option<Norm>,
    /// Multiplies the result.
    pub scale: f32,
    /// How much is forgotten, `[value_heads, in]` or `[value_heads · key_dim, in]`.
    pub decay: Projection,
    /// Logarithm of each head's rate of forgetting, `[value_heads]`.
    pub rate: Weight,
    /// Added to what `decay` gives, as many.
    pub decay_bias: Weight,
    /// The least logarithm of a decay: `exp(lower · sigmoid(exp(rate) · (decay + bias)))`.
    pub decay_lower: Option<f32>,
    /// How much is corrected, before a sigmoid, `[value_heads, in]`.
    pub beta: Linear,
    /// Multiplies that sigmoid: 2 lets a state change its sign.
    pub beta_scale: f32,
    /// Multiplies the result, `[value_heads · value_dim, in]`.
    pub gate: Option<Projection>,
    /// Applied to the gate.
    pub gate_act: Activation,
    /// Norm of each head's result, before the gate.
    pub norm: Option<Norm>,
    /// `[hidden, value_heads · value_dim]`.
    pub o: Linear,
}

/// A causal convolution of each channel by itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShortConv {
    /// Positions that it sees, its own included.
    pub taps: usize,
    /// `[channels, taps]`.
    pub weight: Weight,
    /// `[channels]`.
    pub bias: Option<Weight>,
    /// Applied to the sum.
    pub act: Option<Activation>,
}

/// How much of a state stays: `exp(−exp(rate) · softplus(x + bias))`, or `exp(lower · sigmoid(exp(rate) · (x + bias)))`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decay {
    /// Heads with a rate each; divides the width.
    pub heads: usize,
    /// `[heads]`.
    pub rate: Weight,
    /// As wide as the input.
    pub bias: Weight,
    /// The least logarithm.
    pub lower: Option<f32>,
}

/// A linear recurrence over values, `[heads · value_dim]`, with everything else from named values: `S ← decay S`,
/// `S ← S + k · write (v − Sᵀ k)ᵀ`, `out = scale · Sᵀ q + skip · v`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recurrence {
    /// Heads of values, each with a state.
    pub heads: usize,
    /// Heads of queries and keys; divides `heads`.
    pub key_heads: usize,
    /// Width of a query or key head.
    pub key_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// Name of the queries, `[key_heads · key_dim]`.
    pub q: String,
    /// Name of the keys, `[key_heads · key_dim]`.
    pub k: String,
    /// How much stays.
    pub decay: Forgetting,
    /// How much is written, `[heads]`.
    pub write: Operand,
    /// Takes `Sᵀ k` off the value.
    pub corrects: bool,
    /// Multiplies the result.
    pub scale: f32,
    /// How much of a value passes by the state, `[heads]`.
    pub skip: Option<Weight>,
}

/// What decides how much of a state stays.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgetting {
    /// A number for each head, or for each component of its keys: a value, or the same for all tokens.
    Factor(Operand),
    /// `exp(−exp(rate) · write)` with a rate for each component, `[heads, key_dim]` (Gu & Dao 2023, Mamba); values have one component.
    Rates(Weight),
}

/// A projection followed by a causal convolution of each of its channels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Convolved {
    /// `[out, in]`.
    pub linear: Linear,
    /// `[out, taps]`.
    pub conv: Weight,
}

/// A matrix, whole or as a product.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// `[out, in]`.
    Direct(Linear),
    /// Two of them.
    LowRank(LowRank),
}

/// `b · a · x`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LowRank {
    /// `[rank, in]`.
    pub a: Linear,
    /// `[out, rank]`.
    pub b: Linear,
}
