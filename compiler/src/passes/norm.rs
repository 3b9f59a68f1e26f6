//! Lets a matmul normalise its own input.
//!
//! ```text
//! y = rms_norm(x, g); z = matmul(y, w)  =>  z = matmul(norm(x, g), w)
//! ```
//!
//! Requires a norm over the whole row that only matmuls read. Decode only: there every thread normalises the few rows for
//! itself, which is cheaper than a barrier; in prefill rows are many, and a kernel of its own computes each norm once.

use super::Site;
use super::sources::{Operands, matmul_of, place, replace_matmul};
use crate::graph::{Graph, NodeId, Op, ProgramKind};

pub(super) fn run(graph: &mut Graph, kind: ProgramKind) -> Vec<Site> {
    let norms: Vec<_> = graph
        .order()
        .into_iter()
        .filter(|id| matches!(graph.op(*id), Op::Norm(_)))
        .collect();
    norms.into_iter().map(|n| fuse(graph, n, kind)).collect()
}

fn fuse(graph: &mut Graph, norm: NodeId, kind: ProgramKind) -> Site {
    let name = graph.node(norm).name.clone();
    if kind == ProgramKind::Prefill {
        let why = "prefill normalises each of its many rows once, in a kernel of its own";
        return Site::kept(&name, why);
    }
    let Op::Norm(options) = *graph.op(norm) else {
        unreachable!("filtered")
    };
    if options.group != graph.width(norm) {
        return Site::kept(&name, "it normalises heads, not rows");
    }
    let users = graph.users(norm);
    let takes =
        |u: NodeId, slot: usize| slot == 0 && matmul_of(graph, u).is_some_and(|m| m.norm.is_none());
    if users.is_empty() || graph.is_output(norm) {
        return Site::kept(&name, "the next block reads it");
    }
    if let Some((other, _)) = users.iter().find(|(u, slot)| !takes(*u, *slot)) {
        let why = format!("{} reads it, which is no matmul", place(graph, *other));
        return Site::kept(&name, why);
    }
    let into: Vec<_> = users.iter().map(|(u, _)| place(graph, *u)).collect();
    let into = format!("prologue of {}", into.join(", "));
    let inputs = graph.operands(norm);
    let roles = graph.op(norm).roles();
    for (user, _) in users {
        let mut op = matmul_of(graph, user).expect("just checked").clone();
        op.norm = Some(options);
        let mut operands = Operands::of(graph, user);
        for (role, id) in roles.iter().zip(&inputs) {
            let role = if role == "x" {
                role.clone()
            } else {
                format!("norm.{role}")
            };
            operands.set(&role, *id);
        }
        let at = graph.node(user).name.clone();
        replace_matmul(graph, user, op, &operands, &at);
    }
    graph.remove(norm);
    Site::fused(&name, into)
}
