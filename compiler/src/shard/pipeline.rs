//! Layers that are dealt out in runs: each rank has one, and hands on to the next what layers hand on to each other.
//!
//! ```text
//! embed; layers 0 to 3; head
//!   =>  rank 0: embed; layers 0 and 1; hand over to rank 1; head
//!       rank 1: embed; get from rank 0; layers 2 and 3; head
//! ```
//!
//! The embedding is whole on all ranks, and the head is shared as ever: its rows come from the last rank, to all. So a rank that no logits
//! are wanted of goes on with the next step while others are at this one. Runs are as even as layers allow, by bytes of weights; a layer
//! that reads another one's state, or values that another one has made, is where that one is.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::graph::{Block, Collective, Dim, Graph, Op, Program};

/// Runs of layers, one for each rank, of which the largest is as small as can be; nothing where there are fewer than ranks.
pub(super) fn runs(program: &Program, ranks: usize) -> Option<Vec<Range<usize>>> {
    let bytes = |block: &usize| -> usize {
        let weights = &program.blocks[*block].graph.weights;
        1 + weights.iter().map(|w| w.bytes() * w.count).sum::<usize>()
    };
    let mut before = vec![0];
    for block in &program.layers {
        before.push(before[before.len() - 1] + bytes(block));
    }
    let cuts = cuts(program);
    // The largest run of the best way to make so many runs up to each cut, and where the last of them begins.
    let mut best: Vec<Option<(usize, usize)>> = vec![None; cuts.len()];
    best[0] = Some((0, 0));
    let mut steps = vec![];
    for _ in 0..ranks {
        let to = |end: usize| {
            let from = (0..end).filter_map(|start| {
                let (largest, _) = best[start]?;
                let run = before[cuts[end]] - before[cuts[start]];
                Some((largest.max(run), start))
            });
            from.min()
        };
        best = (0..cuts.len()).map(to).collect();
        steps.push(best.clone());
    }
    let mut end = cuts.len() - 1;
    let mut runs = vec![];
    for step in steps.iter().rev() {
        let (_, start) = step[end]?;
        runs.push(cuts[start]..cuts[end]);
        end = start;
    }
    runs.reverse();
    Some(runs)
}

/// Where runs may begin or end: no layer behind reads the state of one before, nor values that layers before have made.
fn cuts(program: &Program) -> Vec<usize> {
    let layers = program.layers.len();
    let sources = || program.sources.iter().enumerate();
    let is_cut = |at: &usize| {
        let mut readers = sources().filter_map(|(layer, source)| Some((layer, (*source)?)));
        !readers.any(|(layer, source)| source < *at && *at <= layer)
    };
    let cuts = (0..=layers).filter(is_cut);
    cuts.filter(|at| begins_with_embedding(program, *at))
        .collect()
}

/// Whether layers from `at` on read nothing but what the embedding and layers among them give.
fn begins_with_embedding(program: &Program, at: usize) -> bool {
    let mut there = embedded(program);
    program.layers[at..].iter().all(|block| {
        let block = &program.blocks[*block];
        let are_there = block.inputs().all(|(name, _)| there.contains(name));
        there.extend(block.graph.outputs.iter().map(|(name, _)| name.as_str()));
        are_there
    })
}

/// Names of what the embedding gives to layers.
fn embedded(program: &Program) -> BTreeSet<&str> {
    let outputs = program.blocks[0].graph.outputs.iter();
    outputs.map(|(name, _)| name.as_str()).collect()
}

/// The head, whose rows come from rank `last`.
pub(super) fn head(graph: &Graph, last: usize) -> Graph {
    let mut graph = graph.clone();
    for rows in graph.all(|op| matches!(op, Op::GatherRows)) {
        let name = format!("{}.hand", graph.node(rows).name);
        let hand = Op::Collective(Collective::HandOver {
            from: last,
            to: None,
        });
        let all = graph.add(hand, &[rows], &name);
        graph.replace_uses(rows, all);
    }
    graph
}

/// The program of a rank that has the layers of `run`, but for the head, with the layers that these were.
pub(super) fn program_of(
    program: &Program,
    runs: &[Range<usize>],
    rank: usize,
) -> (Program, Vec<Option<usize>>) {
    let run = runs[rank].clone();
    let mut out = program.clone();
    let mut layers: Vec<Option<usize>> = run.clone().map(Some).collect();
    out.layers = program.layers[run.clone()].to_vec();
    let mut hand_over = |at: usize, from: usize| {
        let block = out.blocks.len() - 1;
        out.blocks.insert(block, handing_over(program, from));
        out.layers.insert(at, block);
        layers.insert(at, None);
    };
    if rank + 1 < runs.len() {
        hand_over(run.len(), rank);
    }
    if rank > 0 {
        hand_over(0, rank - 1);
    }
    let place = |layer: usize| layers.iter().position(|l| *l == Some(layer));
    let source = |layer: &Option<usize>| program.sources[(*layer)?].and_then(place);
    out.sources = layers.iter().map(source).collect();
    (out, layers)
}

/// What layers hand on to each other, from one rank to the next.
fn handing_over(program: &Program, from: usize) -> Block {
    let mut graph = Graph::default();
    let hand = Op::Collective(Collective::HandOver {
        from,
        to: Some(from + 1),
    });
    for (name, shape) in carried(program) {
        let here = graph.add_input(name, shape);
        let there = graph.add(hand.clone(), &[here], &format!("{name}.hand"));
        graph.outputs.push((name.to_string(), there));
    }
    let name = format!("hand.{from}");
    Block { name, graph }
}

/// What layers change of what the embedding gives, with its shape. Values that begin in layers are read in the same run.
fn carried(program: &Program) -> Vec<(&str, Vec<Dim>)> {
    let embedded = embedded(program);
    let mut out: Vec<(&str, Vec<Dim>)> = vec![];
    for block in &program.layers {
        let graph = &program.blocks[*block].graph;
        for (name, id) in &graph.outputs {
            let is_new = out.iter().all(|(there, _)| there != name);
            if is_new && embedded.contains(name.as_str()) {
                out.push((name, graph.shape(*id).clone()));
            }
        }
    }
    out
}
