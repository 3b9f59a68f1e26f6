//! The plain interpreter: evaluates any program in float32, written for clarity, never for speed.
//!
//! It is the oracle for every pass and for the compiled code: whatever the graph has been rewritten to, its value is
//! defined here, operation by operation, over whole rows of `Vec<f32>`. One sequence, all of a step's logits.

mod attend;
mod evaluate;
mod experts;
mod heads;
mod recurrent;
mod rows;
mod stored;
mod streams;
mod values;

use std::collections::BTreeMap;

use self::evaluate::evaluate;
use self::stored::family;
pub use self::values::WeightBytes;
use self::values::{Cache, Rows, Scene};
use crate::graph::{NodeId, Op, Program};

/// A program with its weights and the state of one sequence.
pub struct Interpreter<'a> {
    program: &'a Program,
    weights: &'a dyn WeightBytes,
    caches: Vec<Cache>,
    memories: Vec<Vec<f32>>,
    position: usize,
}

impl<'a> Interpreter<'a> {
    /// An empty sequence.
    pub fn new(program: &'a Program, weights: &'a dyn WeightBytes) -> Self {
        let caches = program
            .run_order()
            .flat_map(|b| &program.blocks[b].graph.states)
            .map(|_| Cache::default())
            .collect();
        let memories = program
            .run_order()
            .flat_map(|b| &program.blocks[b].graph.recurrent)
            .map(|r| vec![0.0; r.bytes() / 4])
            .collect();
        Interpreter {
            program,
            weights,
            caches,
            memories,
            position: 0,
        }
    }

    /// Appends tokens; returns the logits of each, `[tokens, vocab]`.
    pub fn step(&mut self, tokens: &[u32]) -> Vec<f32> {
        let mut carried: BTreeMap<String, Rows> = BTreeMap::new();
        let bases = self.program.weight_bases();
        let firsts = self.program.bases_of_states(|g| g.states.len());
        let recurrent = self.program.bases_of_states(|g| g.recurrent.len());
        for (i, b) in self.program.run_order().enumerate() {
            let graph = &self.program.blocks[b].graph;
            let caches = &mut self.caches[firsts[i]..firsts[i] + graph.states.len()];
            let memories = &mut self.memories[recurrent[i]..][..graph.recurrent.len()];
            let scene = Scene {
                graph,
                program: self.program,
                tokens,
                start: self.position,
                caches,
                memories,
            };
            let out = block(scene, self.weights, bases[i], &carried);
            carried.extend(out);
        }
        self.position += tokens.len();
        carried.remove("logits").map(|l| l.data).unwrap_or_default()
    }
}

fn block(
    mut scene: Scene,
    weights: &dyn WeightBytes,
    weight_base: usize,
    carried: &BTreeMap<String, Rows>,
) -> Vec<(String, Rows)> {
    let graph = scene.graph;
    let mut values: BTreeMap<NodeId, Rows> = BTreeMap::new();
    for id in graph.order() {
        let value = match graph.op(id) {
            Op::Input(name) => carried.get(name).cloned().unwrap_or_default(),
            Op::Weight(w) => {
                let decl = &graph.weights[w.0 as usize];
                let first = weight_base + graph.pointer(*w);
                family(decl, |e| weights.bytes(first + e))
            }
            op => {
                let operands: Vec<&Rows> = graph.operands(id).iter().map(|o| &values[o]).collect();
                evaluate(&mut scene, op, &operands)
            }
        };
        values.insert(id, value);
    }
    graph
        .outputs
        .iter()
        .map(|(name, id)| (name.clone(), values[id].clone()))
        .collect()
}
