//! A program as a Graphviz drawing: one cluster for each block.

use std::fmt::Write;

use super::dim::shape_text;
use super::ops::Op;
use super::program::Program;

/// The drawing's source.
pub fn dot(program: &Program) -> String {
    let mut s = String::from(
        "digraph program {\n  rankdir=TB;\n  node [shape=box, fontname=monospace, fontsize=10];\n",
    );
    for (b, block) in program.blocks.iter().enumerate() {
        let names = block.graph.names();
        let index: std::collections::BTreeMap<_, _> =
            names.keys().enumerate().map(|(i, id)| (*id, i)).collect();
        let _ = writeln!(
            s,
            "  subgraph cluster_{b} {{\n    label=\"{}\";",
            block.name.replace('\\', "\\\\").replace('"', "\\\"")
        );
        for (id, name) in &names {
            let node = block.graph.node(*id);
            let shape = shape_text(&node.shape);
            let style = if matches!(node.op, Op::Weight(_)) {
                ", style=rounded, color=gray"
            } else {
                ""
            };
            let title = if matches!(node.op, Op::Weight(_)) {
                name.clone()
            } else {
                format!("{name} {}", node.op.name())
            };
            let _ = writeln!(
                s,
                "    n{b}_{} [label=\"{title}\\n{shape}\"{style}];",
                index[id]
            );
        }
        for id in names.keys() {
            for (slot, o) in block.graph.operands(*id).iter().enumerate() {
                let _ = writeln!(
                    s,
                    "    n{b}_{} -> n{b}_{} [taillabel=\"{slot}\", fontsize=8];",
                    index[o], index[id]
                );
            }
        }
        s.push_str("  }\n");
    }
    s.push_str("}\n");
    s
}
