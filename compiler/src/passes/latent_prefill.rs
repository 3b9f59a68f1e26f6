//! Lets long steps choose whether to expand latents or to absorb the expansion.
//!
//! ```text
//! y = attention(q · w_k by head) · w_v by head  =>  y = latent_attention(q, w)
//! ```
//!
//! Requires that nothing else reads what comes between, and attention to all keys without sinks, whatever their distance. Prefill only: decode's few
//! queries always absorb, all heads reading each latent together.

use super::candidate::Candidate;
use crate::graph::{
    Graph, HeadMatmul, HeadMatmulOperands, LatentAttention, NodeId, Op, ProgramKind, Reach,
};

pub(super) fn run(graph: &mut Graph, kind: ProgramKind) -> Vec<Candidate> {
    let is_latent = |id: &NodeId| {
        let shared = |s: crate::graph::StateId| graph.states[s.0 as usize].shared;
        matches!(graph.op(*id), Op::Attention(a) if shared(a.state))
    };
    let found: Vec<_> = graph.order().into_iter().filter(is_latent).collect();
    found.into_iter().map(|a| fuse(graph, a, kind)).collect()
}

fn fuse(graph: &mut Graph, attention: NodeId, kind: ProgramKind) -> Candidate {
    let name = graph.node(attention).name.clone();
    if kind == ProgramKind::Decode {
        return Candidate::kept(&name, "decode absorbs, since it has few queries");
    }
    let &Op::Attention(options) = graph.op(attention) else {
        unreachable!("filtered")
    };
    if options.sinks || options.by_distance() || options.reach != Reach::Full {
        return Candidate::kept(
            &name,
            "it has sinks, scores by distance, or does not see all keys",
        );
    }
    if options.picked.is_some() {
        return Candidate::kept(&name, "its queries have keys of their own");
    }
    let read = graph.read(attention, |take| options.operands(take));
    let (queries, written) = (read.q, read.after);
    let Some(before) = product(graph, queries) else {
        return Candidate::kept(&name, "its queries are not a per-head matmul");
    };
    let Some(results) = graph.only_user(attention) else {
        return Candidate::kept(&name, "its sums have another reader");
    };
    let Some(after) = product(graph, results) else {
        return Candidate::kept(&name, "its results do not feed a per-head matmul");
    };
    let HeadMatmulOperands { x: q, weight } = graph.read(queries, |take| before.operands(take));
    let same_weight = graph.read(results, |take| after.operands(take)).weight == weight;
    if !same_weight || graph.only_user(queries).is_none() {
        return Candidate::kept(&name, "the matmuls before and after it are not its own");
    }
    let op = Op::LatentAttention(LatentAttention {
        attention: options,
        queries: before,
        results: after,
    });
    let new = graph.add(op, &[q, written, weight], &name);
    graph.replace(results, new);
    Candidate::fused(&name, "expands or absorbs, by the number of tokens")
}

fn product(graph: &Graph, id: NodeId) -> Option<HeadMatmul> {
    match graph.op(id) {
        Op::HeadMatmul(m) => Some(*m),
        _ => None,
    }
}
