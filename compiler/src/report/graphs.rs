//! The graphs of a program before and after the passes, each node with the passes that made it what it is.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cost::{self, Cost, Step};
use crate::graph::{Graph, NodeId, Op, Program, op_text, shape_text};
use crate::passes::{self, PASSES, PassOptions};

/// One block, before and after.
#[derive(Serialize)]
pub(super) struct BlockGraphs {
    /// `layers.dense`.
    place: String,
    /// How many layers are of this kind; 1 for embedding and head.
    layers: usize,
    before: Drawn,
    after: Drawn,
}

#[derive(Serialize)]
struct Drawn {
    nodes: Vec<DrawnNode>,
    /// From, to, and what it is there.
    edges: Vec<(usize, usize, String)>,
}

#[derive(Serialize)]
struct DrawnNode {
    /// The operation's name.
    op: &'static str,
    /// Place in the spec.
    name: String,
    /// All of the operation.
    text: String,
    shape: String,
    /// Only shows memory.
    is_view: bool,
    /// Indices of the passes that made it, or, before, of the one that took it away.
    passes: Vec<usize>,
    /// Slots, types and shapes.
    weights: Vec<String>,
    cost: Cost,
}

/// A node as passes leave it or change it.
type Key = (String, String);

/// A program with the history of its nodes.
pub(super) struct Traced {
    before: Program,
    after: Program,
    /// For each block, which passes made a node.
    made: Vec<BTreeMap<Key, Vec<usize>>>,
    /// For each block, which pass took a node away.
    gone: Vec<BTreeMap<Key, usize>>,
}

impl Traced {
    /// Runs the passes one by one and watches what becomes of every node.
    pub(super) fn run(before: Program, options: &PassOptions) -> Traced {
        let mut after = before.clone();
        let n = before.blocks.len();
        let (mut made, mut gone) = (vec![BTreeMap::new(); n], vec![BTreeMap::new(); n]);
        for pass in options.enabled() {
            let index = PASSES.iter().position(|p| p.name == pass.name);
            let index = index.expect("an enabled pass is in the list");
            let was: Vec<_> = after.blocks.iter().map(|b| keys(&b.graph)).collect();
            passes::run_pass(pass, &mut after);
            for (b, was) in was.iter().enumerate() {
                let is = keys(&after.blocks[b].graph);
                trace(was, &is, index, &mut made[b], &mut gone[b]);
            }
        }
        Traced {
            before,
            after,
            made,
            gone,
        }
    }

    pub(super) fn blocks(&self, step: Step) -> Vec<BlockGraphs> {
        let block = |i: usize| BlockGraphs {
            place: self.before.place(i),
            layers: self.before.run_order().filter(|b| *b == i).count(),
            before: draw(&self.before.blocks[i].graph, step, &|k| {
                self.gone[i].get(k).copied().into_iter().collect()
            }),
            after: draw(&self.after.blocks[i].graph, step, &|k| {
                self.made[i].get(k).cloned().unwrap_or_default()
            }),
        };
        (0..self.before.blocks.len()).map(block).collect()
    }
}

fn trace(
    was: &[Key],
    is: &[Key],
    pass: usize,
    made: &mut BTreeMap<Key, Vec<usize>>,
    gone: &mut BTreeMap<Key, usize>,
) {
    for key in was.iter().filter(|k| !is.contains(k)) {
        gone.entry(key.clone()).or_insert(pass);
    }
    for key in is.iter().filter(|k| !was.contains(k)) {
        // A node that is gone lives on in the new node at the same place.
        let old = was.iter().find(|k| k.0 == key.0 && !is.contains(k));
        let mut history = old.and_then(|k| made.get(k)).cloned().unwrap_or_default();
        history.push(pass);
        made.insert(key.clone(), history);
    }
}

/// Place and operation of every node.
fn keys(graph: &Graph) -> Vec<Key> {
    let nodes = graph.order().into_iter();
    nodes.map(|id| key(graph, id)).collect()
}

fn key(graph: &Graph, id: NodeId) -> Key {
    let node = graph.node(id);
    (node.name.clone(), op_text(&node.op))
}

fn draw(graph: &Graph, step: Step, passes: &dyn Fn(&Key) -> Vec<usize>) -> Drawn {
    let is_weight = |id: &NodeId| matches!(graph.op(*id), Op::Weight(_));
    let shown: Vec<_> = graph
        .order()
        .into_iter()
        .filter(|id| !is_weight(id))
        .collect();
    let index = |id: NodeId| shown.iter().position(|s| *s == id);
    let mut edges = vec![];
    for (to, id) in shown.iter().enumerate() {
        for ((role, _), from) in graph.op(*id).roles().into_iter().zip(graph.operands(*id)) {
            edges.extend(index(from).map(|from| (from, to, role.to_string())));
        }
    }
    Drawn {
        nodes: shown
            .iter()
            .map(|id| draw_node(graph, *id, step, passes))
            .collect(),
        edges,
    }
}

fn draw_node(
    graph: &Graph,
    id: NodeId,
    step: Step,
    passes: &dyn Fn(&Key) -> Vec<usize>,
) -> DrawnNode {
    let node = graph.node(id);
    let weights = graph
        .operands(id)
        .into_iter()
        .filter_map(|o| graph.weight(o));
    DrawnNode {
        op: node.op.name(),
        name: node.name.clone(),
        text: op_text(&node.op),
        shape: shape_text(&node.shape),
        is_view: node.op.is_view(),
        passes: passes(&key(graph, id)),
        weights: weights
            .map(|w| match w.count {
                1 => w.to_string(),
                n => format!("{w} × {n}"),
            })
            .collect(),
        cost: match node.op.is_view() {
            true => Cost::default(),
            false => cost::kernel(graph, id, step),
        },
    }
}
