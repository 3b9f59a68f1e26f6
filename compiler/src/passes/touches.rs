//! Norms, rotations and scalings one after the other, as passes find them between a product and its reader.

use super::rewrite::Operands;
use crate::graph::{Graph, NodeId, NormAt, Op, Role, Touch};

/// Touches one after the other, in the order in which they apply, with the nodes that are them.
pub(super) type Links = Vec<(Touch, NodeId)>;

/// What `end` is before any touch, and the touches up to it.
pub(super) fn touches(graph: &Graph, end: NodeId) -> (NodeId, Links) {
    let (mut at, mut links) = (end, vec![]);
    while let Some(touch) = touch(graph.op(at)) {
        links.push((touch, at));
        at = graph.input(at);
    }
    links.reverse();
    (at, links)
}

/// The touch that an operation by itself is, if it is one.
fn touch(op: &Op) -> Option<Touch> {
    match op {
        Op::Norm(n) => Some(Touch::Norm(*n)),
        Op::Rope(r) => Some(Touch::Rope(*r)),
        Op::PositionScale(p) => Some(Touch::PositionScale(*p)),
        _ => None,
    }
}

/// Operands that the touches of part `part` bring: the angles, and what norms have.
pub(super) fn touch_operands(graph: &Graph, links: &Links, part: usize) -> Vec<(Role, NodeId)> {
    let of = |(step, (_, node)): (usize, &(Touch, NodeId))| {
        let at = NormAt::Part { part, step };
        let operands = Operands::of(graph, *node).renamed(|role| role.of_norm(at));
        operands.into_iter().filter(|(role, _)| *role != Role::X)
    };
    links.iter().enumerate().flat_map(of).collect()
}
