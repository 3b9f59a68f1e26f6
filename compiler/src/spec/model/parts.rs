//! What steps are made of: norms, matrices, feed-forward blocks and non-linearities.

use serde::{Deserialize, Serialize};

use super::weight::Weight;

/// RMSNorm (Zhang & Sennrich 2019), LayerNorm (Ba et al. 2016), or division by the length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Norm {
    /// Which of them.
    pub kind: NormKind,
    /// Added to the variance or mean square.
    pub eps: f32,
    /// Gain `[n]`; none for a norm without weights.
    pub gain: Option<Weight>,
    /// Bias `[n]`.
    pub bias: Option<Weight>,
    /// Gain is stored as `g − 1`: multiply by `1 + g`.
    pub unit_offset: bool,
    /// Components that are normalised together; all of them if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<usize>,
}

/// Kinds of normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// `x / √(mean(x²) + eps)`.
    Rms,
    /// `(x − mean) / √(var + eps)`.
    Layer,
    /// `x / √(sum(x²) + eps)`.
    L2,
}

/// A matrix and an optional bias.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Weight,
    /// `[out]`.
    pub bias: Option<Weight>,
}

/// `down(act(gate(x)) · up(x))`, or `down(act(up(x)))` without a gate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mlp {
    /// `[ffn, in]`.
    pub gate: Option<Linear>,
    /// `[ffn, in]`.
    pub up: Linear,
    /// `[hidden, ffn]`.
    pub down: Linear,
    /// Non-linearity.
    pub act: Activation,
    /// Before the non-linearity, only what exceeds the row's mean by so many standard deviations is kept.
    pub cutoff: Option<f32>,
    /// What gate and up become together, where that is not `act(gate) · up`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gating: Option<Gating>,
}

/// What lies between the matrices of an expert or an MLP: `act(α g) / α · (u + offset)`, gate and up clamped before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gating {
    /// Non-linearity.
    pub act: Activation,
    /// Multiplies what the non-linearity sees, and divides what it gives: `x · sigmoid(α x)` of SiLU.
    pub alpha: f32,
    /// The gate is at most this, and up lies between minus this and this.
    pub limit: Option<f32>,
    /// The gate is clamped behind the non-linearity rather than before it.
    pub after: bool,
    /// Added to up.
    pub offset: f32,
}

impl Gating {
    /// `act(g) · u`.
    pub fn plain(act: Activation) -> Gating {
        Gating {
            act,
            alpha: 1.0,
            limit: None,
            after: false,
            offset: 0.0,
        }
    }
}

/// Non-linearities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// Exact GELU.
    Gelu,
    /// GELU by tanh.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)²`.
    Relu2,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `ln(1 + eˣ)`.
    Softplus,
}

/// A non-linearity with learned curvature on either side of 0 (Huang & Schlag 2025): `p x² + β x` above it, and
/// `n (e^min(x, eps) − 1 − x) + β x` elsewhere, where `p = softplus(positive)` and `n = β + softplus(negative)`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Xielu {
    /// `[1]`.
    pub positive: Weight,
    /// `[1]`.
    pub negative: Weight,
    /// The slope at 0.
    pub beta: f32,
    /// Below 0, by so little that it changes nothing but rounding.
    pub eps: f32,
}

/// The second operand of an elementwise step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operand {
    /// A named value of the same width.
    Value(String),
    /// A vector `[n]` that every row sees.
    Vector(Weight),
    /// One number, `[1]`, for everything.
    Scalar(Weight),
}
