//! Multiplies by a number where the product is made.
//!
//! ```text
//! y = matmul(x, w); z = scale(y)  =>  z = matmul(x, w) scaled
//! ```
//!
//! Requires that nothing else reads the product, and that nothing follows it yet but biases, activation and gate.

use super::candidate::Candidate;
use super::rewrite::{Operands, Takes, matmul_of, place, read_elsewhere, rewrite_matmul};
use crate::graph::{Graph, NodeId, Op, ProgramKind, Unary};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let scales = graph.all(|op| matches!(op, Op::Unary(Unary::Scale(_))));
    scales.into_iter().map(|s| fuse(graph, s)).collect()
}

fn fuse(graph: &mut Graph, scale: NodeId) -> Candidate {
    let name = graph.node(scale).name.clone();
    let Op::Unary(Unary::Scale(by)) = *graph.op(scale) else {
        unreachable!("filtered")
    };
    let matmul = graph.input(scale);
    let Some(op) = matmul_of(graph, matmul) else {
        let why = format!("its input {} is not a matmul", place(graph, matmul));
        return Candidate::kept(&name, why);
    };
    if op.scale.is_some() || op.residual || op.states().next().is_some() {
        let why = format!("{} already has an epilogue", place(graph, matmul));
        return Candidate::kept(&name, why);
    }
    if graph.only_user(matmul).is_none() {
        return Candidate::kept(&name, read_elsewhere(graph, matmul, scale));
    }
    let mut op = op.clone();
    op.scale = Some(by);
    let operands = Operands::of(graph, matmul);
    let at = graph.node(matmul).name.clone();
    rewrite_matmul(graph, matmul, op, &operands, &[(scale, Takes::Whole)]);
    Candidate::fused(&name, format!("epilogue of {at}"))
}
