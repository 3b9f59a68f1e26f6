//! Norms, rotations and scalings one after the other, as passes find them between a product and its reader.

use crate::graph::{Graph, NodeId, Op, Touch, touch_role};

/// Touches one after the other, in the order in which they apply, with the nodes that are them.
pub(super) type Links = Vec<(Touch, NodeId)>;

/// What `end` is before any touch, and the touches up to it.
pub(super) fn touches(graph: &Graph, end: NodeId) -> (NodeId, Links) {
    let (mut at, mut links) = (end, vec![]);
    while let Some(touch) = touch(graph.op(at)) {
        links.push((touch, at));
        at = graph.operands(at)[0];
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

/// Operands that the touches of part `part` bring, by role: the angles, and what norms have.
pub(super) fn touch_operands(graph: &Graph, links: &Links, part: usize) -> Vec<(String, NodeId)> {
    let mut out = vec![];
    for (i, (touch, node)) in links.iter().enumerate() {
        let roles = graph.op(*node).roles();
        let named = roles.iter().zip(graph.operands(*node)).skip(1);
        out.extend(named.map(|(role, id)| match touch {
            Touch::Norm(_) => (touch_role(part, i) + role, id),
            Touch::Rope(_) | Touch::PositionScale(_) => (role.clone(), id),
        }));
    }
    out
}
