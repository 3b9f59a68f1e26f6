//! What a mixture of experts is made of.

use serde::{Deserialize, Serialize};

use super::parts::{Gating, Linear, Mlp};
use super::weight::Weight;

/// Feed-forward experts chosen by a router (Shazeer et al. 2017), with experts that every token visits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Moe {
    /// Number of experts that have matrices.
    pub experts: usize,
    /// So many more, behind them, give back their input.
    #[serde(skip_serializing_if = "is_none")]
    pub identity: usize,
    /// Experts that a token visits.
    pub top_k: usize,
    /// `[experts + identity, in]`: scores each expert.
    pub router: Linear,
    /// `cap · tanh(score / cap)`, before anything else is made of scores.
    pub softcap: Option<f32>,
    /// How scores become a choice and weights.
    pub route: Route,
    /// The value that the router reads, where it is not what the experts do.
    pub routed_by: Option<String>,
    /// `[experts + identity]`: added to the scores for the choice alone.
    pub correction: Option<Weight>,
    /// The experts of each token by its id, whole numbers, `[vocab, top_k]` (Roller et al. 2021, hash layers).
    pub listed: Option<Weight>,
    /// `[experts + identity]`: multiplies the weights of those chosen.
    pub expert_scale: Option<Weight>,
    /// Weights multiply the experts' input rather than their output.
    pub weigh_input: bool,
    /// Families `[ffn, in]`.
    pub inner: Inner,
    /// Family `[hidden, ffn]`.
    pub down: Linear,
    /// What lies between.
    pub gating: Gating,
    /// An expert that every token visits.
    pub shared: Option<Mlp>,
    /// `[1, in]`: its sigmoid multiplies the shared expert's output.
    pub shared_gate: Option<Linear>,
}

fn is_none(n: &usize) -> bool {
    *n == 0
}

/// The matrices that lead into an expert.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Inner {
    /// No gate: `[ffn, in]`.
    Plain(Linear),
    /// Gate and up, `[ffn, in]` each.
    Gated(Linear, Linear),
    /// One matrix `[2 · ffn, in]`: row `2i` is gate `i`, row `2i + 1` up `i`.
    Paired(Linear),
}

/// How the scores of a router become the choice of experts and their weights.
///
/// Of equal scores the lower index is chosen first; a score that is not a number counts as `−∞`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Route {
    /// Number of experts to choose from.
    pub experts: usize,
    /// Experts for a token, with those that always take part.
    pub top_k: usize,
    /// The last so many take part for every token: they are scored and weighed as the others, without being chosen.
    pub always: usize,
    /// Makes weights of scores.
    pub score: Score,
    /// The scoring function sees the chosen scores only, rather than all before the choice.
    pub after: bool,
    /// There is a bias for the choice.
    pub correction: bool,
    /// Experts come from few groups.
    pub groups: Option<Groups>,
    /// Which experts a token has is listed for it, rather than chosen by scores, which weigh them all the same.
    pub listed: bool,
    /// Weights are divided by their sum plus this.
    pub renormalise: Option<f32>,
    /// Multiplies the weights at last.
    pub scale: f32,
    /// There is a number for each expert, which multiplies its weight.
    pub expert_scale: bool,
    /// Experts are chosen one after the other, each weighed by a softmax over it and those not chosen before it whose scores are
    /// near, `(best − score) / max(|score|, best)` being at most this (Liu et al. 2024, SparseMixer).
    pub near: Option<f32>,
}

/// Scoring functions of routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Over all experts, or over those chosen.
    Softmax,
    /// Of each expert alone.
    Sigmoid,
    /// `√(ln(1 + eˣ))` of each expert alone (DeepSeek-AI 2026, V4).
    SqrtSoftplus,
}

/// Group-limited choice (DeepSeek-AI 2024): only the experts of the best groups can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Groups {
    /// Groups; divides the number of experts.
    pub count: usize,
    /// Groups that take part.
    pub top: usize,
    /// A group is as good as its best experts together: how many of them.
    pub best: usize,
}
