//! The state that steps keep from one step of a sequence to the next, in the order of the table of states.

use super::steps::steps;
use crate::spec::model::{DeltaNet, Forgetting, Model, Reach, Section, StepOp};

/// State of one step of a section.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    /// `attention.kv`.
    pub(crate) name: String,
    /// What it is.
    pub(crate) kept: Kept,
}

/// What a step keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kept {
    /// Keys and values of the positions that queries look back to.
    KeysValues {
        /// Key and value heads.
        heads: usize,
        /// Width of a key.
        key_dim: usize,
        /// Width of a value.
        value_dim: usize,
        /// How far queries look back.
        reach: Reach,
    },
    /// Keys alone, of one head, of all positions.
    Keys {
        /// Width of a key.
        dim: usize,
    },
    /// `[heads, rows, columns]` of f32, however long the sequence.
    Fixed([usize; 3]),
}

/// The states of a section. A layer that reads an earlier one's keys and values has a state that describes them.
pub(crate) fn states(model: &Model, section: Section) -> Vec<State> {
    let mut out = vec![];
    for step in steps(model, section) {
        let mut add = |part: &str, kept| {
            let name = format!("{}.{part}", step.name);
            out.push(State { name, kept });
        };
        match &step.op {
            StepOp::Attention(a) => add(
                "kv",
                Kept::KeysValues {
                    heads: a.kv_heads,
                    key_dim: a.head_dim,
                    value_dim: a.value_dim,
                    reach: a.reach,
                },
            ),
            StepOp::LatentAttention(a) => add(
                "kv",
                Kept::KeysValues {
                    heads: a.heads,
                    key_dim: a.head_dim(),
                    value_dim: a.value_dim,
                    reach: Reach::Full,
                },
            ),
            StepOp::Index(i) => add("keys", Kept::Keys { dim: i.dim }),
            StepOp::DeltaNet(d) => {
                for (part, channels) in convolutions(d) {
                    add(part, Kept::Fixed([1, d.taps - 1, channels]));
                }
                add(
                    "state",
                    Kept::Fixed([d.value_heads, d.key_dim, d.value_dim]),
                );
            }
            StepOp::ShortConv(c) => {
                add("past", Kept::Fixed([1, c.taps - 1, c.weight.shape[0]]));
            }
            StepOp::Recurrence(r) => {
                let sizes = match r.decay {
                    Forgetting::Factor(_) => [r.heads, r.key_dim, r.value_dim],
                    Forgetting::Rates(_) => [1, r.key_dim, r.heads],
                };
                add("state", Kept::Fixed(sizes));
            }
            StepOp::Embed { .. }
            | StepOp::PositionEmbed { .. }
            | StepOp::Sinusoids { .. }
            | StepOp::Norm(_)
            | StepOp::Linear(_)
            | StepOp::Scale(_)
            | StepOp::Softcap(_)
            | StepOp::Concat(_)
            | StepOp::Clamp { .. }
            | StepOp::Xielu(_)
            | StepOp::Pick
            | StepOp::Act(_)
            | StepOp::Add(_)
            | StepOp::Mul(_)
            | StepOp::WeightedSum { .. }
            | StepOp::MatchRms { .. }
            | StepOp::Decay(_)
            | StepOp::Mlp(_)
            | StepOp::Moe(_) => {}
        }
    }
    out
}

/// What convolutions remember rows of, with their channels.
fn convolutions(d: &DeltaNet) -> [(&'static str, usize); 3] {
    let channels = |c: &crate::spec::model::Convolved| c.linear.weight.shape[0];
    [
        ("q_past", channels(&d.q)),
        ("k_past", channels(&d.k)),
        ("v_past", channels(&d.v)),
    ]
}
