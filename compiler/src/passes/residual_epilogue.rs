//! Adds the residual where the product is made.
//!
//! ```text
//! y = matmul(x, w); z = add(h, y)  =>  z = matmul(x, w) + h
//! ```
//!
//! Requires that nothing else reads the product, and that no residual is added yet. Where a norm stands between product
//! and sum (post-norm), the sum is left alone.

use super::candidate::Candidate;
use super::rewrite::{Operands, Takes, matmul_of, place, read_elsewhere, rewrite_matmul};
use crate::graph::{Binary, Graph, NodeId, Op, ProgramKind};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let is_sum = |id: &NodeId| {
        *graph.op(*id) == Op::Binary(Binary::Add) && graph.shape(graph.operands(*id)[1]).len() > 1
    };
    let adds: Vec<_> = graph.order().into_iter().filter(is_sum).collect();
    adds.into_iter().map(|a| fuse(graph, a)).collect()
}

fn fuse(graph: &mut Graph, add: NodeId) -> Candidate {
    let name = graph.node(add).name.clone();
    let ops = graph.operands(add);
    let Some((matmul, other)) = [(ops[1], ops[0]), (ops[0], ops[1])]
        .into_iter()
        .find(|(m, _)| matmul_of(graph, *m).is_some())
    else {
        let sides = [0, 1].map(|i| place(graph, ops[i]));
        let why = format!("neither {} nor {} is a matmul", sides[0], sides[1]);
        return Candidate::kept(&name, why);
    };
    let mut op = matmul_of(graph, matmul).expect("just found").clone();
    if op.residual {
        let why = match other == ops[1] {
            true => format!(
                "{} is no matmul, and {} has a residual already",
                place(graph, other),
                place(graph, matmul)
            ),
            false => format!("{} has a residual already", place(graph, matmul)),
        };
        return Candidate::kept(&name, why);
    }
    if graph.only_user(matmul).is_none() {
        return Candidate::kept(&name, read_elsewhere(graph, matmul, add));
    }
    op.residual = true;
    let mut operands = Operands::of(graph, matmul);
    operands.set("residual", other);
    let at = graph.node(matmul).name.clone();
    rewrite_matmul(graph, matmul, op, &operands, &[(add, Takes::Whole)]);
    Candidate::fused(&name, format!("epilogue of {at}"))
}
