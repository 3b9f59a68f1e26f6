//! Finishes queries, keys and values where they are made.
//!
//! ```text
//! q, k, v = slices(matmul(x, wq, wk, wv)); q = rope(norm(q)); k = rope(norm(k)); cache_write(k, v)
//!   =>  q = matmul(x, wq{norm, rope}, wk{norm, rope, -> keys}, wv{-> values})
//! ```
//!
//! Norms, rotations and scalings by position are taken over in the order in which they stand. Requires that the three come from
//! one matmul and that nothing else reads them. A norm over each head fits the matmul's chunks; a norm over the whole
//! projection needs all of it, and becomes one `epilogue` after the matmul instead.

use super::candidate::Candidate;
use super::epilogue_steps::{Links, epilogue_steps, step_operands};
use super::rewrite::{Operands, Source, Takes, matmul_of, open, part_of, place, rewrite_matmul};
use crate::graph::{Dest, Epilogue, Graph, KeysValues, NodeId, Op, ProgramKind, Role, StateId};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let writes = graph.all(|op| matches!(op, Op::CacheWrite { .. }));
    writes.into_iter().map(|w| fuse(graph, w)).collect()
}

/// A projection on its way: where it comes from, and what is done to it, with the nodes that do it.
struct Chain {
    source: Source,
    /// The projection's bare result.
    bare: NodeId,
    /// In the order in which they apply.
    links: Links,
}

fn chain(graph: &Graph, end: NodeId) -> Option<Chain> {
    let (at, links) = epilogue_steps(graph, end);
    Some(Chain {
        source: part_of(graph, at)?,
        bare: at,
        links,
    })
}

impl Chain {
    /// Every value from the bare projection to the finished one.
    fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::once(self.bare).chain(self.links.iter().map(|l| l.1))
    }

    fn epilogue(&self, rows: usize, dest: Dest) -> Epilogue {
        let steps = self.links.iter().map(|l| l.0).collect();
        Epilogue { rows, steps, dest }
    }

    fn operands(&self, graph: &Graph) -> Vec<(Role, NodeId)> {
        step_operands(graph, &self.links, self.source.part)
    }
}

fn fuse(graph: &mut Graph, write: NodeId) -> Candidate {
    let name = graph.node(write).name.clone();
    let Op::CacheWrite { state } = *graph.op(write) else {
        unreachable!("filtered")
    };
    let Some(q) = query(graph, write) else {
        return Candidate::kept(&name, "no attention reads it");
    };
    let KeysValues { k, v } = graph.read(write, KeysValues::of);
    let [Some(cq), Some(ck), Some(cv)] = [q, k, v].map(|end| chain(graph, end)) else {
        let ends = ["queries", "keys", "values"];
        let at = ends
            .iter()
            .zip([q, k, v])
            .find(|(_, end)| chain(graph, *end).is_none());
        let (what, end) = at.expect("one of them is none");
        let why = format!(
            "its {what} come from {}, which is not a matmul with norms, rotations and scalings after it",
            place(graph, end)
        );
        return Candidate::kept(&name, why);
    };
    let matmul = cq.source.matmul;
    if ck.source.matmul != matmul || cv.source.matmul != matmul {
        return Candidate::kept(
            &name,
            "queries, keys and values come from different matmuls",
        );
    }
    if !matmul_of(graph, matmul).is_some_and(open) {
        let why = format!("{} already has an epilogue", place(graph, matmul));
        return Candidate::kept(&name, why);
    }
    let alone = |c: &Chain| c.nodes().all(|n| graph.only_user(n).is_some());
    if ![&cq, &ck, &cv].into_iter().all(alone) {
        return Candidate::kept(&name, "queries, keys or values have another reader");
    }
    rewrite(graph, write, state, q, [cq, ck, cv])
}

/// The queries of the only attention after a cache write.
fn query(graph: &Graph, write: NodeId) -> Option<NodeId> {
    let scores =
        |(u, _): &(NodeId, usize)| matches!(graph.op(*u), Op::Scores(_) | Op::Attention(_));
    let mut users = graph.users(write).into_iter().filter(scores);
    let reader = users.next()?;
    users.next().is_none().then(|| graph.input(reader.0))
}

fn rewrite(
    graph: &mut Graph,
    write: NodeId,
    state: StateId,
    q: NodeId,
    chains: [Chain; 3],
) -> Candidate {
    let name = graph.node(write).name.clone();
    let matmul = chains[0].source.matmul;
    let mut op = matmul_of(graph, matmul)
        .expect("a source is a matmul")
        .clone();
    let head_dim = graph.states[state.0 as usize].head_dim;
    let dests = [Dest::Output, Dest::Keys(state), Dest::Values(state)];
    let mut epilogues: Vec<Epilogue> = op.parts.iter().map(|p| Epilogue::plain(p.rows)).collect();
    for (c, dest) in chains.iter().zip(dests) {
        let part = c.source.part;
        epilogues[part] = c.epilogue(epilogues[part].rows, dest);
    }
    if epilogues.iter().any(|f| f.grain() > head_dim) {
        let into = format!(
            "{}: one kernel after {}, because a norm runs over a whole projection",
            taken(graph, &chains),
            place(graph, matmul)
        );
        epilogue_after(graph, write, q, &chains, epilogues);
        return Candidate::fused(&name, into);
    }
    let into = format!(
        "{}: epilogue of {}",
        taken(graph, &chains),
        place(graph, matmul)
    );
    let mut operands = Operands::of(graph, matmul);
    operands.extend(chains.iter().flat_map(|c| c.operands(graph)));
    for (p, f) in op.parts.iter_mut().zip(epilogues) {
        p.epilogue = f;
    }
    let ends = [
        (write, Takes::Whole),
        (q, Takes::Part(chains[0].source.part)),
    ];
    rewrite_matmul(graph, matmul, op, &operands, &ends);
    Candidate::fused(&name, into)
}

/// What the chains do, and the cache write: `attention.q_rope, attention.k_rope and the cache write`.
fn taken(graph: &Graph, chains: &[Chain; 3]) -> String {
    let links = chains.iter().flat_map(|c| &c.links);
    let names: Vec<_> = links.map(|(_, n)| place(graph, *n)).collect();
    match names.is_empty() {
        true => "the cache write".into(),
        false => format!("{} and the cache write", names.join(", ")),
    }
}

fn epilogue_after(
    graph: &mut Graph,
    write: NodeId,
    q: NodeId,
    chains: &[Chain; 3],
    parts: Vec<Epilogue>,
) {
    let Source { matmul, part } = chains[0].source;
    let outputs = |parts: &[Epilogue]| -> usize {
        let kept = parts.iter().filter(|p| p.dest == Dest::Output);
        kept.map(|p| p.rows).sum()
    };
    let (start, len, all) = (outputs(&parts[..part]), parts[part].rows, outputs(&parts));
    let op = Op::Epilogue { parts };
    let mut operands = Operands::default();
    operands.set(Role::X, matmul);
    operands.extend(chains.iter().flat_map(|c| c.operands(graph)));
    let name = graph.node(write).name.clone();
    let new = graph.add(op.clone(), &operands.arranged(&op), &name);
    graph.replace(write, new);
    let queries = match len == all {
        true => new,
        // The matmul has parts that are neither queries, keys nor values.
        false => graph.add(
            Op::Slice { start, len },
            &[new],
            &graph.node(q).name.clone(),
        ),
    };
    graph.replace(q, queries);
}
