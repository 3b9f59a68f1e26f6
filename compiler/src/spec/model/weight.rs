//! A weight: its tensor in a checkpoint, and which part of that it is.

use serde::Serialize;

use super::made::Made;

/// A matrix or vector of the checkpoint, or part of one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weight {
    /// Slot name inside its layer: `attention.q.weight`.
    pub slot: String,
    /// Tensor names to try in order, `{i}` standing for the layer index.
    pub tensors: Vec<String>,
    /// The same weight as other checkpoints store it: looked for where none of `tensors` exists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Weight>,
    /// Shape as the graph sees it: `[out, in]` or `[n]`.
    pub shape: Vec<usize>,
    /// Stored as `[in, out]`.
    pub transposed: bool,
    /// The tensor holds the negative of these numbers' exponentials: `−eˣ`. Only of vectors.
    pub exponential: bool,
    /// Of a tensor that joins several along `out`.
    pub part: Option<Range>,
    /// Of a tensor that joins several along `in`.
    pub columns: Option<Range>,
    /// So many weights of this shape, one for each expert. `{e}` in a tensor's name stands for the expert; a tensor without it
    /// stacks all of them along a dimension in front.
    pub family: Option<usize>,
    /// The experts that these tensors hold, where they do not hold all: the first, and how many. `{e}` counts from the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<(usize, usize)>,
    /// In several tensors, which have some rows of every head each; `tensors` names the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<Joined>,
    /// In no tensor: made of sizes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<Made>,
}

/// A matrix whose heads are put together from several tensors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Joined {
    /// How many heads there are.
    pub heads: usize,
    /// What each tensor has of every head, in the order of a head's rows.
    pub parts: Vec<JoinedPart>,
}

/// A tensor `[heads, rows, in]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JoinedPart {
    /// The tensor's name, `{i}` standing for the layer index.
    pub tensor: String,
    /// Rows of a head.
    pub rows: usize,
    /// Stored as `[heads, in, rows]`.
    pub transposed: bool,
}

/// A run of rows or columns of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    /// The first one, in layer 0.
    pub first: usize,
    /// How much further on it is in each further layer.
    pub per_layer: usize,
    /// Rows or columns of the whole tensor, or of each head.
    pub of: usize,
    /// The run is taken from each of so many heads, which follow each other.
    pub heads: usize,
}

impl Range {
    /// The same run in every layer.
    pub fn one(first: usize, of: usize) -> Range {
        Range {
            first,
            per_layer: 0,
            of,
            heads: 1,
        }
    }

    /// The first one in a layer.
    pub(crate) fn first_in(&self, layer: Option<usize>) -> usize {
        self.first + self.per_layer * layer.unwrap_or(0)
    }
}

/// How the rows of a part lie that is taken from each of several heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocks {
    /// Rows that follow each other.
    pub rows: usize,
    /// Rows of the tensor from the first of these to the first of the next.
    pub every: usize,
}

impl Blocks {
    /// Where row `row` of the part lies, counted from its first.
    pub fn place(&self, row: usize) -> usize {
        row / self.rows * self.every + row % self.rows
    }
}

impl Weight {
    /// A vector of `n` numbers that no tensor holds.
    pub(crate) fn made(slot: String, n: usize, made: Made) -> Weight {
        Weight {
            slot,
            tensors: Vec::new(),
            others: Vec::new(),
            shape: vec![n],
            transposed: false,
            exponential: false,
            part: None,
            columns: None,
            family: None,
            experts: None,
            joined: None,
            made: Some(made),
        }
    }

    /// This, and the same as other checkpoints store it, in the order in which they are looked for.
    pub(crate) fn all_stored(&self) -> impl Iterator<Item = &Weight> {
        std::iter::once(self).chain(&self.others)
    }

    /// How the rows of a matrix lie, unless they follow each other.
    pub fn blocks(&self) -> Option<Blocks> {
        self.by_head().filter(|_| self.shape.len() > 1)
    }

    /// How the numbers of a vector lie, unless they follow each other: they are put together when it is read.
    pub(crate) fn scattered(&self) -> Option<Blocks> {
        self.by_head().filter(|_| self.shape.len() == 1)
    }

    fn by_head(&self) -> Option<Blocks> {
        let part = self.part.filter(|p| p.heads > 1)?;
        Some(Blocks {
            rows: self.shape[0] / part.heads,
            every: part.of,
        })
    }

    /// Entries of the pointer table.
    pub fn count(&self) -> usize {
        self.family.unwrap_or(1)
    }
}
