//! Where every tensor goes in an artifact's weights.
//!
//! In: resolved weights. Out: one run of tensors, in the order in which slots first use them, each at a multiple of a cache
//! line, and the weight slots in terms of it. Tensors that no slot reads are left out, and one that several slots read
//! stands once. Nothing is copied here: a [`Run`] says what the writer will write, piece by piece.

use std::collections::HashMap;

use graver_runtime::abi::WeightInfo;

use super::append::{Piece, Run};
use crate::weights::Weights;

/// Alignment of tensors, in bytes: a cache line.
const ALIGNMENT: usize = 64;

/// The run of all weights, which is blob 0, and the slots in the order generated code indexes them.
pub(super) fn lay_out(weights: &Weights) -> (Run<'_>, Vec<WeightInfo>) {
    let mut run = Run::default();
    let mut offsets: HashMap<usize, usize> = HashMap::new();
    let slots = weights.views().map(|view| {
        let tensor = &weights.tensors[view.tensor];
        let start = *offsets.entry(view.tensor).or_insert_with(|| {
            let offset = run.bytes.next_multiple_of(ALIGNMENT);
            run.bytes = offset + tensor.bytes;
            run.pieces.push(Piece {
                offset,
                bytes: weights.byte_source(tensor),
            });
            offset
        });
        WeightInfo {
            name: view.name.clone(),
            blob: 0,
            offset: start + (view.offset_bytes - tensor.offset_bytes),
            bytes: view.bytes,
        }
    });
    let slots = slots.collect();
    (run, slots)
}
