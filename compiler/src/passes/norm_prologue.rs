//! Lets a matmul, or the rounding in front of it, normalise its own input.
//!
//! ```text
//! y = rms_norm(x, g); z = matmul(y, w)  =>  z = matmul(norm(x, g), w)
//! y = rms_norm(x, g); z = experts_in(y, …)  =>  z = experts_in(norm(x, g), …)
//! y = rms_norm(x, g); q = quantize(y)   =>  q = quantize(norm(x, g))
//! ```
//!
//! Requires a norm over the whole row that nothing else reads. Matmuls and experts take it in decode only: there every
//! thread normalises the few rows for itself, which is cheaper than a barrier; in prefill rows are many, and a kernel of its
//! own computes each norm once.

use super::candidate::Candidate;
use super::rewrite::{Operands, matmul_of, place, rewrite_matmul};
use crate::graph::{Graph, NodeId, Norm, NormAt, Op, ProgramKind};

pub(super) fn run(graph: &mut Graph, kind: ProgramKind) -> Vec<Candidate> {
    let norms = graph.all(|op| matches!(op, Op::Norm(_)));
    norms.into_iter().map(|n| fuse(graph, n, kind)).collect()
}

fn fuse(graph: &mut Graph, norm: NodeId, kind: ProgramKind) -> Candidate {
    let name = graph.node(norm).name.clone();
    let Op::Norm(options) = *graph.op(norm) else {
        unreachable!("filtered")
    };
    if options.group != graph.width(norm) {
        return Candidate::kept(&name, "it normalises heads, not rows");
    }
    let users = graph.users(norm);
    let rounds = |u: NodeId| *graph.op(u) == Op::Quantize { norm: None };
    if kind == ProgramKind::Prefill && !users.iter().all(|(u, _)| rounds(*u)) {
        let why = "prefill normalises each of its many rows once, in a kernel of its own";
        return Candidate::kept(&name, why);
    }
    let takes = |u: NodeId, slot: usize| {
        let bare = matmul_of(graph, u).is_some_and(|m| m.norm.is_none() && !m.quantize_x);
        let experts = matches!(graph.op(u), Op::ExpertsIn(x) if x.norm.is_none());
        slot == 0 && (bare || experts || rounds(u))
    };
    if users.is_empty() || graph.is_output(norm) {
        return Candidate::kept(&name, "the next block reads it");
    }
    if let Some((other, _)) = users.iter().find(|(u, slot)| !takes(*u, *slot)) {
        let problem = match matmul_of(graph, *other) {
            Some(m) if m.norm.is_some() => "already has a norm in its prologue",
            Some(_) => "also takes it as another operand",
            None => "is not a matmul",
        };
        let why = format!("{}, which reads it, {problem}", place(graph, *other));
        return Candidate::kept(&name, why);
    }
    let into: Vec<_> = users.iter().map(|(u, _)| place(graph, *u)).collect();
    let into = format!("prologue of {}", into.join(", "));
    for (user, _) in users {
        if rounds_only(graph, user, options, &graph.operands(norm)) {
            continue;
        }
        let mut operands = Operands::of(graph, user);
        operands.extend(Operands::of(graph, norm).renamed(|role| role.of_norm(NormAt::Around)));
        let at = graph.node(user).name.clone();
        match graph.op(user).clone() {
            Op::ExpertsIn(mut x) => {
                x.norm = Some(options);
                let op = Op::ExpertsIn(x);
                let new = graph.add(op.clone(), &operands.arranged(&op), &at);
                graph.replace(user, new);
            }
            _ => {
                let mut op = matmul_of(graph, user).expect("just checked").clone();
                op.norm = Some(options);
                rewrite_matmul(graph, user, op, &operands, &[]);
            }
        }
    }
    Candidate::fused(&name, into)
}

/// Gives a quantize node the norm; whether it was one.
fn rounds_only(graph: &mut Graph, user: NodeId, options: Norm, inputs: &[NodeId]) -> bool {
    if !matches!(graph.op(user), Op::Quantize { .. }) {
        return false;
    }
    let op = Op::Quantize {
        norm: Some(options),
    };
    let name = graph.node(user).name.clone();
    let new = graph.add(op, inputs, &name);
    graph.replace(user, new);
    true
}
