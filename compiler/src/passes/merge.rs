//! Merges projections that read the same input.
//!
//! ```text
//! q = matmul(x, wq); k = matmul(x, wk)  =>  qk = matmul(x, wq, wk); q = slice(qk); k = slice(qk)
//! ```
//!
//! Requires plain matmuls of one step of the spec: attention and MLP side by side each keep theirs, because what follows them
//! differs. The weights stay where they are: the merged matmul reaches each through its own pointer. What
//! it saves is barriers, and chunks too small to share out.

use std::collections::BTreeMap;

use super::Site;
use super::sources::{matmul_of, place};
use crate::graph::{Graph, Matmul, NodeId, Op, Part, ProgramKind};

pub(super) fn run(graph: &mut Graph, _: ProgramKind) -> Vec<Site> {
    let mut readers: BTreeMap<(NodeId, String), Vec<NodeId>> = BTreeMap::new();
    for id in graph.order() {
        if matmul_of(graph, id).is_some_and(Matmul::is_plain) {
            let of = (graph.operands(id)[0], step(graph, id));
            readers.entry(of).or_default().push(id);
        }
    }
    let mut sites = vec![];
    for group in readers.values() {
        let names: Vec<_> = group
            .iter()
            .map(|id| place(graph, *id).to_string())
            .collect();
        let Some((name, others @ [_, ..])) = names.split_first() else {
            sites.push(Site::kept(
                &names[0],
                "no other matmul of its step reads its input",
            ));
            continue;
        };
        let into = format!("one matmul with {}", others.join(", "));
        sites.push(Site::fused(name, into));
        merge(graph, group);
    }
    sites
}

/// `attention.q` → `attention`.
fn step(graph: &Graph, id: NodeId) -> String {
    let name = &graph.node(id).name;
    name.rsplit_once('.').map_or("", |(s, _)| s).to_string()
}

fn merge(graph: &mut Graph, group: &[NodeId]) {
    let mut op = Matmul::plain(0);
    op.parts.clear();
    let mut operands = vec![graph.operands(group[0])[0]];
    for id in group {
        operands.push(graph.operands(*id)[1]);
        op.parts.push(Part::plain(graph.width(*id)));
    }
    let merged = graph.add(
        Op::Matmul(op.clone()),
        &operands,
        &joined_name(graph, group),
    );
    for (i, id) in group.iter().enumerate() {
        let (start, len, name) = (op.column(i), op.parts[i].rows, graph.node(*id).name.clone());
        let slice = graph.add(Op::Slice { start, len }, &[merged], &name);
        graph.replace_uses(*id, slice);
        graph.remove(*id);
    }
}

/// `attention.q`, `attention.k` → `attention.q+k`.
fn joined_name(graph: &Graph, group: &[NodeId]) -> String {
    let names: Vec<&str> = group
        .iter()
        .map(|id| graph.node(*id).name.as_str())
        .collect();
    let short = |n: &str| n.rsplit('.').next().unwrap_or(n).to_string();
    let rest: Vec<_> = names[1..].iter().map(|n| short(n)).collect();
    format!("{}+{}", names[0], rest.join("+"))
}
