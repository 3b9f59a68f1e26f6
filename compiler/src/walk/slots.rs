//! The weight slots of a model, in the order in which generated code indexes them.
//!
//! Inside the embedding, a layer or the head, slots come in the order of the steps, and inside a step in the order below
//! (weight before bias; Q, K, V, the norms of Q and K, the sinks, the slopes, what is added by distance, O; gate, up, down; the router before the experts, those
//! of all tokens last). A family of experts is one slot, which stands for as many pointers. All layers of a kind have the
//! same slots.

use super::steps::steps;
use crate::spec::model::{
    Attention, DeltaNet, Forgetting, Index, Inner, KeyValue, LatentAttention, LatentQuery, Linear,
    LowRank, Mlp, Model, Moe, Norm, Operand, Projection, Recurrence, Section, Step, StepOp, Weight,
};

/// A weight and what it is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slot<'a> {
    /// Names, shape and layout.
    pub(crate) weight: &'a Weight,
    /// What it is for.
    pub(crate) role: Role,
}

/// What a weight is for: decides how random weights are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A matrix that multiplies activations.
    Matrix,
    /// A matrix that is multiplied head by head as well, along its rows or along its columns.
    ByHead,
    /// A matrix whose few products choose or weigh much: experts, or what a state keeps.
    Router,
    /// The weights of a convolution, `[channels, taps]`, or rates of decay, `[channels, key_dim]`, or profiles over distances; always f32, as vectors are.
    Filter,
    /// A table of rows, looked up by token.
    Table,
    /// A table of rows, looked up by position.
    Positions,
    /// A table of whole numbers, looked up by token: which of so many experts each token has; f32, which holds them all.
    Listed {
        /// What all of them are below.
        below: usize,
    },
    /// A norm's gain, `g`, or `g − 1` with `unit_offset`.
    Gain {
        /// Stored as `g − 1`.
        unit_offset: bool,
    },
    /// The bias of a matrix or a norm, or another vector of small numbers: logits of sinks.
    Bias,
}

impl Role {
    /// Whether generated code reads the weight as f32, whatever it is stored as.
    pub(crate) fn is_vector(self) -> bool {
        match self {
            Role::Gain { .. } | Role::Bias | Role::Filter | Role::Listed { .. } => true,
            Role::Matrix | Role::ByHead | Role::Router | Role::Table | Role::Positions => false,
        }
    }

    /// Whether the weight may be rounded, or what it is multiplied with: none that chooses, or that is multiplied in a way of its own.
    pub(crate) fn may_be_rounded(self) -> bool {
        match self {
            Role::Matrix | Role::Table => true,
            Role::ByHead
            | Role::Router
            | Role::Filter
            | Role::Listed { .. }
            | Role::Positions
            | Role::Gain { .. }
            | Role::Bias => false,
        }
    }
}

/// The slots of a section; each layer of a kind has those of the kind.
pub(crate) fn slots(model: &Model, section: Section) -> Vec<Slot<'_>> {
    let mut slots = Vec::new();
    let steps = steps(model, section).into_iter();
    steps.for_each(|step| step_slots(step, &mut slots));
    slots
}

/// The slots of every kind of layer, by its index.
pub(crate) fn kind_slots(model: &Model) -> Vec<Vec<Slot<'_>>> {
    let kinds = 0..model.kinds.len();
    kinds.map(|k| slots(model, Section::Kind(k))).collect()
}

fn step_slots<'a>(step: &'a Step, slots: &mut Vec<Slot<'a>>) {
    match &step.op {
        StepOp::Embed { table, .. } => slots.push(Slot {
            weight: table,
            role: Role::Table,
        }),
        StepOp::PositionEmbed { table, .. } => slots.push(Slot {
            weight: table,
            role: Role::Positions,
        }),
        StepOp::Norm(norm) => norm_slots(norm, slots),
        StepOp::Linear(linear) => linear_slots(linear, slots),
        StepOp::Scale(_) | StepOp::Softcap(_) | StepOp::Act(_) | StepOp::Pick => {}
        StepOp::Clamp { .. } | StepOp::Concat(_) | StepOp::Sinusoids { .. } => {}
        StepOp::WeightedSum { .. } | StepOp::MatchRms { .. } => {}
        StepOp::Add(operand) | StepOp::Mul(operand) => operand_slots(operand, slots),
        StepOp::Attention(attention) => {
            let Attention { q, kv, o, .. } = attention.as_ref();
            linear_slots(q, slots);
            if let KeyValue::Own(k, v) = kv {
                linear_slots(k, slots);
                linear_slots(v, slots);
            }
            let gate = attention.gate.iter();
            gate.for_each(|g| linear_slots(&g.linear, slots));
            let norms = attention.qk_norm.iter();
            let norms = norms.flat_map(|n| std::iter::once(&n.q).chain(&n.k).chain(&n.v));
            norms.for_each(|norm| norm_slots(norm, slots));
            slots.extend(attention.sinks.iter().map(bias));
            slots.extend(attention.slopes.iter().map(bias));
            if let Some(relative) = &attention.relative {
                linear_slots(&relative.r, slots);
                slots.push(Slot {
                    weight: &relative.profiles,
                    role: Role::Filter,
                });
            }
            linear_slots(o, slots);
        }
        StepOp::LatentAttention(attention) => latent_slots(attention, slots),
        StepOp::Index(index) => index_slots(index, slots),
        StepOp::DeltaNet(net) => delta_slots(net, slots),
        StepOp::ShortConv(conv) => {
            slots.push(Slot {
                weight: &conv.weight,
                role: Role::Filter,
            });
            slots.extend(conv.bias.iter().map(bias));
        }
        StepOp::Decay(decay) => slots.extend([&decay.rate, &decay.bias].map(bias)),
        StepOp::Recurrence(r) => recurrence_slots(r, slots),
        StepOp::Xielu(x) => slots.extend([&x.positive, &x.negative].map(bias)),
        StepOp::Mlp(mlp) => mlp_slots(mlp, slots),
        StepOp::Moe(moe) => moe_slots(moe, slots),
    }
}

fn recurrence_slots<'a>(r: &'a Recurrence, slots: &mut Vec<Slot<'a>>) {
    match &r.decay {
        Forgetting::Factor(operand) => operand_slots(operand, slots),
        Forgetting::Rates(weight) => slots.push(Slot {
            weight,
            role: Role::Filter,
        }),
    }
    operand_slots(&r.write, slots);
    slots.extend(r.skip.iter().map(bias));
}

/// A vector of small numbers.
fn bias(weight: &Weight) -> Slot<'_> {
    let role = Role::Bias;
    Slot { weight, role }
}

fn operand_slots<'a>(operand: &'a Operand, slots: &mut Vec<Slot<'a>>) {
    if let Operand::Vector(weight) | Operand::Scalar(weight) = operand {
        let role = Role::Gain { unit_offset: false };
        slots.push(Slot { weight, role });
    }
}

fn mlp_slots<'a>(mlp: &'a Mlp, slots: &mut Vec<Slot<'a>>) {
    mlp.gate
        .iter()
        .chain([&mlp.up, &mlp.down])
        .for_each(|linear| linear_slots(linear, slots));
}

fn moe_slots<'a>(moe: &'a Moe, slots: &mut Vec<Slot<'a>>) {
    slots_as(Role::Router, &moe.router, slots);
    let below = moe.route.experts;
    slots.extend(moe.listed.iter().map(|weight| Slot {
        weight,
        role: Role::Listed { below },
    }));
    slots.extend(moe.correction.iter().map(bias));
    slots.extend(moe.expert_scale.iter().map(|weight| Slot {
        weight,
        role: Role::Gain { unit_offset: false },
    }));
    match &moe.inner {
        Inner::Plain(one) | Inner::Paired(one) => linear_slots(one, slots),
        Inner::Gated(gate, up) => [gate, up]
            .into_iter()
            .for_each(|linear| linear_slots(linear, slots)),
    }
    linear_slots(&moe.down, slots);
    moe.shared.iter().for_each(|mlp| mlp_slots(mlp, slots));
    moe.shared_gate
        .iter()
        .for_each(|gate| slots_as(Role::Router, gate, slots));
}

/// A matrix with a role of its own, and its bias.
fn slots_as<'a>(role: Role, linear: &'a Linear, slots: &mut Vec<Slot<'a>>) {
    let first = slots.len();
    linear_slots(linear, slots);
    slots[first].role = role;
}

fn latent_slots<'a>(attention: &'a LatentAttention, slots: &mut Vec<Slot<'a>>) {
    let LatentAttention {
        q,
        kv_a,
        kv_norm,
        kv_b,
        gate,
        o,
        ..
    } = attention;
    match q {
        LatentQuery::Direct(q) => linear_slots(q, slots),
        LatentQuery::Compressed { a, norm, b } => {
            linear_slots(a, slots);
            norm_slots(norm, slots);
            linear_slots(b, slots);
        }
    }
    linear_slots(kv_a, slots);
    norm_slots(kv_norm, slots);
    slots_as(Role::ByHead, kv_b, slots);
    gate.iter().for_each(|g| linear_slots(&g.linear, slots));
    linear_slots(o, slots);
}

fn index_slots<'a>(index: &'a Index, slots: &mut Vec<Slot<'a>>) {
    linear_slots(&index.q, slots);
    linear_slots(&index.k, slots);
    let norms = index.q_norm.iter().chain(&index.k_norm);
    norms.for_each(|n| norm_slots(n, slots));
    let weigh = index.weigh.iter();
    weigh.for_each(|w| slots_as(Role::Router, w, slots));
}

fn delta_slots<'a>(net: &'a DeltaNet, slots: &mut Vec<Slot<'a>>) {
    for part in [&net.q, &net.k, &net.v] {
        linear_slots(&part.linear, slots);
        slots.push(Slot {
            weight: &part.conv,
            role: Role::Filter,
        });
    }
    projection_slots(Role::Router, &net.decay, slots);
    let vectors = [&net.rate, &net.decay_bias].map(|weight| Slot {
        weight,
        role: Role::Bias,
    });
    slots.extend(vectors);
    slots_as(Role::Router, &net.beta, slots);
    let gate = net.gate.iter();
    gate.for_each(|g| projection_slots(Role::Matrix, g, slots));
    let norms = net.q_norm.iter().chain(&net.k_norm).chain(&net.norm);
    norms.for_each(|norm| norm_slots(norm, slots));
    linear_slots(&net.o, slots);
}

fn projection_slots<'a>(role: Role, p: &'a Projection, slots: &mut Vec<Slot<'a>>) {
    match p {
        Projection::Direct(linear) => slots_as(role, linear, slots),
        Projection::LowRank(LowRank { a, b }) => {
            slots_as(role, a, slots);
            slots_as(role, b, slots);
        }
    }
}

fn norm_slots<'a>(norm: &'a Norm, slots: &mut Vec<Slot<'a>>) {
    let gain = Role::Gain {
        unit_offset: norm.unit_offset,
    };
    slots.extend(norm.gain.iter().map(|weight| Slot { weight, role: gain }));
    slots.extend(norm.bias.iter().map(|weight| Slot {
        weight,
        role: Role::Bias,
    }));
}

fn linear_slots<'a>(linear: &'a Linear, slots: &mut Vec<Slot<'a>>) {
    slots.push(Slot {
        weight: &linear.weight,
        role: Role::Matrix,
    });
    slots.extend(linear.bias.iter().map(|weight| Slot {
        weight,
        role: Role::Bias,
    }));
}
