//! Rotates and normalises heads where the projection is made.
//!
//! ```text
//! y = rope(norm(matmul(x, w)))  =>  y = matmul(x, w{norm, rope})
//! ```
//!
//! For projections that `qkv-finish` leaves, such as the queries of latent attention. Requires that nothing else reads what
//! comes between, and norms over heads: a norm over the whole row needs all chunks of the product, and is left alone.

use super::candidate::Candidate;
use super::rewrite::{Operands, Source, Takes, matmul_of, open, part_of, rewrite_matmul};
use super::touches::{Links, touch_operands, touches};
use crate::graph::{Dest, Finish, Graph, NodeId, ProgramKind, Touch};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let touched = |id: &NodeId| touches(graph, *id).1.iter().any(|l| by_head(graph, l));
    let inner = |id: &NodeId| graph.only_user(*id).is_some_and(|user| touched(&user));
    let ends: Vec<_> = graph
        .order()
        .into_iter()
        .filter(|id| touched(id) && !inner(id))
        .collect();
    ends.into_iter().map(|end| fuse(graph, end)).collect()
}

/// Whether a touch works on less than a row; norms of rows are other passes' affair.
fn by_head(graph: &Graph, (touch, node): &(Touch, NodeId)) -> bool {
    match touch {
        Touch::Norm(n) => n.group < graph.width(*node),
        Touch::Rope(_) | Touch::PositionScale(_) => true,
    }
}

fn fuse(graph: &mut Graph, end: NodeId) -> Candidate {
    let name = graph.node(end).name.clone();
    let (from, links) = touches(graph, end);
    let Some(source) = part_of(graph, from) else {
        return Candidate::kept(&name, "its input is not a product");
    };
    let op = matmul_of(graph, source.matmul).expect("a source is a matmul");
    let part = &op.parts[source.part];
    let alone = links.iter().rev().skip(1).map(|l| l.1).chain([from]);
    if !alone.into_iter().all(|id| graph.only_user(id).is_some()) {
        return Candidate::kept(&name, "what comes between is read elsewhere");
    }
    if !open(op) || part.finish != Finish::plain(part.rows) {
        return Candidate::kept(&name, "the product is already finished");
    }
    let whole = |t: &Touch| matches!(t, Touch::Norm(n) if n.group == part.rows);
    if links.iter().any(|(t, _)| whole(t)) {
        return Candidate::kept(&name, "its norm needs the whole product");
    }
    let at = apply(graph, end, source, links);
    Candidate::fused(&name, format!("epilogue of {at}"))
}

fn apply(graph: &mut Graph, end: NodeId, source: Source, links: Links) -> String {
    let Source { matmul, part } = source;
    let mut op = matmul_of(graph, matmul)
        .expect("a source is a matmul")
        .clone();
    op.parts[part].finish = Finish {
        rows: op.parts[part].rows,
        touches: links.iter().map(|l| l.0).collect(),
        dest: Dest::Output,
    };
    let mut operands = Operands::of(graph, matmul);
    operands.extend(touch_operands(graph, &links, part));
    let at = graph.node(matmul).name.clone();
    rewrite_matmul(graph, matmul, op, &operands, &[(end, Takes::Part(part))]);
    at
}
