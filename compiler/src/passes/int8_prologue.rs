//! Lets a matmul round its own input to int8.
//!
//! ```text
//! q = quantize(norm(x, g)); z = matmul(q, w)  =>  z = matmul(norm(x, g), quantize_x, w)
//! ```
//!
//! Decode only, as with norms: a few rows are rounded by every thread for itself in less time than a barrier takes; in
//! prefill a kernel of its own rounds each row once.

use super::candidate::Candidate;
use super::rewrite::{Operands, matmul_of, place, rewrite_matmul};
use crate::graph::{Graph, NodeId, Op, ProgramKind};

pub(super) fn run(graph: &mut Graph, kind: ProgramKind) -> Vec<Candidate> {
    let quantizes = graph.all(|op| matches!(op, Op::Quantize { .. }));
    quantizes
        .into_iter()
        .map(|q| fuse(graph, q, kind))
        .collect()
}

fn fuse(graph: &mut Graph, quantize: NodeId, kind: ProgramKind) -> Candidate {
    let name = graph.node(quantize).name.clone();
    if kind == ProgramKind::Prefill {
        let why = "prefill rounds each of its many rows once, in a kernel of its own";
        return Candidate::kept(&name, why);
    }
    let Op::Quantize { norm } = *graph.op(quantize) else {
        unreachable!("filtered")
    };
    let users = graph.users(quantize);
    if users.is_empty() {
        return Candidate::kept(&name, "nothing reads it");
    }
    if let Some((other, _)) = users.iter().find(|(u, _)| matmul_of(graph, *u).is_none()) {
        let why = format!(
            "it is read by {}, which is not a matmul",
            place(graph, *other)
        );
        return Candidate::kept(&name, why);
    }
    let into: Vec<_> = users.iter().map(|(u, _)| place(graph, *u)).collect();
    let into = format!("prologue of {}", into.join(", "));
    for (user, _) in users {
        let mut op = matmul_of(graph, user).expect("just checked").clone();
        (op.norm, op.quantize_x) = (norm, true);
        let mut operands = Operands::of(graph, user);
        operands.extend(Operands::of(graph, quantize));
        rewrite_matmul(graph, user, op, &operands, &[]);
    }
    Candidate::fused(&name, into)
}
