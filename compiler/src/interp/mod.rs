//! The plain interpreter: evaluates any program in float32, written for clarity, never for speed.
//!
//! It is the oracle for every pass and for the compiled code: whatever the graph has been rewritten to, its value is
//! defined here, operation by operation, over whole rows of `Vec<f32>`. One sequence, all of a step's logits.
//!
//! Ranks that share a model are evaluated in lockstep: all of them come to one operation before any goes on to the next, so that
//! what a collective gives them is at hand.

mod attend;
mod collective;
mod evaluate;
mod experts;
mod heads;
mod index;
mod recurrent;
mod rows;
mod stored;
mod streams;
mod values;

use std::collections::BTreeMap;

use self::collective::meet;
use self::evaluate::evaluate;
use self::stored::family;
pub use self::values::WeightBytes;
use self::values::{Cache, Rows, Scene};
use crate::graph::{Graph, NodeId, Op, Program};

/// A program with its weights and the state of one sequence; or one of each rank.
pub struct Interpreter<'a> {
    ranks: Vec<Rank<'a>>,
    position: usize,
}

/// What a rank has of its own.
struct Rank<'a> {
    program: &'a Program,
    weights: &'a dyn WeightBytes,
    caches: Vec<Cache>,
    memories: Vec<Vec<f32>>,
}

/// Values handed from block to block.
type Carried = BTreeMap<String, Rows>;

impl<'a> Interpreter<'a> {
    /// An empty sequence.
    pub fn new(program: &'a Program, weights: &'a dyn WeightBytes) -> Self {
        Interpreter::of_ranks([(program, weights)])
    }

    /// An empty sequence of ranks that share a model: programs of the same operations in the same order, on shapes of their own.
    pub fn of_ranks(ranks: impl IntoIterator<Item = (&'a Program, &'a dyn WeightBytes)>) -> Self {
        let ranks = ranks.into_iter();
        Interpreter {
            ranks: ranks.map(|(p, weights)| Rank::new(p, weights)).collect(),
            position: 0,
        }
    }

    /// Appends tokens; returns the logits of each, `[tokens, vocab]`, as the first rank has them.
    pub fn step(&mut self, tokens: &[u32]) -> Vec<f32> {
        self.step_of_ranks(tokens).swap_remove(0)
    }

    /// Appends tokens; returns the logits of each, `[tokens, vocab]`, as every rank has them.
    pub fn step_of_ranks(&mut self, tokens: &[u32]) -> Vec<Vec<f32>> {
        let mut carried = vec![Carried::new(); self.ranks.len()];
        let blocks = self.ranks[0].program.run_order().count();
        for place in 0..blocks {
            let ranks = self.ranks.iter_mut().zip(&carried);
            let at = ranks.map(|(r, carried)| r.at(place, tokens, self.position, carried));
            let out = evaluate_block(&mut at.collect::<Vec<_>>());
            for (carried, out) in carried.iter_mut().zip(out) {
                carried.extend(out);
            }
        }
        self.position += tokens.len();
        let logits = |c: &mut Carried| c.remove("logits").map(|l| l.data);
        let all = carried.iter_mut().map(logits);
        all.map(Option::unwrap_or_default).collect()
    }
}

impl<'a> Rank<'a> {
    fn new(program: &'a Program, weights: &'a dyn WeightBytes) -> Self {
        let graphs = || program.run_order().map(|b| &program.blocks[b].graph);
        let memory = |r: &crate::graph::RecurrentDecl| vec![0.0; r.bytes() / 4];
        Rank {
            program,
            weights,
            caches: graphs()
                .flat_map(|g| &g.states)
                .map(|_| Cache::default())
                .collect(),
            memories: graphs().flat_map(|g| &g.recurrent).map(memory).collect(),
        }
    }

    /// What the rank has in the block that is `place` in run order, before anything of it is computed.
    fn at<'b>(
        &'b mut self,
        place: usize,
        tokens: &'b [u32],
        start: usize,
        carried: &'b Carried,
    ) -> BlockOfRank<'b> {
        let program = self.program;
        let block = program
            .run_order()
            .nth(place)
            .expect("a block of the program");
        let graph = &program.blocks[block].graph;
        let first = program.bases_of_states(|g| g.states.len())[place];
        let recurrent = program.bases_of_states(|g| g.recurrent.len())[place];
        BlockOfRank {
            scene: Scene {
                graph,
                program,
                tokens,
                start,
                caches: &mut self.caches[first..][..graph.states.len()],
                memories: &mut self.memories[recurrent..][..graph.recurrent.len()],
            },
            weights: self.weights,
            weight_base: program.weight_bases()[place],
            carried,
            values: BTreeMap::new(),
        }
    }
}

/// A block of one rank while it is evaluated.
struct BlockOfRank<'a> {
    scene: Scene<'a>,
    weights: &'a dyn WeightBytes,
    weight_base: usize,
    carried: &'a Carried,
    values: BTreeMap<NodeId, Rows>,
}

/// What a block of each rank hands on.
fn evaluate_block(ranks: &mut [BlockOfRank]) -> Vec<Vec<(String, Rows)>> {
    let orders: Vec<Vec<NodeId>> = ranks.iter().map(|r| r.scene.graph.order()).collect();
    for i in 0..orders[0].len() {
        let here = || ranks.iter().zip(&orders).map(|(r, order)| (r, order[i]));
        let values = match ranks[0].scene.graph.op(orders[0][i]) {
            Op::Collective(_) => meet(here().map(|(r, id)| (r.scene.graph, id, &r.values))),
            _ => {
                let ranks = ranks.iter_mut().zip(&orders);
                ranks.map(|(r, order)| r.value(order[i])).collect()
            }
        };
        for ((rank, order), value) in ranks.iter_mut().zip(&orders).zip(values) {
            rank.values.insert(order[i], value);
        }
    }
    ranks.iter().map(BlockOfRank::outputs).collect()
}

impl BlockOfRank<'_> {
    /// The value of a node that is no collective.
    fn value(&mut self, id: NodeId) -> Rows {
        let graph: &Graph = self.scene.graph;
        match graph.op(id) {
            Op::Input(name) => self.carried.get(name).cloned().unwrap_or_default(),
            Op::Weight(w) => {
                let decl = &graph.weights[w.0 as usize];
                let first = self.weight_base + graph.pointer(*w);
                family(decl, |e| self.weights.bytes(first + e))
            }
            op => {
                let operands = graph.operands(id);
                let operands: Vec<&Rows> = operands.iter().map(|o| &self.values[o]).collect();
                evaluate(&mut self.scene, op, &operands)
            }
        }
    }

    fn outputs(&self) -> Vec<(String, Rows)> {
        let outputs = self.scene.graph.outputs.iter();
        let value = |(name, id): &(String, NodeId)| (name.clone(), self.values[id].clone());
        outputs.map(value).collect()
    }
}
