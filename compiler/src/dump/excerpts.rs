//! The parts of a stage that some kernels have.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::graph::{self, Excerpt, Graph, NodeId, Program};
use crate::history::History;
use crate::passes::PASSES;
use crate::schedule::{Kernel, root};
use crate::select::Chosen;

fn kernel<'a>(history: &'a History, c: &Chosen) -> &'a Kernel {
    &history.planned.schedule.blocks[c.block].kernels[c.kernel]
}

/// `# decode.layers.dense.attention.o`.
fn heading(out: &mut String, history: &History, c: &Chosen) {
    let program = &history.planned.program;
    let gap = if out.is_empty() { "" } else { "\n" };
    let (kind, place, name) = (
        program.kind,
        program.place(c.block),
        &kernel(history, c).name,
    );
    let _ = writeln!(out, "{gap}# {kind}.{place}.{name}");
}

/// Nodes of `program`, which is the graph after some or all of the passes: the kernels, or what they are made from.
pub(super) fn graph(program: &Program, history: &History, chosen: &[Chosen]) -> String {
    let mut out = String::new();
    for c in chosen {
        let graph = &program.blocks[c.block].graph;
        let all = history.ancestry(c.block, kernel(history, c).node);
        let nodes: BTreeSet<NodeId> = all.into_iter().filter(|id| graph.contains(*id)).collect();
        heading(&mut out, history, c);
        let nodes = &nodes;
        let _ = write!(out, "{}", Excerpt { graph, nodes });
    }
    out
}

pub(super) fn schedule(history: &History, chosen: &[Chosen]) -> String {
    let mut out = String::new();
    for c in chosen {
        heading(&mut out, history, c);
        let _ = writeln!(out, "  {}", kernel(history, c));
    }
    out
}

/// The buffers that the kernels read and write.
pub(super) fn memory(history: &History, chosen: &[Chosen]) -> String {
    let mut out = String::new();
    for c in chosen {
        heading(&mut out, history, c);
        let (graph, plan) = (history.after(c.block), &history.planned.memory);
        let k = kernel(history, c);
        let names = graph.names();
        for id in touched(graph, k.node) {
            if let Some(buffer) = plan.blocks[c.block].get(&id) {
                let what = if id == k.node { "written" } else { "read" };
                let _ = writeln!(
                    out,
                    "  {buffer}  {} {} {what}",
                    names[&id],
                    graph.node(id).name
                );
            }
        }
        if let Some(buffer) = plan.workspaces[c.block].get(&k.node) {
            let _ = writeln!(out, "  {buffer}  workspace");
        }
        for area in &k.scratch.areas {
            let _ = writeln!(
                out,
                "  scratch {:>8} size {:>9}  {}",
                area.offset, area.bytes, area.name
            );
        }
    }
    out
}

/// Operands, what they are views of, and the result.
fn touched(graph: &Graph, node: NodeId) -> Vec<NodeId> {
    let operands = graph.operands(node).into_iter().map(|o| root(graph, o));
    let mut all: Vec<NodeId> = operands.chain([node]).collect();
    all.dedup();
    all
}

/// The whole graph, or the kernels with their operands.
pub(super) fn dot(history: &History, chosen: Option<&[Chosen]>) -> String {
    let wanted: Option<BTreeSet<(usize, NodeId)>> = chosen.map(|chosen| {
        let with_operands = chosen.iter().flat_map(|c| {
            let node = kernel(history, c).node;
            let operands = history.after(c.block).operands(node).into_iter();
            operands.chain([node]).map(|id| (c.block, id))
        });
        with_operands.collect()
    });
    graph::dot(&history.planned.program, &|block, id| {
        let is_wanted = wanted.as_ref().is_none_or(|w| w.contains(&(block, id)));
        let passes = || {
            history
                .passes_of(block, id)
                .into_iter()
                .map(|p| PASSES[p].name)
        };
        is_wanted.then(|| passes().collect())
    })
}
