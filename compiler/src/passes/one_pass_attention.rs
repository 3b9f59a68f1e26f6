//! Attends in one pass over the keys.
//!
//! ```text
//! s = scores(q, kv, slopes, relative); p = softmax(s, sinks, picked); y = mix(p, kv)
//!     =>  y = attention(q, kv, slopes, relative, sinks, picked)
//! ```
//!
//! Requires that nothing else reads scores or weights. The fused form keeps a running maximum and sum (online softmax,
//! Milakov & Gimelshein 2018), so that scores never leave the cache.

use super::candidate::Candidate;
use crate::graph::{Graph, NodeId, Op, ProgramKind};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let mixes = graph.all(|op| matches!(op, Op::Mix(_)));
    mixes.into_iter().map(|m| fuse(graph, m)).collect()
}

fn fuse(graph: &mut Graph, mix: NodeId) -> Candidate {
    let node = graph.node(mix).clone();
    let Op::Mix(options) = node.op else {
        unreachable!("filtered")
    };
    let read = graph.read(mix, |take| options.mix_operands(take));
    let (softmax, written) = (read.p, read.after);
    if !matches!(graph.op(softmax), Op::Softmax(_)) || graph.only_user(softmax).is_none() {
        return Candidate::kept(
            &node.name,
            "its weights do not come from a softmax of its own",
        );
    }
    let read = graph.read(softmax, |take| options.softmax_operands(take));
    let scores = read.x;
    if !matches!(graph.op(scores), Op::Scores(_)) || graph.only_user(scores).is_none() {
        return Candidate::kept(&node.name, "its scores have another reader");
    }
    let (sinks, picked) = (read.sinks, read.picked);
    let read = graph.read(scores, |take| options.scores_operands(take));
    let mut operands = vec![read.q, written];
    operands.extend(read.slopes);
    operands.extend(read.relative.into_iter().flat_map(|o| o.in_order()));
    operands.extend(sinks.into_iter().chain(picked));
    let name = node.name.trim_end_matches(".mix").to_string();
    let fused = graph.add(Op::Attention(options), &operands, &name);
    graph.replace(mix, fused);
    Candidate::fused(&node.name, "one pass over the keys")
}
