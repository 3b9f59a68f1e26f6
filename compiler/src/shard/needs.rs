//! What an operation needs of its operands to compute only a rank's units of its result: one rule for each operation that can.
//!
//! An operation without a rule computes all of its result on every rank. That is always right, so that rules are what makes
//! ranks worth while, never what makes them correct.

use std::ops::Range;

use graver_runtime::abi::quant::GROUP;

use super::deal::{Deal, Side};
use super::layout::Lot;
use crate::graph::{Attention, Form, Graph, Listing, NodeId, Op, Role, ScaledRows, StateId};

/// What an operation needs of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// All of it.
    Whole,
    /// The rank's units; a value that is there whole is cut.
    Split(Lot),
    /// The same of what cannot be cut: scores, and what orders readers of a state.
    Tied(Lot),
}

/// What node `id` needs of each operand, in order, for a result that is laid out as `lot` says; nothing where it cannot be.
pub(super) fn needs(
    graph: &Graph,
    id: NodeId,
    deal: &Deal,
    lot: Lot,
) -> Option<Vec<(NodeId, Need)>> {
    fits(graph, id, deal, lot).then(|| {
        let roles = graph.op(id).roles().into_iter();
        let operands = graph.operands(id).into_iter();
        let need = |((role, _), o): ((Role, _), NodeId)| (o, need(graph, id, lot, role, o));
        roles.zip(operands).map(need).collect()
    })
}

/// Whether the units of a lot are units of what the operation computes: heads, groups of a norm, or columns.
fn fits(graph: &Graph, id: NodeId, deal: &Deal, lot: Lot) -> bool {
    let (units, width) = (deal.units(lot.side), graph.width(id));
    let all = units * lot.width == width;
    let sides =
        |many: usize, few: usize| (deal.units(Side::Many), deal.units(Side::Few)) == (many, few);
    let keys = |s: &StateId| graph.states[s.0 as usize].kv_heads == deal.units(Side::Few);
    match graph.op(id) {
        Op::Matmul(m) => all && m.is_plain() && m.parts.len() == 1,
        Op::GroupedMatmul(_) | Op::Activate(_) => all,
        Op::Binary(_) | Op::Unary(_) | Op::PositionScale(_) | Op::Copy => all,
        Op::GatherRows | Op::ScaleBy | Op::WeightedSum(_) | Op::Xielu(_) | Op::Scan(_) => all,
        // By one number for a row, or one for each head.
        Op::ScaleRows => {
            let heads = graph.width(graph.read(id, ScaledRows::of).by);
            all && (heads == 1 || lot.width.is_multiple_of(width / heads))
        }
        Op::Norm(n) => {
            let whole = |columns: Range<usize>| {
                columns.start.is_multiple_of(n.group) && columns.end.is_multiple_of(n.group)
            };
            all && (0..deal.ranks()).all(|rank| whole(lot.columns(deal, rank)))
        }
        Op::Quantize { norm } => {
            let whole = |rank| lot.columns(deal, rank).start.is_multiple_of(GROUP);
            all && norm.is_none() && (0..deal.ranks()).all(whole)
        }
        Op::Rope(r) => all && lot.width.is_multiple_of(r.head_dim),
        Op::CacheWrite { state } | Op::CacheRead { state } => lot.side == Side::Few && keys(state),
        Op::Scores(a) | Op::Softmax(a) => sides(a.heads, a.kv_heads) && lists_fit(a),
        Op::Mix(a) => sides(a.heads, a.kv_heads) && lists_fit(a) && lot == Lot::many(a.value_dim),
        Op::HeadSlice(c) => c.heads == units && lot.width == c.len,
        Op::HeadConcat(c) => c.heads == units && lot.width == c.width(),
        Op::ShortConv(c) => all && c.norm.is_none(),
        Op::Decay { heads, .. } => all && lot.width.is_multiple_of(width / heads),
        Op::DeltaRule(d) => {
            let plain = d.norm.is_none() && !d.gated && !d.in_turn;
            plain && sides(d.heads, d.key_heads) && lot == Lot::many(d.value_dim)
        }
        // No rule: all of it on every rank.
        _ => false,
    }
}

/// Whether lists of keys, where there are some, can be cut with key heads.
fn lists_fit(a: &Attention) -> bool {
    let fit = |l: Listing| l.sets == 1 || l.sets == a.kv_heads;
    a.picked.is_none_or(fit)
}

/// What the operation, which fits, needs of the operand in one role.
fn need(graph: &Graph, id: NodeId, lot: Lot, role: Role, operand: NodeId) -> Need {
    let split = |side, width| Need::Split(Lot { side, width });
    match (graph.op(id), role) {
        (Op::Matmul(_) | Op::GroupedMatmul(_), Role::X | Role::Groups)
        | (Op::Norm(_), Role::NormGain(_) | Role::NormBias(_))
        | (Op::Rope(_), Role::Angles)
        | (Op::ScaleBy | Op::WeightedSum(_), Role::By)
        | (Op::Xielu(_), Role::Positive | Role::Negative)
        | (Op::Scan(_), Role::Q | Role::K) => Need::Whole,
        (Op::ScaleRows, Role::By) => match graph.width(operand) {
            1 => Need::Whole,
            heads => split(lot.side, lot.width * heads / graph.width(id)),
        },
        (Op::CacheWrite { state }, _) => {
            let decl = &graph.states[state.0 as usize];
            match role {
                Role::K => split(Side::Few, decl.head_dim),
                _ => split(Side::Few, decl.value_dim),
            }
        }
        (Op::Scores(a), Role::Q) => split(Side::Many, a.head_dim),
        (Op::Scores(_), Role::Slopes) => split(Side::Many, 1),
        (Op::Scores(a), Role::Relative) => {
            split(Side::Many, a.relative.map_or(0, |profiles| profiles.dim))
        }
        (Op::Scores(_), Role::Profiles) => Need::Whole,
        (Op::Scores(_) | Op::Mix(_), Role::After) => Need::Tied(Lot::STATE),
        (Op::Softmax(_), Role::X) | (Op::Mix(_), Role::P) => Need::Tied(Lot::SCORES),
        (Op::Softmax(_), Role::Sinks) => split(Side::Many, 1),
        // One list for all heads, or one for each key head.
        (Op::Softmax(a), Role::Picked) => match a.picked {
            Some(l) if l.sets > 1 => split(Side::Few, l.count),
            Some(_) | None => Need::Whole,
        },
        (Op::HeadSlice(c), _) => split(lot.side, c.width),
        (Op::HeadConcat(c), _) => {
            let one = if role == Role::A { c.left } else { c.right };
            match graph.width(operand) == c.heads * one {
                true => split(lot.side, one),
                // All heads have the same.
                false => Need::Whole,
            }
        }
        (Op::Activate(a), _) if a.form == Form::Paired => split(lot.side, 2 * lot.width),
        (Op::Decay { heads, .. }, Role::Rate) => {
            split(lot.side, lot.width * heads / graph.width(id))
        }
        (Op::DeltaRule(d), Role::Q | Role::K) => split(Side::Few, d.key_dim),
        (Op::DeltaRule(d), Role::Decay) => split(Side::Many, numbers(graph, operand) / d.heads),
        (Op::DeltaRule(_), Role::Beta | Role::Skip) => split(Side::Many, 1),
        _ => Need::Split(lot),
    }
}

/// Numbers of a row, or of a vector that all rows see.
fn numbers(graph: &Graph, operand: NodeId) -> usize {
    graph
        .weight(operand)
        .map_or_else(|| graph.width(operand), |w| w.shape[0])
}
