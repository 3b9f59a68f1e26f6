//! Does what follows an operation with recurrent state where its results are made.
//!
//! ```text
//! y = silu(short_conv(x, w)); z = l2_norm(y)          =>  z = short_conv(x, w) with silu and norm
//! y = rms_norm(delta_rule(q, k, v, …), g); z = y · gate  =>  z = delta_rule(q, k, v, …, g, gate)
//! ```
//!
//! Requires that nothing else reads the results, that a convolution's norm has no weights, and that the delta rule's runs over
//! each head. The order is that of the kernel: activation, then norm; norm, then gate.

use super::candidate::Candidate;
use super::rewrite::{Operands, is_broadcast, place, read_elsewhere};
use crate::graph::{Activation, Binary, Graph, NodeId, Norm, NormAt, Op, ProgramKind, Role, Unary};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let mut sites = vec![];
    for id in graph.order() {
        let follows = graph
            .operands(id)
            .first()
            .is_some_and(|x| graph.op(*x).facts().recurrent.is_some());
        if follows && let Some(next) = Next::of(graph, id) {
            sites.push(fuse(graph, id, next));
        }
    }
    sites
}

/// What may follow.
enum Next {
    Act(Activation),
    Norm(Norm),
    Gate,
}

impl Next {
    fn of(graph: &Graph, id: NodeId) -> Option<Next> {
        match graph.op(id) {
            Op::Unary(Unary::Act(a)) => Some(Next::Act(*a)),
            Op::Norm(n) => Some(Next::Norm(*n)),
            Op::Binary(Binary::Mul) if !is_broadcast(graph, id) => Some(Next::Gate),
            _ => None,
        }
    }
}

fn fuse(graph: &mut Graph, id: NodeId, next: Next) -> Candidate {
    let name = graph.node(id).name.clone();
    let x = graph.input(id);
    if graph.only_user(x).is_none() {
        return Candidate::kept(&name, read_elsewhere(graph, x, id));
    }
    let Some(op) = followed(graph.op(x), &next) else {
        let why = format!("{} does not take it as an epilogue", place(graph, x));
        return Candidate::kept(&name, why);
    };
    let mut operands = Operands::of(graph, x);
    let more = Operands::of(graph, id).renamed(|role| match role {
        Role::B => Role::Gate,
        other => other.of_norm(NormAt::Around),
    });
    let input = [Role::X, Role::A];
    operands.extend(more.into_iter().filter(|(role, _)| !input.contains(role)));
    let at = graph.node(x).name.clone();
    let fused = graph.add(op.clone(), &operands.arranged(&op), &at);
    graph.replace(id, fused);
    Candidate::fused(&name, format!("epilogue of {at}"))
}

/// The operation with what comes next, whose operands come last.
fn followed(op: &Op, next: &Next) -> Option<Op> {
    match (op, next) {
        (Op::ShortConv(c), Next::Act(a)) if c.act.is_none() && c.norm.is_none() => {
            let mut c = *c;
            c.act = Some(*a);
            Some(Op::ShortConv(c))
        }
        (Op::ShortConv(c), Next::Norm(n)) if c.norm.is_none() && !n.gain && !n.bias => {
            let mut c = *c;
            c.norm = Some(*n);
            Some(Op::ShortConv(c))
        }
        (Op::DeltaRule(d), Next::Norm(n))
            if d.norm.is_none() && !d.gated && !n.bias && n.group == d.value_dim =>
        {
            let mut d = *d;
            d.norm = Some(*n);
            Some(Op::DeltaRule(d))
        }
        (Op::DeltaRule(d), Next::Gate) if !d.gated => {
            let mut d = *d;
            d.gated = true;
            Some(Op::DeltaRule(d))
        }
        (_, Next::Act(_) | Next::Norm(_) | Next::Gate) => None,
    }
}
