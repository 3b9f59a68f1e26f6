//! The closed set of operations and what they are made of; `facts` says of each how it is named, what it reads and writes.
//!
//! Fused work is described, not enumerated: a [`Matmul`] says which prologue it has, which weights it joins, and what is
//! done to the result; [`Attention`] carries its options. An unfused graph uses the same operations with nothing set.

mod facts;

use std::fmt;

use super::experts::route_roles;
pub use super::experts::{
    Activate, ExpertsIn, ExpertsOut, Form, Gating, GroupedMatmul, Grouping, Groups, Route, Score,
};
pub use super::finish::{Dest, Finish, Rope, Touch, touch_role};
use super::heads::{HeadColumns, HeadConcat, HeadMatmul};
use super::latent::LatentAttention;
use super::recurrent::{DeltaRule, RecurrentId, ShortConv};
pub use crate::spec::model::{Activation, NormKind, PositionScale, Reach};

/// Index of a weight in its graph's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub u32);

/// Index of a state in its graph's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub u32);

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
        /// Besides.
        more: usize,
    },
}

/// Dimensions, slowest first.
pub type Shape = Vec<Dim>;

/// An operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A value handed to the block: the residual stream, rotary angles.
    Input(String),
    /// A weight, reached through the pointer table.
    Weight(WeightId),
    /// `out[t] = scale · table[tokens[t]]`.
    Embed {
        /// Multiplies the rows.
        scale: f32,
        /// Tokens from here on read row 0.
        limit: Option<usize>,
    },
    /// `out[t] = table[positions[t] + offset]`.
    PositionRows {
        /// Added to the position.
        offset: usize,
    },
    /// `out[t] = [cos(p·f) | sin(p·f)]`, each `[rotary_dim / 2]`; `f` may depend on the length of the sequence.
    RopeAngles {
        /// Index into the model's rotary embeddings.
        rope: usize,
        /// Width of the output.
        rotary_dim: usize,
    },
    /// RMSNorm or LayerNorm over groups of the last dimension.
    Norm(Norm),
    /// One or several weights on the same input, with prologue and epilogue.
    Matmul(Matmul),
    /// Rounds rows to int8 in groups, each with its scale: what a matmul with quantised weights reads.
    Quantize {
        /// Applied to every row of `x` first.
        norm: Option<Norm>,
    },
    /// Elementwise; the second operand may be a vector that every row sees.
    Binary(Binary),
    /// Elementwise.
    Unary(Unary),
    /// Rotates each head of `x` by the angles of its row.
    Rope(Rope),
    /// Scales each row by a factor of its position.
    PositionScale(PositionScale),
    /// Writes keys and values of the step's tokens into the state; gives a token that orders the readers behind it.
    CacheWrite {
        /// The KV state.
        state: StateId,
    },
    /// Orders readers of a state that an earlier layer has written: a view, not a kernel.
    CacheRead {
        /// The KV state.
        state: StateId,
    },
    /// Touches and cache write of joined projections, row by row: what is left of a matmul's epilogue when a norm runs over a
    /// whole projection.
    Finish {
        /// One for each joined projection.
        parts: Vec<Finish>,
    },
    /// `scores[h, q, s] = scale · q·k`, soft-capped, for the queries of one tile.
    Scores(Attention),
    /// Softmax over the visible keys; the others become 0.
    Softmax(Attention),
    /// `out[q, h] = Σ_s p[h, q, s] · v[s]`.
    Mix(Attention),
    /// Scores, softmax and mix in one pass over the keys (online softmax, Milakov & Gimelshein 2018).
    Attention(Attention),
    /// Attention to latents with the products before and behind it.
    LatentAttention(LatentAttention),
    /// The rows whose logits are wanted.
    GatherRows,
    /// Columns `start..start + len` of every row: a view, not a kernel.
    Slice {
        /// First column.
        start: usize,
        /// Columns.
        len: usize,
    },
    /// A run of columns of every head.
    HeadSlice(HeadColumns),
    /// Two runs of columns side by side in every head.
    HeadConcat(HeadConcat),
    /// A matrix of its own for every head.
    HeadMatmul(HeadMatmul),
    /// A copy, where a value has to be in a certain place.
    Copy,
    /// From a router's scores `[T, experts]` to routes `[T, 2 top_k]`: weights, then the experts they belong to, ascending.
    Route(Route),
    /// Sorts routes by expert; a token's rows keep their order.
    GroupByExpert(Grouping),
    /// A row for each token at each of its experts, sorted by expert.
    GatherTokens {
        /// How rows are grouped.
        grouping: Grouping,
        /// Rows are multiplied by their weight.
        weighted: bool,
    },
    /// One matrix per expert on the rows of that expert.
    GroupedMatmul(GroupedMatmul),
    /// What lies between an expert's matrices.
    Activate(Activate),
    /// The sum of a token's rows, in the order of its experts.
    Combine {
        /// How rows are grouped.
        grouping: Grouping,
        /// Rows are multiplied by their weight.
        weighted: bool,
    },
    /// Each row multiplied by its own number.
    ScaleRows,
    /// `Σ_j by[t, start + j] · x_j[t]`.
    WeightedSum(WeightedSum),
    /// `x[t]`, scaled to the root mean square of `like[t]`.
    MatchRms {
        /// The least mean square of `x` that it is divided by.
        least: f32,
    },
    /// `max(x − mean − by · deviation, 0)`, mean and standard deviation those of the row: keeps the largest of values that are
    /// normally distributed.
    Cutoff {
        /// Deviations above the mean.
        by: f32,
    },
    /// A causal convolution of every channel by itself, behind what its state remembers.
    ShortConv(ShortConv),
    /// `exp(−exp(rate[h]) · softplus(x + bias))` (Gu & Dao 2023, Mamba): how much of a state stays. Operands: `x [T, n]`,
    /// `rate [heads]`, `bias [n]`.
    Decay {
        /// Each has a rate.
        heads: usize,
    },
    /// The gated delta rule.
    DeltaRule(DeltaRule),
    /// Gather, products and activation of all experts.
    ExpertsIn(ExpertsIn),
    /// Products and weighted sum of all experts, with what is added to it.
    ExpertsOut(ExpertsOut),
}

/// A sum of values, each weighted by a column of `by`. Operands: `by [T, n]`, then `x_0 [T, width]`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedSum {
    /// Column of the first weight.
    pub start: usize,
    /// How many values.
    pub count: usize,
}

/// Options of a norm. Operands: `x`, then gain and bias where they are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// RMSNorm or LayerNorm.
    pub kind: NormKind,
    /// Added to the mean square or variance.
    pub eps: f32,
    /// Elements that are normalised together; divides the row.
    pub group: usize,
    /// Has a gain operand, `[group]` or the whole row.
    pub gain: bool,
    /// Has a bias operand.
    pub bias: bool,
    /// Multiplies by `1 + gain`.
    pub unit_offset: bool,
}

/// Options of a matmul.
///
/// Operands in order: `x`; the norm's gain and bias; for each part its weight, its bias and what its touches have; the rotary
/// angles where a part rotates; the residual.
#[derive(Clone, Debug, PartialEq)]
pub struct Matmul {
    /// Applied to every row of `x` first.
    pub norm: Option<Norm>,
    /// Then rounds it to int8, which quantised weights need.
    pub quantize_x: bool,
    /// The weights.
    pub parts: Vec<Part>,
    /// How the parts' results become one.
    pub join: Join,
    /// Applied to the joined result.
    pub act: Option<Activation>,
    /// Multiplies the result, before the residual.
    pub scale: Option<f32>,
    /// Adds a residual operand.
    pub residual: bool,
    /// Rounds the result to int8, for matmuls with quantised weights.
    pub quantize_y: bool,
}

/// One weight of a matmul.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Rows of the weight: width of the result.
    pub rows: usize,
    /// Has a bias operand.
    pub bias: bool,
    /// What happens to the result before it is joined.
    pub finish: Finish,
}

/// How a matmul's parts become one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Side by side.
    Concat,
    /// `act(part 0) · part 1`.
    Gated(Activation),
}

/// Elementwise operations of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// Sum.
    Add,
    /// Product.
    Mul,
}

/// Elementwise operations of one operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unary {
    /// A non-linearity.
    Act(Activation),
    /// `x · c`.
    Scale(f32),
    /// `c · tanh(x / c)`.
    Softcap(f32),
}

/// Options of attention. Operands: queries (or scores, or weights), then the token of the cache write, then the sinks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// `c · tanh(score / c)`.
    pub softcap: Option<f32>,
    /// Which positions a query sees.
    pub reach: Reach,
    /// Has an operand with a logit for each head, `[heads]`, that the softmax's sum starts with.
    pub sinks: bool,
    /// The KV state.
    pub state: StateId,
}

pub(super) fn roles(names: &[&str]) -> Vec<String> {
    names.iter().map(|s| s.to_string()).collect()
}

impl Norm {
    pub(super) fn roles(&self, prefix: &str) -> Vec<String> {
        let mut out = if prefix.is_empty() {
            roles(&["x"])
        } else {
            vec![]
        };
        if self.gain {
            out.push(format!("{prefix}gain"));
        }
        if self.bias {
            out.push(format!("{prefix}bias"));
        }
        out
    }
}

impl Part {
    /// A weight with `rows` rows and nothing around it.
    pub fn plain(rows: usize) -> Part {
        Part {
            rows,
            bias: false,
            finish: Finish::plain(rows),
        }
    }
}

impl Matmul {
    /// One weight, nothing around it.
    pub fn plain(rows: usize) -> Matmul {
        Matmul {
            norm: None,
            quantize_x: false,
            parts: vec![Part::plain(rows)],
            join: Join::Concat,
            act: None,
            scale: None,
            residual: false,
            quantize_y: false,
        }
    }

    /// Nothing but weights side by side.
    pub fn is_plain(&self) -> bool {
        *self
            == Matmul {
                parts: self.parts.iter().map(|p| Part::plain(p.rows)).collect(),
                ..Matmul::plain(0)
            }
    }

    /// Width of the result.
    pub fn width(&self) -> usize {
        match self.join {
            Join::Gated(_) => self.parts[0].rows,
            Join::Concat => self
                .parts
                .iter()
                .filter(|p| p.finish.dest == Dest::Output)
                .map(|p| p.rows)
                .sum(),
        }
    }

    /// First column of part `index` in the result, where it goes there.
    pub fn column(&self, index: usize) -> usize {
        self.parts[..index]
            .iter()
            .filter(|p| p.finish.dest == Dest::Output)
            .map(|p| p.rows)
            .sum()
    }

    /// Whether a part rotates, so that there is an angles operand.
    pub fn has_rope(&self) -> bool {
        self.parts.iter().any(|p| p.finish.has_rope())
    }

    fn roles(&self) -> Vec<String> {
        let mut out = roles(&["x"]);
        if let Some(n) = &self.norm {
            out.extend(n.roles("norm."));
        }
        for (i, p) in self.parts.iter().enumerate() {
            out.push(format!("w{i}"));
            if p.bias {
                out.push(format!("bias{i}"));
            }
            out.extend(p.finish.roles(i));
        }
        if self.has_rope() {
            out.push("angles".into());
        }
        if self.residual {
            out.push("residual".into());
        }
        out
    }
}

impl Attention {
    /// Query heads that share a key head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

impl Activation {
    /// The name in text form and in specs.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Relu => "relu",
            Activation::Relu2 => "relu2",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
        }
    }

    /// All of them.
    pub const ALL: [Activation; 7] = [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Relu,
        Activation::Relu2,
        Activation::Sigmoid,
        Activation::Tanh,
    ];
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
