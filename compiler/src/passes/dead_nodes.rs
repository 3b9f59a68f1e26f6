//! Removes what nothing reads: `y = f(x)` without readers, and what only it read, in turn.
//!
//! Outputs of the block and nodes that write state stay, and so do inputs and weights: their tables are laid out already.

use super::candidate::Candidate;
use crate::graph::{Graph, NodeId, Op, ProgramKind};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let mut sites = vec![];
    for id in graph.order().into_iter().rev() {
        if is_dead(graph, id) {
            sites.push(Candidate::fused(&graph.node(id).name.clone(), "removed"));
            graph.remove(id);
        }
    }
    sites
}

fn is_dead(graph: &Graph, id: NodeId) -> bool {
    let op = graph.op(id);
    let stays =
        matches!(op, Op::Input(_) | Op::Weight(_)) || op.writes_cache() || graph.is_output(id);
    !stays && graph.users(id).is_empty()
}
