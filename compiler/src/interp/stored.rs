//! Weights as rows of f32, whatever way they are stored.

use graver_runtime::abi::quant::PANEL_ROWS;
use graver_runtime::abi::{Encoding, Quant};

use super::values::Rows;
use crate::graph::WeightDecl;

/// A weight, or those of all experts one below the other.
pub(super) fn family<'a>(decl: &WeightDecl, bytes: impl Fn(usize) -> &'a [u8]) -> Rows {
    let mut all = weight(decl, bytes(0));
    for e in 1..decl.count {
        all.data.extend(weight(decl, bytes(e)).data);
    }
    all.rounded = decl.rounded;
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
        let panel = &bytes[r / PANEL_ROWS * quant.panel_bytes(width)..];
        quant.value(panel, r % PANEL_ROWS, c)
    };
    let data = (0..rows)
        .flat_map(|r| (0..width).map(move |c| (r, c)))
        .map(|(r, c)| at(r, c))
        .collect();
    Rows::new(data, width)
}
