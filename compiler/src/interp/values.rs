//! What the interpreter computes with: rows of f32, the state of a sequence, and where weights' bytes come from.

use crate::graph::{Graph, Program};

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
    /// Of weights: what they are multiplied with is rounded to bf16.
    pub(crate) rounded: bool,
}

impl Rows {
    pub(crate) fn new(data: Vec<f32>, width: usize) -> Rows {
        Rows {
            data,
            width,
            rounded: false,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.width.max(1))
    }

    /// Row `t`.
    pub(crate) fn row(&self, t: usize) -> &[f32] {
        &self.data[t * self.width..][..self.width]
    }
}

/// Keys and values of one layer: a row for each position.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    pub(crate) keys: Vec<Vec<f32>>,
    pub(crate) values: Vec<Vec<f32>>,
}

/// What an operation may look at apart from its operands.
pub(crate) struct Scene<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) program: &'a Program,
    pub(crate) tokens: &'a [u32],
    pub(crate) start: usize,
    pub(crate) caches: &'a mut [Cache],
    /// Recurrent states.
    pub(crate) memories: &'a mut [Vec<f32>],
}
