//! Experts that are dealt out whole: each rank computes the rows of its own, and the sum over ranks has those of all.
//!
//! ```text
//! groups = group_by_expert(routes); rows = gather_tokens(x, groups); …; y = combine(down, groups)
//!   =>  on each rank the matrices of some experts, groups of their rows, and y is a summand
//! ```
//!
//! The router is whole, so that all ranks know who visits whom.

use std::collections::BTreeSet;

use super::deal::Deal;
use crate::graph::{Graph, GroupedRows, NodeId, Op};

/// An expert block, from its groups to its sum.
pub(super) struct Experts {
    pub(super) deal: Deal,
    /// What is computed of a rank's own experts alone, and what they read of weights.
    pub(super) members: BTreeSet<NodeId>,
    /// The sum of each token's rows.
    pub(super) combine: NodeId,
    /// The product that is summed up, and the others, in words.
    pub(super) end: (NodeId, String),
}

/// The expert blocks of a graph that can be dealt out to so many ranks.
pub(super) fn dealt_out(graph: &Graph, ranks: usize) -> Vec<Experts> {
    let combines = graph.all(|op| matches!(op, Op::Combine { .. }));
    let found = combines.into_iter().map(|id| experts(graph, id, ranks));
    found.flatten().collect()
}

/// The block that ends with `combine`; nothing where it has something that is not known here, or that others read.
fn experts(graph: &Graph, combine: NodeId, ranks: usize) -> Option<Experts> {
    let Op::Combine { grouping, .. } = graph.op(combine) else {
        return None;
    };
    let deal = Deal::experts(grouping.with_matrices(), ranks).ok()?;
    let GroupedRows { x, groups } = graph.read(combine, GroupedRows::of);
    let (mut members, mut open) = (BTreeSet::new(), vec![x, groups]);
    while let Some(id) = open.pop() {
        if !members.insert(id) {
            continue;
        }
        let operands = graph.operands(id);
        match graph.op(id) {
            // What it sorts is of all experts.
            Op::GroupByExpert(_) => {}
            Op::GatherTokens { .. } => open.push(graph.read(id, GroupedRows::of).groups),
            Op::GroupedMatmul(_) | Op::Activate(_) | Op::Weight(_) => open.extend(operands),
            Op::Quantize { norm: None } => open.extend(operands),
            _ => return None,
        }
    }
    let inside = |(user, _): &(NodeId, usize)| *user == combine || members.contains(user);
    let alone = |id: &NodeId| !graph.is_output(*id) && graph.users(*id).iter().all(inside);
    if !members.iter().all(alone) {
        return None;
    }
    let products = members.iter().copied();
    let products = products.filter(|id| *id != x && matches!(graph.op(*id), Op::GroupedMatmul(_)));
    let names: Vec<_> = products.map(|id| graph.node(id).name.as_str()).collect();
    let words = format!(
        "{} experts, with {}",
        grouping.with_matrices(),
        names.join(", ")
    );
    Some(Experts {
        deal,
        members,
        combine,
        end: (x, words),
    })
}
