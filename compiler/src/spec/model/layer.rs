//! Layers: kinds of them, the items of a kind, and the steps of an item.

use serde::Serialize;

use super::attention::Attention;
use super::index::Index;
use super::latent::LatentAttention;
use super::moe::Moe;
use super::parts::{Activation, Linear, Mlp, Norm, Operand, Xielu};
use super::recurrent::{Decay, DeltaNet, Recurrence, ShortConv};
use super::weight::Weight;

/// A layer's shape: a list of residual branches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerKind {
    /// `dense`, `sparse`, `sliding`: the name in the spec, with a number after it where several kinds have the same. For
    /// people: dumps and symbols show it, nothing is found by it.
    pub name: String,
    /// Applied in order.
    pub items: Vec<Item>,
}

impl LayerKind {
    /// A name for variant `number` of the kind `name`, or a later one, that is not taken: `dense.2`.
    pub(crate) fn variant_name(name: &str, number: usize, taken: impl Fn(&str) -> bool) -> String {
        let names = (number..).map(|n| format!("{name}.{n}"));
        let mut free = names.filter(|n| !taken(n));
        free.next().expect("finitely many names are taken")
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
    /// `x + [sin(p·f) | cos(p·f)]` of `p = position + offset` and `f[i] = exp(−step · i)`: positions that nobody learned.
    Sinusoids {
        /// Added to a position.
        offset: usize,
        /// The logarithm of a frequency is less by this than that of the one before.
        step: f32,
    },
    /// A normalisation over the last dimension.
    Norm(Norm),
    /// `x · wᵀ + b`.
    Linear(Linear),
    /// Multiply by a constant.
    Scale(f32),
    /// `cap · tanh(x / cap)`.
    Softcap(f32),
    /// `min(max(x, least), most)`.
    Clamp {
        /// The least result.
        least: f32,
        /// The largest one.
        most: f32,
    },
    /// A non-linearity with learned curvature.
    Xielu(Box<Xielu>),
    /// The named value it reads, as it is.
    Pick,
    /// The input's components, then those of another value.
    Concat(String),
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
    /// The positions that attention is limited to.
    Index(Box<Index>),
    /// The gated delta rule with its projections.
    DeltaNet(Box<DeltaNet>),
    /// A causal convolution over a few positions.
    ShortConv(Box<ShortConv>),
    /// How much of a state stays.
    Decay(Box<Decay>),
    /// A linear recurrence of named values.
    Recurrence(Box<Recurrence>),
    /// A feed-forward block, gated where `gate` is there.
    Mlp(Mlp),
    /// A mixture of experts, of which a router picks a few for each token.
    Moe(Box<Moe>),
}
