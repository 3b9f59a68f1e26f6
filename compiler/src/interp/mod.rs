//! The plain interpreter: evaluates any program in float32, written for clarity, never for speed.
//!
//! It is the oracle for every pass and for the compiled code: whatever the graph has been rewritten to, its value is
//! defined here, operation by operation, over whole rows of `Vec<f32>`. One sequence, all of a step's logits.

mod attend;
mod experts;
mod heads;
mod recurrent;
mod rows;
mod streams;

use std::collections::BTreeMap;

use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use graver_runtime::abi::{Encoding, Quant};

use crate::graph::{Graph, NodeId, Op, Program, WeightDecl};

/// Bytes of weights, by index in the pointer table of the whole program (blocks in run order).
pub trait WeightBytes {
    /// The bytes of a slot, from its first element.
    fn bytes(&self, index: usize) -> &[u8];
}

impl WeightBytes for Vec<&[u8]> {
    fn bytes(&self, index: usize) -> &[u8] {
        self[index]
    }
}

/// A value: rows of one width, or scores `[heads, queries, keys]` with the keys as the width.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rows {
    pub(crate) data: Vec<f32>,
    pub(crate) width: usize,
}

impl Rows {
    pub(crate) fn new(data: Vec<f32>, width: usize) -> Rows {
        Rows { data, width }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.width.max(1))
    }
}

/// Keys and values of one layer: a row for each position.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    pub(crate) keys: Vec<Vec<f32>>,
    pub(crate) values: Vec<Vec<f32>>,
}

/// A program with its weights and the state of one sequence.
pub struct Interpreter<'a> {
    program: &'a Program,
    weights: &'a dyn WeightBytes,
    caches: Vec<Cache>,
    memories: Vec<Vec<f32>>,
    position: usize,
}

/// What an operation may look at besides its operands.
pub(crate) struct Scene<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) program: &'a Program,
    pub(crate) tokens: &'a [u32],
    pub(crate) start: usize,
    pub(crate) caches: &'a mut [Cache],
    /// Recurrent states.
    pub(crate) memories: &'a mut [Vec<f32>],
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
                rows::evaluate(&mut scene, op, &operands)
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

/// A weight, or those of all experts one below the other.
fn family<'a>(decl: &WeightDecl, bytes: impl Fn(usize) -> &'a [u8]) -> Rows {
    let mut all = weight(decl, bytes(0));
    for e in 1..decl.count {
        all.data.extend(weight(decl, bytes(e)).data);
    }
    all
}

/// A weight as rows `[out, in]` of f32, whatever way it is stored.
fn weight(decl: &WeightDecl, bytes: &[u8]) -> Rows {
    let width = *decl.shape.last().unwrap_or(&1);
    let rows = if decl.shape.len() > 1 {
        decl.shape[0]
    } else {
        1
    };
    let dtype = match decl.encoding {
        Encoding::Float(dtype) => dtype,
        Encoding::Quantized(quant) => return panels(quant, bytes, rows, width),
    };
    let size = dtype.size();
    let at = |r: usize, c: usize| {
        let r = decl.blocks.map_or(r, |b| b.place(r));
        let offset = if decl.transposed {
            c * decl.row_stride + r * size
        } else {
            r * decl.row_stride + c * size
        };
        dtype.read(&bytes[offset..offset + size])
    };
    let data = (0..rows)
        .flat_map(|r| (0..width).map(move |c| (r, c)))
        .map(|(r, c)| at(r, c))
        .collect();
    Rows::new(data, width)
}

/// Quantised weights as the numbers they stand for.
fn panels(quant: Quant, bytes: &[u8], rows: usize, width: usize) -> Rows {
    let at = |r: usize, c: usize| {
        let offset = r / PANEL_ROWS * quant.panel_bytes(width) + c / GROUP * quant.group_bytes();
        let (group, lane) = (&bytes[offset..offset + quant.group_bytes()], r % PANEL_ROWS);
        quant.get(group, lane, c % GROUP) as f32 * Quant::scale(group, lane)
    };
    let data = (0..rows)
        .flat_map(|r| (0..width).map(move |c| (r, c)))
        .map(|(r, c)| at(r, c))
        .collect();
    Rows::new(data, width)
}
