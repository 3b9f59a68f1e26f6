//! Whole programs around a graph under test.

use graver::graph::{Block, Dim, Graph, NodeId, Op, Program, ProgramKind, WeightDecl};
use graver::spec::model::Rope;
use graver_runtime::abi::{Dtype, Encoding};

/// A program whose only layer, block 1, is `graph`: the embedding hands on what it takes, and the head gives a value of the
/// embedding's as logits.
///
/// # Panics
/// Where the graph takes anything but rows of tokens.
pub fn around(graph: Graph, kind: ProgramKind) -> Program {
    let mut ropes = vec![];
    let mut before = Graph::default();
    let inputs = graph
        .order()
        .into_iter()
        .filter_map(|id| match graph.op(id) {
            Op::Input(name) => Some((name.clone(), graph.width(id))),
            _ => None,
        });
    let outputs = graph.outputs.iter();
    let outputs = outputs.map(|(name, id)| (name.clone(), graph.width(*id)));
    for (name, width) in inputs.chain(outputs) {
        if before.outputs.iter().all(|(n, _)| *n != name) {
            let made = match name == format!("rope{}", ropes.len()) {
                true => angles(&mut before, &mut ropes, width),
                false => looked_up(&mut before, &name, width),
            };
            before.outputs.push((name, made));
        }
    }
    let head = head(&before);
    let block = |name: &str, graph| Block {
        name: name.into(),
        graph,
    };
    Program {
        kind,
        blocks: vec![
            block("before", before),
            block("layer", graph),
            block("after", head),
        ],
        sources: vec![None],
        layers: vec![1],
        ropes,
    }
}

fn looked_up(graph: &mut Graph, name: &str, width: usize) -> NodeId {
    let mut table = WeightDecl {
        slot: format!("{name}.table"),
        shape: vec![8, width],
        encoding: Encoding::Float(Dtype::F32),
        row_stride: 0,
        transposed: false,
        rounded: false,
        blocks: None,
        count: 1,
    };
    table.row_stride = table.dense_stride();
    let table = graph.add_weight(table);
    let op = Op::Embed {
        scale: 1.0,
        limit: Some(8),
    };
    graph.add(op, &[table], name)
}

fn angles(graph: &mut Graph, ropes: &mut Vec<Rope>, width: usize) -> NodeId {
    let op = Op::RopeAngles {
        rope: ropes.len(),
        rotary_dim: width,
    };
    ropes.push(Rope {
        name: "rope".into(),
        theta: 10_000.0,
        scaling: None,
        freqs: vec![1.0; width / 2],
        scale: 1.0,
        interleaved: false,
        long: None,
    });
    graph.add(op, &[], "rope")
}

/// Gives the first of the values that the embedding hands on.
fn head(before: &Graph) -> Graph {
    let (name, first) = before.outputs.first().expect("a graph with an input");
    let mut head = Graph::default();
    let row = vec![Dim::Tokens, Dim::Const(before.width(*first))];
    let stream = head.add_input(name, row);
    let logits = head.add(Op::GatherRows, &[stream], "rows");
    head.outputs.push(("logits".into(), logits));
    head
}
