//! What the compiler says that each kernel of a program may touch, from graph, schedule and memory plan alone.
//!
//! Generated code computes its addresses from the same facts on a path of its own, so that the two can be compared.

use std::ops::Range;

/// The kernels of one program, and where its blocks stand.
#[derive(Clone, Debug, Default)]
pub struct ProgramAccess {
    /// All kernels, block after block.
    pub kernels: Vec<KernelAccess>,
    /// Blocks in the order they run: embedding, each layer, head.
    pub places: Vec<BlockPlace>,
    /// Bytes at the start of the arena that hold values handed from block to block.
    pub carried_bytes: usize,
}

/// One block in the order of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPlace {
    /// For people: `layer 3`.
    pub name: String,
    /// Index of the block.
    pub block: usize,
    /// Its first weight slot.
    pub weight: usize,
    /// Its first state buffer.
    pub state: usize,
}

/// What one kernel may touch.
#[derive(Clone, Debug)]
pub struct KernelAccess {
    /// For people: `decode.dense.attention.q+k+v`.
    pub name: String,
    /// Index of its block.
    pub block: usize,
    /// Its place in the block.
    pub index: usize,
    /// Its operands and its result.
    pub values: Vec<ValueAccess>,
    /// Weight slots it reads, counted from the block's first.
    pub weights: Vec<Range<usize>>,
    /// State buffers it reads or writes, counted from the block's first.
    pub states: Vec<Range<usize>>,
    /// Bytes of the thread's scratch it may use.
    pub scratch: Vec<Range<usize>>,
    /// Values of the block that nobody reads any more once the kernel's epoch begins.
    pub dead: Vec<Extent>,
}

/// A value that a kernel reads or writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueAccess {
    /// The kernel's result, or what is overwritten on the way to it; others are only read.
    pub written: bool,
    /// Where it lies.
    pub extent: Extent,
}

/// A run of rows in the arena or among the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub place: ValuePlace,
    /// How far it reaches.
    pub size: Size,
}

/// Where a value begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValuePlace {
    /// In the arena: an offset, and so many bytes more for each position of the context.
    Arena {
        /// Fixed part.
        offset: usize,
        /// For each position.
        per_position: usize,
    },
    /// The rows of logits.
    Logits,
}

/// How far a value reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Columns of rows, in bytes.
    Rows {
        /// How many rows.
        count: RowCount,
        /// From one row to the next.
        stride: usize,
        /// First byte of a row that is meant.
        start: usize,
        /// How many bytes of it are meant.
        width: usize,
    },
    /// Everything, and so many bytes more for each position of the context.
    Whole {
        /// Fixed part.
        bytes: usize,
        /// For each position.
        per_position: usize,
    },
}

/// How many rows a value has in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowCount {
    /// So many for each token.
    PerToken(usize),
    /// One for each row of logits that is wanted.
    LogitRows,
    /// Always the same.
    Fixed(usize),
}
