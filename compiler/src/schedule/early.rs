//! Sums of all ranks that begin while what is summed is still computed.

use super::BlockSchedule;
use crate::graph::{Collective, Dest, Graph, Join, NodeId, Op, ProgramKind};

/// The sum of all ranks' `node`, if its columns may be handed over as they are done: in prefill, where messages are large, and where
/// nothing but the sum reads the node. Ranks have to meet in one order, so that it is the first time they do after the node's epoch.
pub(crate) fn early_sum(
    graph: &Graph,
    schedule: &BlockSchedule,
    kind: ProgramKind,
    node: NodeId,
) -> Option<NodeId> {
    let by_columns = match graph.op(node) {
        Op::Matmul(m) => {
            let is_plain = |p: &crate::graph::Part| p.epilogue.dest == Dest::Output;
            let is_one = m.parts.len() == 1 && m.parts.iter().all(is_plain);
            m.join == Join::Concat && is_one && !m.quantize_y
        }
        Op::ExpertsOut(_) => true,
        _ => false,
    };
    let sum = graph.only_user(node)?;
    let is_sum = *graph.op(sum) == Op::Collective(Collective::AllReduce);
    let kernel = |id| schedule.kernels.iter().find(|k| k.node == id);
    let is_next = kernel(node).map(|k| k.epoch + k.epochs) == kernel(sum).map(|k| k.epoch);
    // What lies where the next block looks for it may not be written yet.
    let has_place = !graph.is_output(sum);
    let is_early = kind == ProgramKind::Prefill && by_columns && is_sum && is_next && has_place;
    is_early.then_some(sum)
}

/// What an early sum is of, the other way round.
pub(crate) fn summed_early(
    graph: &Graph,
    schedule: &BlockSchedule,
    kind: ProgramKind,
    sum: NodeId,
) -> Option<NodeId> {
    let Op::Collective(_) = graph.op(sum) else {
        return None;
    };
    let summed = graph.input(sum);
    early_sum(graph, schedule, kind, summed).map(|_| summed)
}
