//! Whether two ranks have the same code: whether all that code is made from is the same in both.

use crate::graph::{Collective, Graph, NodeId, Op, Program};

/// Whether the programs of two ranks of one model have the same code. Which columns a rank brings to those of others is the runtime's
/// affair.
pub(crate) fn same_code(a: &Program, b: &Program) -> bool {
    let blocks = a.blocks.iter().zip(&b.blocks);
    a.kind == b.kind
        && a.layers == b.layers
        && a.sources == b.sources
        && a.ropes == b.ropes
        && a.blocks.len() == b.blocks.len()
        && blocks
            .into_iter()
            .all(|(a, b)| same_graph(&a.graph, &b.graph))
}

fn same_graph(a: &Graph, b: &Graph) -> bool {
    let (order, other) = (a.order(), b.order());
    let same = |id: &NodeId| {
        let (a_node, b_node) = (a.node(*id), b.node(*id));
        placeless(&a_node.op) == placeless(&b_node.op)
            && a_node.shape == b_node.shape
            && a.operands(*id) == b.operands(*id)
    };
    // Nodes have the numbers in which they were added: what was added in another order is taken for something else.
    order == other
        && a.weights == b.weights
        && a.states == b.states
        && a.recurrent == b.recurrent
        && a.outputs == b.outputs
        && order.iter().all(same)
}

/// The operation, on whichever rank.
fn placeless(op: &Op) -> Op {
    match op {
        Op::Collective(Collective::AllGather { width, .. }) => {
            Op::Collective(Collective::AllGather {
                first: 0,
                width: *width,
            })
        }
        Op::Collective(Collective::HandOver { .. }) => {
            Op::Collective(Collective::HandOver { from: 0, to: None })
        }
        other => other.clone(),
    }
}
