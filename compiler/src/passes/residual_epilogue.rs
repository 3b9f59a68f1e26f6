//! Adds the residual where the product is made.
//!
//! ```text
//! y = matmul(x, w); z = add(h, y)  =>  z = matmul(x, w) + h
//! ```
//!
//! Requires that nothing else reads the product, and that no residual is added yet. Where a norm stands between product
//! and sum (post-norm), the sum is left alone.

use super::candidate::Candidate;
use super::rewrite::{
    Operands, Takes, is_broadcast, matmul_of, place, read_elsewhere, rewrite_matmul,
};
use crate::graph::{Binary, Graph, NodeId, Op, Pair, ProgramKind, Role};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let is_sum =
        |id: &NodeId| *graph.op(*id) == Op::Binary(Binary::Add) && !is_broadcast(graph, *id);
    let adds: Vec<_> = graph.order().into_iter().filter(is_sum).collect();
    adds.into_iter().map(|a| fuse(graph, a)).collect()
}

fn fuse(graph: &mut Graph, add: NodeId) -> Candidate {
    let name = graph.node(add).name.clone();
    let Pair { a, b } = graph.read(add, |take| Binary::Add.operands(take));
    let Some((matmul, other)) = [(b, a), (a, b)]
        .into_iter()
        .find(|(m, _)| matmul_of(graph, *m).is_some())
    else {
        let [a, b] = [a, b].map(|side| place(graph, side));
        let why = format!("neither {a} nor {b} is a matmul");
        return Candidate::kept(&name, why);
    };
    let mut op = matmul_of(graph, matmul).expect("just found").clone();
    if op.residual {
        let why = match other == b {
            true => format!(
                "{} is not a matmul, and {} already has a residual",
                place(graph, other),
                place(graph, matmul)
            ),
            false => format!("{} already has a residual", place(graph, matmul)),
        };
        return Candidate::kept(&name, why);
    }
    if graph.only_user(matmul).is_none() {
        return Candidate::kept(&name, read_elsewhere(graph, matmul, add));
    }
    op.residual = true;
    let mut operands = Operands::of(graph, matmul);
    operands.set(Role::Residual, other);
    let at = graph.node(matmul).name.clone();
    rewrite_matmul(graph, matmul, op, &operands, &[(add, Takes::Whole)]);
    Candidate::fused(&name, format!("epilogue of {at}"))
}
