//! What graphs declare before they compute: weights, keys and values, and states of fixed size, with the bytes that each takes.

use std::fmt;

use graver_runtime::abi::{Arranged, CACHE_GROUP, CacheType, Encoding, Quant};

use crate::spec::model::Blocks;

/// A weight that a graph reads.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightDecl {
    /// Slot name: `attention.q.weight`.
    pub slot: String,
    /// `[out, in]` or `[n]`.
    pub shape: Vec<usize>,
    /// How elements are encoded; vectors are always f32.
    pub encoding: Encoding,
    /// Bytes between stored rows (rows of `in` elements, of `out` where transposed, or panels of rows where quantised).
    pub row_stride: usize,
    /// Stored as `[in, out]`.
    pub transposed: bool,
    /// Floats of which rows do not all follow each other.
    pub blocks: Option<Blocks>,
    /// Rows that it is multiplied with are rounded to bf16 first, which it is itself in.
    pub rounded: bool,
    /// Entries of the pointer table: the experts of a family, 1 for a single weight.
    pub count: usize,
}

/// A KV cache that a graph reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDecl {
    /// Name: `attention.kv`.
    pub name: String,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a key.
    pub head_dim: usize,
    /// Width of a value.
    pub value_dim: usize,
    /// Values are the leading components of the keys, of which there is one head: nothing is stored twice.
    pub shared: bool,
    /// What they are kept in.
    pub dtype: CacheType,
    /// For a ring: the most positions that a query looks back over, itself included. Position `p` lies in row `p % rows`.
    pub ring: Option<usize>,
}

impl StateDecl {
    /// Buffers in a slot, each with its name and bytes per position: keys and values, or keys that hold both.
    pub(crate) fn buffers(&self) -> Vec<(&'static str, usize)> {
        let bytes = |dim: usize| self.kv_heads * self.row_bytes(dim);
        if self.shared {
            return vec![("kv", bytes(self.head_dim))];
        }
        vec![("k", bytes(self.head_dim)), ("v", bytes(self.value_dim))]
    }

    /// Bytes of the first `n` components of one head's key or value.
    pub fn row_bytes(&self, n: usize) -> usize {
        self.dtype.bytes(n, self.group())
    }

    /// Components that share a scale, where scales are kept. What is written and read by itself, as latents are, is whole groups.
    pub fn group(&self) -> usize {
        if self.shared {
            let twos = self.value_dim.trailing_zeros();
            1 << twos.min(CACHE_GROUP.trailing_zeros())
        } else {
            CACHE_GROUP
        }
    }
}

/// A state of fixed size, zero where a sequence begins: `[heads, rows, columns]` of f32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecurrentDecl {
    /// Name: `delta_net.state`.
    pub name: String,
    /// Heads, each a matrix of its own.
    pub heads: usize,
    /// Rows of a head.
    pub rows: usize,
    /// Columns of a head.
    pub columns: usize,
}

impl RecurrentDecl {
    /// Bytes of one sequence's state.
    pub fn bytes(&self) -> usize {
        self.heads * self.rows * self.columns * 4
    }
}

impl fmt::Display for WeightDecl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape: Vec<_> = self.shape.iter().map(usize::to_string).collect();
        write!(
            f,
            "weight @{}: {}[{}]",
            self.slot,
            self.encoding,
            shape.join(", ")
        )?;
        if self.row_stride != self.dense_stride() {
            write!(f, " stride={}", self.row_stride)?;
        }
        if self.count != 1 {
            write!(f, " count={}", self.count)?;
        }
        if let Some(b) = &self.blocks {
            write!(f, " rows={} every={}", b.rows, b.every)?;
        }
        f.write_str(if self.transposed { " transposed" } else { "" })?;
        f.write_str(if self.rounded { " rounded" } else { "" })
    }
}

impl WeightDecl {
    /// Bytes of one matrix or vector whose rows are dense.
    pub fn bytes(&self) -> usize {
        let elements: usize = self.shape.iter().product();
        match (self.encoding, self.shape.as_slice()) {
            (Encoding::Quantized(quant), [rows, k]) => quant.matrix_bytes(*rows, *k),
            (Encoding::Quantized(quant), _) => quant.matrix_bytes(1, elements),
            (Encoding::Float(dtype), _) => elements * dtype.size(),
        }
    }

    /// How products of many rows with it read them arranged, if there are kernels that do.
    pub(crate) fn reads_arranged(&self) -> Option<Arranged> {
        match self.encoding {
            Encoding::Float(_) => self.rounded.then_some(Arranged::Rounded),
            Encoding::Quantized(Quant::Q8Half) => None,
            Encoding::Quantized(_) => Some(Arranged::Blocks),
        }
    }

    /// Bytes of one stored row, or panel: where transposed, of a run of `out`, to the last of the rows in it that are read.
    pub(crate) fn stored_row_bytes(&self) -> usize {
        match self.encoding {
            Encoding::Float(dtype) if self.transposed => self.rows_across() * dtype.size(),
            Encoding::Float(_) | Encoding::Quantized(_) => self.dense_stride(),
        }
    }

    /// Bytes from the first element that code reads of one matrix or vector to the last, with what lies between rows.
    pub(crate) fn span_bytes(&self) -> usize {
        let (Encoding::Float(dtype), [_, k]) = (self.encoding, self.shape.as_slice()) else {
            return self.bytes();
        };
        let last = match self.transposed {
            true => k - 1,
            false => self.rows_across() - 1,
        };
        let row = match self.transposed {
            true => self.rows_across(),
            false => *k,
        };
        last * self.row_stride + row * dtype.size()
    }

    /// Rows of the tensor from the first that is read to the last.
    fn rows_across(&self) -> usize {
        let last = self.shape[0] - 1;
        self.blocks.map_or(last, |b| b.place(last)) + 1
    }

    /// Bytes between rows, or panels, where nothing lies between them.
    pub fn dense_stride(&self) -> usize {
        let k = *self.shape.last().unwrap_or(&1);
        match self.encoding {
            Encoding::Float(dtype) if self.transposed => self.shape[0] * dtype.size(),
            Encoding::Float(dtype) => k * dtype.size(),
            Encoding::Quantized(quant) => quant.panel_bytes(k),
        }
    }
}
