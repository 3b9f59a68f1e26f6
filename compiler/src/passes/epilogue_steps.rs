//! Norms, rotations and scalings one after the other, as passes find them between a product and its reader.

use super::rewrite::Operands;
use crate::graph::{EpilogueStep, Graph, NodeId, NormAt, Op, Role, Unary};

/// Steps one after the other, in the order in which they apply, with the nodes that are them.
pub(super) type Links = Vec<(EpilogueStep, NodeId)>;

/// What `end` is before any of them, and those up to it.
pub(super) fn epilogue_steps(graph: &Graph, end: NodeId) -> (NodeId, Links) {
    let (mut at, mut links) = (end, vec![]);
    while let Some(step) = epilogue_step(graph.op(at)) {
        links.push((step, at));
        at = graph.input(at);
    }
    links.reverse();
    (at, links)
}

/// The step that an operation by itself is, if it is one.
fn epilogue_step(op: &Op) -> Option<EpilogueStep> {
    match op {
        Op::Norm(n) => Some(EpilogueStep::Norm(*n)),
        Op::Rope(r) => Some(EpilogueStep::Rope(*r)),
        Op::PositionScale(p) => Some(EpilogueStep::PositionScale(*p)),
        Op::Unary(Unary::Scale(by)) => Some(EpilogueStep::Scale(*by)),
        _ => None,
    }
}

/// Operands that the steps of part `part` bring: the angles, and what norms have.
pub(super) fn step_operands(graph: &Graph, links: &Links, part: usize) -> Vec<(Role, NodeId)> {
    let of = |(step, (_, node)): (usize, &(EpilogueStep, NodeId))| {
        let at = NormAt::Part { part, step };
        let operands = Operands::of(graph, *node).renamed(|role| role.of_norm(at));
        operands.into_iter().filter(|(role, _)| *role != Role::X)
    };
    links.iter().enumerate().flat_map(of).collect()
}
