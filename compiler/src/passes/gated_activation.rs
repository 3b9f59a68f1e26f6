//! Applies activations where the product is made.
//!
//! ```text
//! g, u = slices(matmul(x, wg, wu)); y = mul(silu(g), u)  =>  y = matmul(x, wg, wu) gated by silu
//! u = matmul(x, w); y = gelu(u)                          =>  y = matmul(x, w) with gelu
//! ```
//!
//! Requires that nothing else reads the products. Gate and up have to come from one matmul of those two, whose chunks
//! then hold the same rows of both.

use super::candidate::Candidate;
use super::rewrite::{
    Operands, Source, Takes, matmul_of, open, part_of, place, read_elsewhere, rewrite_matmul,
};
use crate::graph::{Activation, Binary, Graph, Join, NodeId, Op, ProgramKind, Unary};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let acts = graph.all(|op| matches!(op, Op::Unary(Unary::Act(_))));
    acts.into_iter().map(|a| fuse(graph, a)).collect()
}

fn fuse(graph: &mut Graph, act: NodeId) -> Candidate {
    let name = graph.node(act).name.clone();
    let Op::Unary(Unary::Act(kind)) = *graph.op(act) else {
        unreachable!("filtered")
    };
    let x = graph.input(act);
    let Some(source) = part_of(graph, x) else {
        let why = format!("its input {} is not a matmul", place(graph, x));
        return Candidate::kept(&name, why);
    };
    let matmul = matmul_of(graph, source.matmul).expect("a source is a matmul");
    if !open(matmul) {
        let why = format!("{} already has an epilogue", place(graph, source.matmul));
        return Candidate::kept(&name, why);
    }
    if graph.only_user(x).is_none() {
        return Candidate::kept(&name, read_elsewhere(graph, x, act));
    }
    if matmul.parts.len() == 1 {
        return alone(graph, act, x, kind);
    }
    gated(graph, act, source, kind)
}

fn alone(graph: &mut Graph, act: NodeId, matmul: NodeId, kind: Activation) -> Candidate {
    let mut op = matmul_of(graph, matmul)
        .expect("a source is a matmul")
        .clone();
    op.act = Some(kind);
    let operands = Operands::of(graph, matmul);
    let (name, at) = (
        graph.node(act).name.clone(),
        graph.node(matmul).name.clone(),
    );
    rewrite_matmul(graph, matmul, op, &operands, &[(act, Takes::Whole)]);
    Candidate::fused(&name, format!("epilogue of {at}"))
}

fn gated(graph: &mut Graph, act: NodeId, gate: Source, kind: Activation) -> Candidate {
    let name = graph.node(act).name.clone();
    let mul = graph
        .only_user(act)
        .filter(|u| *graph.op(*u) == Op::Binary(Binary::Mul));
    let Some(mul) = mul else {
        let why = format!(
            "it is not multiplied by another part of {}",
            place(graph, gate.matmul)
        );
        return Candidate::kept(&name, why);
    };
    let other = graph.operands(mul).into_iter().find(|o| *o != act);
    let Some((up, from)) = other.and_then(|o| Some((o, part_of(graph, o)?))) else {
        return Candidate::kept(&name, "its factor is not a matmul");
    };
    let op = matmul_of(graph, gate.matmul)
        .expect("a source is a matmul")
        .clone();
    let pair =
        from.matmul == gate.matmul && op.parts.len() == 2 && op.parts[0].rows == op.parts[1].rows;
    if !pair {
        return Candidate::kept(&name, "gate and up are not the two parts of one matmul");
    }
    if graph.only_user(up).is_none() {
        return Candidate::kept(&name, read_elsewhere(graph, up, mul));
    }
    join(graph, mul, act, gate, Join::Gated(kind))
}

fn join(graph: &mut Graph, mul: NodeId, act: NodeId, gate: Source, join: Join) -> Candidate {
    let (name, at) = (
        graph.node(act).name.clone(),
        graph.node(gate.matmul).name.clone(),
    );
    let mut op = matmul_of(graph, gate.matmul)
        .expect("a source is a matmul")
        .clone();
    let mut operands = Operands::of(graph, gate.matmul);
    if gate.part == 1 {
        operands = operands.renamed(|role| role.in_part(|part| 1 - part));
        op.parts.swap(0, 1);
    }
    op.join = join;
    rewrite_matmul(graph, gate.matmul, op, &operands, &[(mul, Takes::Whole)]);
    Candidate::fused(&name, format!("epilogue of {at}"))
}
