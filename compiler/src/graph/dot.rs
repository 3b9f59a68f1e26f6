//! A program as a Graphviz drawing: one cluster for each block.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::dim::shape_text;
use super::nodes::{Graph, NodeId};
use super::ops::Op;
use super::program::Program;

/// The drawing's source. `shown` gives, for a node of a block, the names of the passes that made it, or nothing for a node that is
/// left out.
pub fn dot(
    program: &Program,
    shown: &dyn Fn(usize, NodeId) -> Option<Vec<&'static str>>,
) -> String {
    let mut s = String::from(
        "digraph program {\n  rankdir=TB;\n  node [shape=box, fontname=monospace, fontsize=10];\n",
    );
    for (b, block) in program.blocks.iter().enumerate() {
        let drawn: Vec<_> = block
            .graph
            .order()
            .into_iter()
            .filter_map(|id| Some((id, shown(b, id)?)))
            .collect();
        if !drawn.is_empty() {
            let _ = writeln!(
                s,
                "  subgraph cluster_{b} {{\n    label=\"{}\";",
                quoted(&block.name)
            );
            cluster(&mut s, b, &block.graph, &drawn);
            s.push_str("  }\n");
        }
    }
    s.push_str("}\n");
    s
}

fn cluster(s: &mut String, b: usize, graph: &Graph, drawn: &[(NodeId, Vec<&'static str>)]) {
    let names = graph.names();
    let index: BTreeMap<_, _> = names.keys().enumerate().map(|(i, id)| (*id, i)).collect();
    for (id, passes) in drawn {
        let (name, node) = (&names[id], graph.node(*id));
        let (title, style) = match &node.op {
            Op::Weight(_) => (name.clone(), ", style=rounded, color=gray"),
            op => (format!("{name} {}", op.name()), ""),
        };
        let place = match &node.op {
            Op::Weight(_) | Op::Input(_) => "",
            _ => node.name.as_str(),
        };
        let lines = [
            title,
            place.into(),
            shape_text(&node.shape),
            passes.join(", "),
        ];
        let lines = lines.iter().filter(|l| !l.is_empty()).map(|l| quoted(l));
        let label = lines.collect::<Vec<_>>().join("\\n");
        let _ = writeln!(s, "    n{b}_{} [label=\"{label}\"{style}];", index[id]);
    }
    for (id, _) in drawn {
        for (slot, o) in graph.operands(*id).iter().enumerate() {
            if drawn.iter().any(|(d, _)| d == o) {
                let (from, to) = (index[o], index[id]);
                let _ = writeln!(
                    s,
                    "    n{b}_{from} -> n{b}_{to} [taillabel=\"{slot}\", fontsize=8];"
                );
            }
        }
    }
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
