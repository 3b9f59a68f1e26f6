//! Adds a bias where the product is made.
//!
//! ```text
//! y = matmul(x, w); z = add(y, b)  =>  z = matmul(x, w, bias b)
//! ```
//!
//! Requires a vector that every row sees, and that nothing else reads the product. A bias after anything but the bare
//! product is left alone.

use super::candidate::Candidate;
use super::rewrite::{
    Operands, Source, Takes, is_broadcast, matmul_of, open, part_of, place, read_elsewhere,
    rewrite_matmul,
};
use crate::graph::{Binary, Graph, NodeId, Op, Pair, ProgramKind, Role};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let adds: Vec<_> = graph
        .order()
        .into_iter()
        .filter(|id| is_bias(graph, *id))
        .collect();
    adds.into_iter().map(|add| fuse(graph, add)).collect()
}

fn is_bias(graph: &Graph, id: NodeId) -> bool {
    *graph.op(id) == Op::Binary(Binary::Add) && is_broadcast(graph, id)
}

fn fuse(graph: &mut Graph, add: NodeId) -> Candidate {
    let name = graph.node(add).name.clone();
    let Pair { a: y, b } = graph.read(add, |take| Binary::Add.operands(take));
    let Some(Source { matmul, part }) = part_of(graph, y) else {
        let why = format!("it is added to {}, which is not a matmul", place(graph, y));
        return Candidate::kept(&name, why);
    };
    if graph.only_user(y).is_none() {
        return Candidate::kept(&name, read_elsewhere(graph, y, add));
    }
    let mut op = matmul_of(graph, matmul)
        .expect("a source is a matmul")
        .clone();
    if op.parts[part].bias || !open(&op) {
        let why = format!("{} already has an epilogue", place(graph, matmul));
        return Candidate::kept(&name, why);
    }
    op.parts[part].bias = true;
    let mut operands = Operands::of(graph, matmul);
    operands.set(Role::PartBias(part), b);
    let at = graph.node(matmul).name.clone();
    rewrite_matmul(graph, matmul, op, &operands, &[(add, Takes::Part(part))]);
    Candidate::fused(&name, format!("epilogue of {at}"))
}
