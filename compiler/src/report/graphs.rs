//! The graphs of a program before and after the passes: which operations each kernel does, and which passes made it so.

use serde::Serialize;

use crate::cost::{self, Cost, Step};
use crate::graph::{Graph, NodeId, Op, op_text, shape_text};
use crate::history::History;
use crate::schedule::root;

/// One block, before and after.
#[derive(Serialize)]
pub(super) struct BlockGraphs {
    /// `layers.dense`.
    place: String,
    /// How many layers are of this kind; 1 for embedding and head.
    layers: usize,
    /// Operations as the spec has them.
    before: Drawn,
    /// Kernels.
    after: Drawn,
}

#[derive(Serialize)]
struct Drawn {
    nodes: Vec<DrawnNode>,
    /// From, to.
    edges: Vec<(usize, usize)>,
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
    /// Indices of the passes that made it, or, before, of the one that took it away.
    passes: Vec<usize>,
    /// Of a kernel, the operations that it does, by index.
    origins: Vec<usize>,
    /// Slots, types and shapes.
    weights: Vec<String>,
    cost: Cost,
}

/// All blocks of a program.
pub(super) fn blocks(history: &History, step: Step) -> Vec<BlockGraphs> {
    let block = |i: usize| {
        let (plain, fused) = (&history.before.blocks[i].graph, history.after(i));
        let operations = plain.all(|op| !matches!(op, Op::Weight(_) | Op::Input(_)));
        let kernels = fused.all(|op| !op.is_view());
        let gone = |id| history.gone_by(i, id).into_iter().collect();
        let origins = |id| {
            let own = history.origins(i, id);
            let places = operations.iter().enumerate();
            places
                .filter(|(_, o)| own.contains(o))
                .map(|(place, _)| place)
                .collect()
        };
        BlockGraphs {
            place: history.before.place(i),
            layers: history.before.run_order().filter(|b| *b == i).count(),
            before: draw(plain, &operations, step, &gone, &|_| vec![]),
            after: draw(
                fused,
                &kernels,
                step,
                &|id| history.passes_of(i, id),
                &origins,
            ),
        }
    };
    (0..history.before.blocks.len()).map(block).collect()
}

type Indices<'a> = &'a dyn Fn(NodeId) -> Vec<usize>;

fn draw(graph: &Graph, shown: &[NodeId], step: Step, passes: Indices, origins: Indices) -> Drawn {
    let place = |id: NodeId| shown.iter().position(|s| *s == id);
    // Where a view is not shown, what it is a view of.
    let source = |o: NodeId| place(o).or_else(|| place(root(graph, o)));
    let reads = |(to, id): (usize, &NodeId)| {
        let from = graph.operands(*id).into_iter().filter_map(source);
        from.map(|from| (from, to)).collect::<Vec<_>>()
    };
    let mut edges: Vec<_> = shown.iter().enumerate().flat_map(reads).collect();
    edges.dedup();
    let node = |id: &NodeId| DrawnNode {
        op: graph.op(*id).name(),
        name: graph.node(*id).name.clone(),
        text: op_text(graph.op(*id)),
        shape: shape_text(graph.shape(*id)),
        passes: passes(*id),
        origins: origins(*id),
        weights: weights(graph, *id),
        cost: match graph.op(*id).is_view() {
            true => Cost::default(),
            false => cost::kernel(graph, *id, step),
        },
    };
    Drawn {
        nodes: shown.iter().map(node).collect(),
        edges,
    }
}

fn weights(graph: &Graph, id: NodeId) -> Vec<String> {
    let read = graph
        .operands(id)
        .into_iter()
        .filter_map(|o| graph.weight(o));
    read.map(|w| match w.count {
        1 => w.to_string(),
        n => format!("{w} × {n}"),
    })
    .collect()
}
