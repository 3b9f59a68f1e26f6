//! A spec bound to one configuration: the typed form every later stage reads.
//!
//! All expressions are evaluated, all layer rules applied; what is left is numbers, choices and tensor names. Families
//! differ only in how these pieces are put together.

mod moe;
mod recurrent;
mod weight;

use serde::{Deserialize, Serialize};

pub use moe::{Gating, Groups, Inner, Moe, Route, Score};
pub use recurrent::{Convolved, DeltaNet, LowRank, Projection};
pub use weight::{Blocks, Range, Weight};

/// A model: embedding, layers by kind, head.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    /// Name of the spec (`llama`).
    pub name: String,
    /// Vocabulary size.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Longest context, in positions.
    pub context: usize,
    /// Rotary embeddings that attention steps refer to by index.
    pub ropes: Vec<Rope>,
    /// From token ids to the residual stream.
    pub embed: Vec<Step>,
    /// Values handed from layer to layer beside the residual stream, with their widths.
    pub carried: Vec<(String, usize)>,
    /// Distinct layers.
    pub kinds: Vec<LayerKind>,
    /// For each layer, in order, the index of its kind.
    pub layers: Vec<usize>,
    /// For each layer, the earlier one whose keys and values it attends to, where it has none of its own.
    pub sources: Vec<Option<usize>>,
    /// From the residual stream (at the rows whose logits are wanted) to logits.
    pub head: Vec<Step>,
    /// End-of-sequence token ids.
    pub eos: Vec<u32>,
    /// Beginning-of-sequence token id.
    pub bos: Option<u32>,
    /// Alternative spellings of tensor names: each prefix is tried in place of the first.
    pub prefixes: Vec<String>,
    /// Patterns (`*` matches anything) of tensors in a checkpoint that are no weights of this model.
    pub ignore: Vec<String>,
}

/// Part of a model that has steps, weights and a graph of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The embedding.
    Embed,
    /// A layer kind, by its index in [`Model::kinds`].
    Kind(usize),
    /// The head.
    Head,
}

/// A layer's shape: a list of residual branches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerKind {
    /// `dense`, `sparse`, `sliding`: the name in the spec, with a number behind it where several kinds have the same. For
    /// people: dumps and symbols show it, nothing is found by it.
    pub name: String,
    /// Applied in order.
    pub items: Vec<Item>,
}

impl LayerKind {
    /// A name for variant `number` of the kind `name`, or a later one, that is not taken: `dense.2`.
    pub fn variant_name(name: &str, number: usize, taken: impl Fn(&str) -> bool) -> String {
        let names = (number..).map(|n| format!("{name}.{n}"));
        let mut free = names.filter(|n| !taken(n));
        free.next().expect("finitely many names are taken")
    }

    /// Its attention steps.
    pub fn attentions(&self) -> impl Iterator<Item = &Attention> {
        self.steps().filter_map(|s| match &s.op {
            StepOp::Attention(a) => Some(a.as_ref()),
            _ => None,
        })
    }

    /// Its steps, in the order in which they are built: what comes before branches, then branch after branch.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.items.iter().flat_map(Item::steps)
    }
}

/// Part of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// `h = h + Σ branch(before(h))`: each branch starts from the same value. One branch is the usual residual block.
    Residual {
        /// What the branches have in common: the norm of parallel blocks.
        before: Vec<Step>,
        /// Their ends are added to `h`.
        branches: Vec<Vec<Step>>,
    },
    /// `h = steps(h)`, without a residual.
    Plain(Vec<Step>),
}

impl Item {
    /// Its steps, in the order in which they are built.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        let (first, branches): (&[Step], &[Vec<Step>]) = match self {
            Item::Plain(steps) => (steps, &[]),
            Item::Residual { before, branches } => (before, branches),
        };
        first.iter().chain(branches.iter().flatten())
    }
}

/// One step of a branch: takes `x [T, n]`, gives `[T, m]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Place in the spec, used in weight slots, dumps and messages: `attention`, `norm1`.
    pub name: String,
    /// What it does.
    pub op: StepOp,
    /// The named value it reads, in place of the result of the step before.
    pub from: Option<String>,
    /// The name that its result gets.
    pub keep: Option<String>,
}

impl Step {
    /// A step that reads the result of the one before, and whose result has no name.
    pub fn new(name: &str, op: StepOp) -> Step {
        Step {
            name: name.into(),
            op,
            from: None,
            keep: None,
        }
    }
}

/// The operations a spec can name.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOp {
    /// Rows of `table [vocab, hidden]` by token id.
    Embed {
        /// `[vocab, hidden]`.
        table: Weight,
        /// Multiplies the rows.
        scale: f32,
        /// Tokens from here on read row 0.
        limit: Option<usize>,
    },
    /// `x + table[position + offset]`: learned positions.
    PositionEmbed {
        /// `[context + offset, hidden]`.
        table: Weight,
        /// Added to a position before the look-up.
        offset: usize,
    },
    /// A normalisation over the last dimension.
    Norm(Norm),
    /// `x · wᵀ + b`.
    Linear(Linear),
    /// Multiply by a constant.
    Scale(f32),
    /// `cap · tanh(x / cap)`.
    Softcap(f32),
    /// The named value it reads, as it is.
    Pick,
    /// A non-linearity.
    Act(Activation),
    /// A sum with another value.
    Add(Operand),
    /// A product with another value.
    Mul(Operand),
    /// `Σ_j x[t, start + j] · v_j[t]`: values weighted by columns of the input.
    WeightedSum {
        /// Their names.
        values: Vec<String>,
        /// Column of the first weight.
        start: usize,
    },
    /// Scales each row to the root mean square of another value's.
    MatchRms {
        /// Name of the other value.
        like: String,
        /// The least mean square of the input that it is divided by.
        least: f32,
    },
    /// Self-attention with its projections.
    Attention(Box<Attention>),
    /// Multi-head latent attention with its projections.
    LatentAttention(Box<LatentAttention>),
    /// The gated delta rule with its projections.
    DeltaNet(Box<DeltaNet>),
    /// A feed-forward block, gated where `gate` is there.
    Mlp(Mlp),
    /// A mixture of experts, of which a router picks a few for each token.
    Moe(Box<Moe>),
}

/// The second operand of an elementwise step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Operand {
    /// A named value of the same width.
    Value(String),
    /// A vector `[n]` that every row sees.
    Vector(Weight),
}

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

/// Multi-head attention with grouped keys and values (Ainslie et al. 2023).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// `[heads · head_dim, in]`.
    pub q: Linear,
    /// Where keys and values come from.
    pub kv: KeyValue,
    /// `[heads · head_dim, in]`: what attention gives is multiplied by its sigmoid (Qiu et al. 2025, gated attention).
    pub gate: Option<Linear>,
    /// `[hidden, heads · head_dim]`.
    pub o: Linear,
    /// Norm of queries and of keys.
    pub qk_norm: Option<QkNorm>,
    /// Index into [`Model::ropes`]; none for learned positions or NoPE layers.
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
}

/// Where attention's keys and values come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyValue {
    /// Projections `[kv_heads · head_dim, in]` of keys and of values.
    Own(Linear, Linear),
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

/// `x · (1 + scale · ln(1 + ⌊(position + offset) / every⌋))`: queries that grow with the context, so that
/// attention stays as sharp over a million keys as over a thousand (Nakanishi 2025, scalable softmax).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PositionScale {
    /// Multiplies the logarithm.
    pub scale: f32,
    /// Positions after which the factor takes its next step.
    pub every: f32,
    /// Added to the position.
    pub offset: usize,
}

impl PositionScale {
    /// Whole steps taken at a position: what the logarithm is taken of, less one.
    pub fn steps(&self, position: usize) -> f32 {
        ((position + self.offset) as f32 / self.every).floor()
    }
}

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
    /// Queries.
    pub q: LatentQuery,
    /// `[rank + rope_dim, in]`: the latent, and the shared part of the keys.
    pub kv_a: Linear,
    /// Norm of the latent.
    pub kv_norm: Norm,
    /// `[heads · (nope_dim + value_dim), rank]`: for each head its part of the keys, then its values.
    pub kv_b: Linear,
    /// `[hidden, heads · value_dim]`.
    pub o: Linear,
    /// Index into [`Model::ropes`].
    pub rope: Option<usize>,
    /// Scores are multiplied by this.
    pub scale: f32,
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

/// Norms of queries and keys.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QkNorm {
    /// Over each head, or over the whole projection.
    pub per_head: bool,
    /// Follows RoPE rather than coming before it.
    pub after_rope: bool,
    /// Gain `[head_dim]`, or `[heads · head_dim]`.
    pub q: Norm,
    /// Gain `[head_dim]`, or `[kv_heads · head_dim]`; none where keys come from another layer.
    pub k: Option<Norm>,
    /// The same for values.
    pub v: Option<Norm>,
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
}

/// Rotary position embedding (Su et al. 2021), its scaling already folded into the frequencies.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rope {
    /// Name in the spec.
    pub name: String,
    /// Angular frequency per pair, `[rotary_dim / 2]`.
    pub freqs: Vec<f32>,
    /// Multiplies cos and sin (YaRN's attention scale).
    pub scale: f32,
    /// Pairs are `(2i, 2i + 1)` rather than `(i, i + rotary_dim / 2)`.
    pub interleaved: bool,
    /// Other frequencies for longer sequences.
    pub long: Option<LongFreqs>,
}

/// Frequencies of sequences that grow beyond a length, for all of their positions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LongFreqs {
    /// Longest sequence, in positions, that does without.
    pub above: usize,
    /// As many as there are for shorter ones.
    pub freqs: Vec<f32>,
}

impl Rope {
    /// Leading components of a head that rotate.
    pub fn rotary_dim(&self) -> usize {
        self.freqs.len() * 2
    }
}
