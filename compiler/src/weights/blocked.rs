//! Makes floats, or panels that hold the same values, of rows of blocks.

use graver_runtime::abi::Quant;
use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use rayon::prelude::*;

use super::lane::{Lanes, Misfit};
use super::storage::{Parts, StorageType};

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
        let parts = &mut std::array::from_fn(|_| Parts::new());
        for (i, panel) in panels.enumerate() {
            self.panel((first + i) * PANEL_ROWS, quant, panel, parts)?;
        }
        Ok(())
    }

    /// Writes the panel that begins with row `first`; rows beyond the last are zeros.
    fn panel(
        self,
        first: usize,
        quant: Quant,
        panel: &mut [u8],
        parts: &mut [Parts; PANEL_ROWS],
    ) -> Result<(), Misfit> {
        let StorageType { block, bytes, .. } = *self.storage;
        let (per_row, per_block) = (self.columns / block, block / GROUP);
        for b in 0..per_row {
            for (lane, parts) in parts.iter_mut().enumerate() {
                match first + lane < self.rows {
                    true => {
                        let at = ((first + lane) * per_row + b) * bytes;
                        self.storage.parts(&self.bytes[at..at + bytes], parts);
                    }
                    false => *parts = Parts::new(),
                }
            }
            for g in 0..per_block {
                let put = lanes(parts, g * GROUP).put(quant, panel, b * per_block + g);
                put.map_err(|(lane, (i, found))| {
                    let column = b * block + g * GROUP + i;
                    ((first + lane) * self.columns + column, found)
                })?;
            }
        }
        Ok(())
    }

    /// The panels that hold the same values, if any do: all integers have to be in the panels' range, of which those of
    /// eight bits may leave one out.
    pub(super) fn packable(self) -> Option<Quant> {
        let quant = self.storage.packed()?;
        // Types whose integers may be beyond the range have one too few, never one too many.
        let low = i8::try_from(quant.range().0).unwrap_or(i8::MIN);
        let fits = |piece: &[u8]| {
            let parts = &mut Parts::new();
            let mut blocks = piece.chunks_exact(self.storage.bytes);
            blocks.all(|block| !self.storage.has_less(low, block, parts))
        };
        let pieces = self.bytes.par_chunks(self.storage.bytes * AT_ONCE);
        let fits = !self.storage.may_not_fit() || pieces.all(fits);
        fits.then_some(quant)
    }
}

/// Those of blocks from value `first` on.
fn lanes(parts: &[Parts; PANEL_ROWS], first: usize) -> Lanes<'_> {
    Lanes {
        integers: std::array::from_fn(|lane| &parts[lane].integers.as_chunks().0[first / GROUP]),
        scales: std::array::from_fn(|lane| {
            [first, first + GROUP / 2].map(|i| parts[lane].scale(i))
        }),
        minima: std::array::from_fn(|lane| parts[lane].minimum(first)),
        nested: std::array::from_fn(|lane| parts[lane].nested(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of a type in which scales are small numbers, and all else is anything.
    fn blocks(storage: &StorageType, count: usize) -> Vec<u8> {
        let mut state = 7u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let mut out: Vec<u8> = (0..count * storage.bytes).map(|_| byte()).collect();
        let mut values = vec![0.0; storage.block];
        // No exponent of all ones in whatever is a float of 16 bits.
        for block in out.chunks_exact_mut(storage.bytes) {
            while !storage.read(block, &mut values) {
                block.iter_mut().for_each(|b| *b = byte() & 0xbb);
            }
        }
        out
    }

    #[test]
    fn panels_hold_what_reading_gives_bit_for_bit() {
        let mut types = 0;
        for storage in StorageType::ALL {
            let Some(quant) = storage.packed() else {
                continue;
            };
            types += 1;
            let (rows, columns) = (11, 2 * storage.block);
            let mut bytes = blocks(storage, 2 * rows);
            if storage.may_not_fit() {
                let mask = |b: &mut u8| *b &= 0x7f;
                bytes.iter_mut().for_each(mask);
            }
            let matrix = Rows::of(storage, &bytes, &[rows, columns]);
            assert_eq!(matrix.packable(), Some(quant), "{}", storage.name);
            let mut panels = vec![0xAA; quant.matrix_bytes(rows, columns)];
            matrix.panels(0, quant, &mut panels).unwrap();
            let last = &panels[quant.panel_bytes(columns)..];
            for (lane, column) in (3..8).flat_map(|lane| (0..columns).map(move |c| (lane, c))) {
                let beyond = quant.value(last, lane, column);
                assert_eq!(beyond, 0.0, "{}: row 11 and on", storage.name);
            }
            let mut values = vec![0.0; storage.block];
            for (i, block) in bytes.chunks_exact(storage.bytes).enumerate() {
                storage.read(block, &mut values);
                for (j, expected) in values.iter().enumerate() {
                    let (row, column) = (i / 2, i % 2 * storage.block + j);
                    let panel = &panels[row / PANEL_ROWS * quant.panel_bytes(columns)..];
                    let found = quant.value(panel, row % PANEL_ROWS, column);
                    let name = storage.name;
                    assert_eq!(found.to_bits(), expected.to_bits(), "{name} {row} {column}");
                }
            }
        }
        assert_eq!(types, 13);
    }

    #[test]
    fn a_value_that_is_not_finite_is_found() {
        for (name, at) in [
            ("Q4_1", 2),
            ("Q4_1", 0),
            ("Q6_K", 208),
            ("Q4_K", 0),
            ("Q4_K", 2),
            ("Q5_K", 2),
            ("Q5_0", 0),
        ] {
            let storage = StorageType::named(name).unwrap();
            let quant = storage.packed().unwrap();
            let mut bytes = blocks(storage, 6);
            let second = 4 * storage.bytes + at;
            bytes[second..second + 2].copy_from_slice(&0x7c00u16.to_le_bytes());
            let matrix = Rows::of(storage, &bytes, &[3, 2 * storage.block]);
            let mut panels = vec![0; quant.matrix_bytes(3, 2 * storage.block)];
            let (index, found) = matrix.panels(0, quant, &mut panels).unwrap_err();
            assert!(!found.is_finite(), "{name}");
            assert_eq!(index / storage.block, 4, "{name}");
        }
    }
}
