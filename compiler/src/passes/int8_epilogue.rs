//! Rounds a product to int8 where it is made.
//!
//! ```text
//! y = matmul(x, w) gated by silu; z = quantize(y)  =>  z = matmul(x, w) gated by silu, quantize_y
//! ```
//!
//! Requires that nothing else reads the product, and that it is one run of columns, so that chunks of whole groups are cut
//! from it. What it saves is a barrier, and the result's way through memory in f32.

use super::candidate::Candidate;
use super::rewrite::{Operands, Takes, matmul_of, place, read_elsewhere, rewrite_matmul};
use crate::graph::{Dest, Graph, Join, Matmul, NodeId, Op, ProgramKind};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let quantizes = graph.all(|op| matches!(op, Op::Quantize { .. }));
    quantizes.into_iter().map(|q| fuse(graph, q)).collect()
}

fn fuse(graph: &mut Graph, quantize: NodeId) -> Candidate {
    let name = graph.node(quantize).name.clone();
    let product = graph.input(quantize);
    let Some(m) = matmul_of(graph, product) else {
        let why = format!(
            "its input comes from {}, which is not a matmul",
            place(graph, product)
        );
        return Candidate::kept(&name, why);
    };
    if graph.only_user(product).is_none() {
        return Candidate::kept(&name, read_elsewhere(graph, product, quantize));
    }
    if *graph.op(quantize) != (Op::Quantize { norm: None }) {
        return Candidate::kept(&name, "it normalises first");
    }
    if !one_run(m) {
        let why = format!(
            "{} has several parts, and a group would straddle two of them",
            place(graph, product)
        );
        return Candidate::kept(&name, why);
    }
    let op = Matmul {
        quantize_y: true,
        ..m.clone()
    };
    let operands = Operands::of(graph, product);
    let at = graph.node(product).name.clone();
    rewrite_matmul(graph, product, op, &operands, &[(quantize, Takes::Whole)]);
    Candidate::fused(&name, format!("epilogue of {at}"))
}

fn one_run(m: &Matmul) -> bool {
    let joined = m.parts.len() == 1 || matches!(m.join, Join::Gated(_));
    joined && m.parts.iter().all(|p| p.epilogue.dest == Dest::Output)
}
