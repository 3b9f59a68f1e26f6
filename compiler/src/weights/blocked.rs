//! Makes floats, or panels that hold the same values, of rows of blocks.

use graver_runtime::abi::Quant;
use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use rayon::prelude::*;

use super::storage::StorageType;

/// Blocks that are looked at in one piece.
const AT_ONCE: usize = 1 << 14;

/// The rows of a tensor.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) storage: &'static StorageType,
    bytes: &'a [u8],
    rows: usize,
    pub(super) columns: usize,
}

/// The index of a value that is not finite, and the value.
type Misfit = (usize, f32);

impl<'a> Rows<'a> {
    pub(super) fn of(storage: &'static StorageType, bytes: &'a [u8], shape: &[usize]) -> Rows<'a> {
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().product::<usize>() / columns.max(1);
        Rows {
            storage,
            bytes,
            rows,
            columns,
        }
    }

    /// Writes the values from block `first` on to `out` as f32.
    pub(super) fn floats(self, first: usize, out: &mut [u8]) -> Result<(), Misfit> {
        let StorageType { block, bytes, .. } = *self.storage;
        let mut values = vec![0.0; block];
        let blocks = self.bytes[first * bytes..].chunks_exact(bytes);
        for (i, (out, from)) in out.chunks_exact_mut(block * 4).zip(blocks).enumerate() {
            if !self.storage.read(from, &mut values) {
                let at = values.iter().position(|v| !v.is_finite()).unwrap_or(0);
                return Err(((first + i) * block + at, values[at]));
            }
            for (out, value) in out.chunks_exact_mut(4).zip(&values) {
                out.copy_from_slice(&value.to_le_bytes());
            }
        }
        Ok(())
    }

    /// Writes the panels from panel `first` on to `out`. The storage type is one that `quant` holds without loss, and the
    /// matrix [is packable](Rows::packable).
    pub(super) fn panels(self, first: usize, quant: Quant, out: &mut [u8]) -> Result<(), Misfit> {
        let panels = out.chunks_exact_mut(quant.panel_bytes(self.columns));
        for (i, panel) in panels.enumerate() {
            panel.fill(0);
            for lane in 0..PANEL_ROWS {
                self.lane((first + i) * PANEL_ROWS + lane, lane, quant, panel)?;
            }
        }
        Ok(())
    }

    /// Writes one row of a panel; rows beyond the last are zeros.
    fn lane(self, row: usize, lane: usize, quant: Quant, panel: &mut [u8]) -> Result<(), Misfit> {
        let per_row = self.columns / GROUP;
        let mut integers = [0; GROUP];
        for (g, group) in panel.chunks_exact_mut(quant.group_bytes()).enumerate() {
            if row < self.rows {
                let bytes = self.storage.bytes;
                let block = &self.bytes[(row * per_row + g) * bytes..][..bytes];
                let scale = self.storage.group(block, &mut integers);
                if !scale.is_finite() {
                    return Err((row * self.columns + g * GROUP, scale.to_f32()));
                }
                Quant::put_scale(group, lane, scale);
            }
            for (i, q) in integers.iter().enumerate() {
                quant.put(group, lane, i, i32::from(*q));
            }
        }
        Ok(())
    }

    /// The panels that hold the same values, if any do: all integers have to be in the panels' range, of which those of
    /// eight bits may leave one out.
    pub(super) fn packable(self) -> Option<Quant> {
        let quant = self.storage.packed()?;
        let (low, high) = quant.range();
        let fits = |block: &[u8]| {
            let mut integers = [0; GROUP];
            self.storage.group(block, &mut integers);
            integers
                .iter()
                .all(|q| (low..=high).contains(&i32::from(*q)))
        };
        let pieces = self.bytes.par_chunks(self.storage.bytes * AT_ONCE);
        let fits = !self.storage.may_not_fit()
            || pieces.all(|piece| piece.chunks_exact(self.storage.bytes).all(fits));
        fits.then_some(quant)
    }
}
