//! Rotates and normalises heads where the projection is made.
//!
//! ```text
//! y = rope(norm(matmul(x, w)))  =>  y = matmul(x, w{norm, rope})
//! ```
//!
//! For projections that `qkv-epilogue` leaves, such as the queries of latent attention. Requires that nothing else reads what
//! comes between, and norms over heads: a norm over the whole row needs all chunks of the product, and is left alone.

use super::candidate::Candidate;
use super::epilogue_steps::{Links, epilogue_steps, step_operands};
use super::rewrite::{Operands, Source, Takes, matmul_of, open, part_of, rewrite_matmul};
use crate::graph::{Dest, Epilogue, EpilogueStep, Graph, NodeId, ProgramKind};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let stepped = |id: &NodeId| {
        epilogue_steps(graph, *id)
            .1
            .iter()
            .any(|l| by_head(graph, l))
    };
    let inner = |id: &NodeId| graph.only_user(*id).is_some_and(|user| stepped(&user));
    let ends: Vec<_> = graph
        .order()
        .into_iter()
        .filter(|id| stepped(id) && !inner(id))
        .collect();
    ends.into_iter().map(|end| fuse(graph, end)).collect()
}

/// Whether a step works on less than a row; norms of rows are other passes' affair.
fn by_head(graph: &Graph, (step, node): &(EpilogueStep, NodeId)) -> bool {
    match step {
        EpilogueStep::Norm(n) => n.group < graph.width(*node),
        EpilogueStep::Rope(_) | EpilogueStep::PositionScale(_) => true,
        // One by itself is no reason.
        EpilogueStep::Scale(_) => false,
    }
}

fn fuse(graph: &mut Graph, end: NodeId) -> Candidate {
    let name = graph.node(end).name.clone();
    let (from, links) = epilogue_steps(graph, end);
    let Some(source) = part_of(graph, from) else {
        return Candidate::kept(&name, "its input is not a matmul");
    };
    let op = matmul_of(graph, source.matmul).expect("a source is a matmul");
    let part = &op.parts[source.part];
    let alone = links.iter().rev().skip(1).map(|l| l.1).chain([from]);
    if !alone.into_iter().all(|id| graph.only_user(id).is_some()) {
        return Candidate::kept(&name, "a value in between has another reader");
    }
    if !open(op) || part.epilogue != Epilogue::plain(part.rows) {
        return Candidate::kept(&name, "the matmul already has an epilogue");
    }
    let whole = |t: &EpilogueStep| matches!(t, EpilogueStep::Norm(n) if n.group == part.rows);
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
    op.parts[part].epilogue = Epilogue {
        rows: op.parts[part].rows,
        steps: links.iter().map(|l| l.0).collect(),
        dest: Dest::Output,
    };
    let mut operands = Operands::of(graph, matmul);
    operands.extend(step_operands(graph, &links, part));
    let at = graph.node(matmul).name.clone();
    rewrite_matmul(graph, matmul, op, &operands, &[(end, Takes::Part(part))]);
    at
}
