//! Finishes queries, keys and values where they are made.
//!
//! ```text
//! q, k, v = slices(matmul(x, wq, wk, wv)); q = rope(norm(q)); k = rope(norm(k)); cache_write(k, v)
//!   =>  q = matmul(x, wq{norm, rope}, wk{norm, rope, -> keys}, wv{-> values})
//! ```
//!
//! Requires that the three come from one matmul and that nothing else reads them. A norm over each head fits the matmul's
//! chunks; a norm over the whole projection needs all of it, and becomes one `finish` behind the matmul instead.

use super::Site;
use super::sources::{Operands, Source, matmul_of, open, part_of, replace_matmul};
use crate::graph::{Dest, Finish, Graph, NodeId, Norm, Op, ProgramKind, Rope, StateId};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Site> {
    let writes: Vec<_> = graph
        .order()
        .into_iter()
        .filter(|id| matches!(graph.op(*id), Op::CacheWrite { .. }))
        .collect();
    writes.into_iter().map(|w| fuse(graph, w)).collect()
}

/// A projection on its way: where it comes from, what is done to it, and the nodes that do it, last first.
struct Chain {
    source: Source,
    norm: Option<(Norm, NodeId)>,
    rope: Option<(Rope, NodeId)>,
    nodes: Vec<NodeId>,
}

fn chain(graph: &Graph, end: NodeId) -> Option<Chain> {
    let (mut at, mut norm, mut rope, mut nodes) = (end, None, None, vec![]);
    if let Op::Rope(r) = graph.op(at) {
        rope = Some((*r, graph.operands(at)[1]));
        nodes.push(at);
        at = graph.operands(at)[0];
    }
    if let Op::Norm(n) = graph.op(at) {
        if !n.gain || n.bias {
            return None;
        }
        norm = Some((*n, graph.operands(at)[1]));
        nodes.push(at);
        at = graph.operands(at)[0];
    }
    Some(Chain {
        source: part_of(graph, at)?,
        norm,
        rope,
        nodes,
    })
}

fn fuse(graph: &mut Graph, write: NodeId) -> Site {
    let name = graph.node(write).name.clone();
    let Op::CacheWrite { state } = *graph.op(write) else {
        unreachable!("filtered")
    };
    let Some((q, readers)) = query(graph, write) else {
        return Site::kept(&name, "no attention reads it");
    };
    let (k, v) = (graph.operands(write)[0], graph.operands(write)[1]);
    let [Some(cq), Some(ck), Some(cv)] = [q, k, v].map(|end| chain(graph, end)) else {
        return Site::kept(
            &name,
            "queries, keys or values are not projections with a norm and a rotation",
        );
    };
    let matmul = cq.source.matmul;
    if ck.source.matmul != matmul || cv.source.matmul != matmul {
        return Site::kept(
            &name,
            "queries, keys and values come from different matmuls",
        );
    }
    if !matmul_of(graph, matmul).is_some_and(open) {
        return Site::kept(&name, "something else already follows the projections");
    }
    let inner = [&cq, &ck, &cv]
        .iter()
        .flat_map(|c| c.nodes.iter().skip(1))
        .all(|n| graph.only_user(*n).is_some());
    if !inner
        || graph.only_user(k).is_none()
        || graph.only_user(v).is_none()
        || graph.users(q).len() != readers
    {
        return Site::kept(&name, "queries, keys or values are read elsewhere");
    }
    rewrite(graph, write, state, q, [cq, ck, cv])
}

/// The queries of the attention behind a cache write, and how many nodes read them.
fn query(graph: &Graph, write: NodeId) -> Option<(NodeId, usize)> {
    let scores =
        |(u, _): &(NodeId, usize)| matches!(graph.op(*u), Op::Scores(_) | Op::Attention(_));
    let mut users = graph.users(write).into_iter().filter(scores);
    let reader = users.next()?;
    users
        .next()
        .is_none()
        .then(|| (graph.operands(reader.0)[0], 1))
}

fn rewrite(
    graph: &mut Graph,
    write: NodeId,
    state: StateId,
    q: NodeId,
    chains: [Chain; 3],
) -> Site {
    let name = graph.node(write).name.clone();
    let matmul = chains[0].source.matmul;
    let mut op = matmul_of(graph, matmul)
        .expect("a source is a matmul")
        .clone();
    let mut operands = Operands::of(graph, matmul);
    let in_chunks = chains.iter().all(|c| match (&c.norm, &c.rope) {
        (Some((n, _)), Some((r, _))) => n.group == r.head_dim,
        (Some((n, _)), None) => n.group < op.parts[c.source.part].rows,
        _ => true,
    });
    let mut finishes: Vec<Finish> = op.parts.iter().map(|p| Finish::plain(p.rows)).collect();
    let mut gains = vec![];
    for (c, dest) in chains
        .iter()
        .zip([Dest::Output, Dest::Keys(state), Dest::Values(state)])
    {
        let part = c.source.part;
        let (norm, rope) = (c.norm.map(|n| n.0), c.rope.map(|r| r.0));
        finishes[part] = Finish {
            norm,
            rope,
            dest,
            ..finishes[part]
        };
        gains.extend(c.norm.map(|n| (part, n.1)));
        if let Some((_, angles)) = c.rope {
            operands.set("angles", angles);
        }
    }
    let new = if in_chunks {
        for (p, f) in op.parts.iter_mut().zip(&finishes) {
            p.finish = *f;
        }
        for (part, gain) in gains {
            operands.set(&format!("gain{part}"), gain);
        }
        detach(graph, write, q, &chains, matmul);
        let at = graph.node(matmul).name.clone();
        replace_matmul(graph, matmul, op, &operands, &at)
    } else {
        finish_behind(graph, write, q, &chains, finishes, &gains)
    };
    let into = if in_chunks {
        "epilogue of the projection"
    } else {
        "one finish behind the projection: its norm needs all of it"
    };
    let _ = new;
    Site::fused(&name, into)
}

/// Makes the attention read the matmul in the place of its finished queries, and removes the chains.
fn detach(graph: &mut Graph, write: NodeId, q: NodeId, chains: &[Chain; 3], to: NodeId) {
    graph.replace_uses(write, to);
    graph.remove(write);
    graph.replace_uses(q, to);
    for c in chains {
        for n in &c.nodes {
            graph.remove(*n);
        }
    }
    let slices: Vec<_> = graph.users(to).into_iter().map(|u| u.0).collect();
    for s in slices {
        if matches!(graph.op(s), Op::Slice { .. }) && graph.users(s).is_empty() {
            graph.remove(s);
        }
    }
}

fn finish_behind(
    graph: &mut Graph,
    write: NodeId,
    q: NodeId,
    chains: &[Chain; 3],
    parts: Vec<Finish>,
    gains: &[(usize, NodeId)],
) -> NodeId {
    let mut sorted = gains.to_vec();
    sorted.sort_unstable();
    let mut operands = vec![chains[0].source.matmul];
    operands.extend(sorted.iter().map(|g| g.1));
    operands.extend(chains.iter().find_map(|c| c.rope.map(|r| r.1)));
    let name = graph.node(write).name.clone();
    let new = graph.add(Op::Finish { parts }, &operands, &name);
    detach(graph, write, q, chains, new);
    for (user, _) in graph.users(operands[0]) {
        if matches!(graph.op(user), Op::Slice { .. }) && graph.users(user).is_empty() {
            graph.remove(user);
        }
    }
    new
}
