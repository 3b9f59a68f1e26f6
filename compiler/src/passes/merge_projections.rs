//! Merges projections that read the same input.
//!
//! ```text
//! q = matmul(x, wq); k = matmul(x, wk)  =>  qk = matmul(x, wq, wk); q = slice(qk); k = slice(qk)
//! ```
//!
//! Requires plain matmuls of one step of the spec whose products go the same way: attention and MLP side by side each keep
//! theirs, because what follows them differs; gate and up, which are multiplied, are a pair of their own; scores of a router
//! and numbers that scale rows stay alone. The weights stay where they are: the merged matmul reaches each through its own pointer. What
//! it saves is barriers, and chunks too small to share out.

use std::collections::BTreeMap;

use super::candidate::Candidate;
use super::rewrite::{Operands, is_broadcast, joined_name, matmul_of, place};
use crate::graph::{Binary, Graph, Matmul, NodeId, Op, Part, ProgramKind, Role, Unary};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Candidate> {
    let mut readers: BTreeMap<Key, Vec<NodeId>> = BTreeMap::new();
    for id in graph.order() {
        if matmul_of(graph, id).is_some_and(Matmul::is_plain) {
            let key = (graph.input(id), step(graph, id), goal(graph, id));
            readers.entry(key).or_default().push(id);
        }
    }
    let mut sites = vec![];
    for ((x, _, _), group) in &readers {
        let names: Vec<_> = group
            .iter()
            .map(|id| place(graph, *id).to_string())
            .collect();
        let Some((name, others @ [_, ..])) = names.split_first() else {
            let why = match readers.keys().filter(|key| key.0 == *x).count() {
                1 => "no other matmul reads its input",
                _ => "the other matmuls that read its input belong to other steps or outputs",
            };
            sites.push(Candidate::kept(&names[0], why));
            continue;
        };
        let into = format!("one matmul with {}", others.join(", "));
        sites.push(Candidate::fused(name, into));
        merge(graph, group);
    }
    sites
}

/// What matmuls have in common that become one: input, step, and where the product goes.
type Key = (NodeId, String, Option<NodeId>);

/// `attention.q` → `attention`.
fn step(graph: &Graph, id: NodeId) -> String {
    let name = &graph.node(id).name;
    name.rsplit_once('.').map_or("", |(s, _)| s).to_string()
}

/// What keeps a product apart from others of the same input: the product that it is a factor of, the activation that it
/// alone goes into, or itself where it scores experts or scales rows.
fn goal(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let mut at = id;
    let mut activation = None;
    while let Some(user) = graph.only_user(at) {
        match graph.op(user) {
            Op::Unary(Unary::Act(_)) => activation = Some(user),
            Op::Binary(Binary::Add) if is_broadcast(graph, user) => {}
            Op::Binary(Binary::Mul) => return Some(user),
            Op::Route(_) | Op::ScaleRows => return Some(id),
            _ => return activation,
        }
        at = user;
    }
    activation
}

fn merge(graph: &mut Graph, group: &[NodeId]) {
    let mut op = Matmul::plain(0);
    op.parts.clear();
    let mut operands = Operands::default();
    operands.set(Role::X, graph.input(group[0]));
    for (part, id) in group.iter().enumerate() {
        let plain = Matmul::plain(graph.width(*id));
        let own = graph.read(*id, |take| plain.operands(take));
        operands.set(Role::PartWeight(part), own.parts[0].weight);
        op.parts.push(Part::plain(graph.width(*id)));
    }
    let merged = Op::Matmul(op.clone());
    let operands = operands.arranged(&merged);
    let merged = graph.add(merged, &operands, &joined_name(graph, group));
    for (i, id) in group.iter().enumerate() {
        let (start, len, name) = (op.column(i), op.parts[i].rows, graph.node(*id).name.clone());
        let slice = graph.add(Op::Slice { start, len }, &[merged], &name);
        graph.replace(*id, slice);
    }
}
