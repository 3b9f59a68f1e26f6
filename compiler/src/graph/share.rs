//! What a rank has of a weight: a run of its rows, or of its columns.
//!
//! A run along the way a weight is stored stays where it is, and only begins later. One across it is copied, so that a rank
//! holds, and reads, nothing between its rows. Columns that begin inside a super-block of integers go into a layout without, which
//! holds the same values.

use std::fmt;
use std::ops::Range;

use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use graver_runtime::abi::{Encoding, Quant};

use super::decl::WeightDecl;

/// What a rank has of each matrix or vector of a weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of it.
    Whole,
    /// These rows of `[out, in]`, or numbers of a vector.
    Rows(Range<usize>),
    /// These columns of `[out, in]`.
    Columns(Range<usize>),
    /// All of these members of a family.
    Members(Range<usize>),
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::Whole => f.write_str("all"),
            Share::Rows(r) => write!(f, "rows {}..{}", r.start, r.end),
            Share::Columns(c) => write!(f, "columns {}..{}", c.start, c.end),
            Share::Members(m) => write!(f, "members {}..{}", m.start, m.end),
        }
    }
}

impl WeightDecl {
    /// Why a share cannot be had: groups and panels of integers are not cut, nor are runs of rows that lie apart.
    pub(crate) fn refuses(&self, share: &Share) -> Option<String> {
        let ends = |r: &Range<usize>, all: usize, unit: usize| {
            let whole = |n: usize| n.is_multiple_of(unit) || n == all;
            !(whole(r.start) && whole(r.end))
        };
        let empty = |r: &Range<usize>| r.is_empty();
        match (share, self.encoding) {
            (Share::Whole, _) => None,
            (Share::Members(m), _) if empty(m) => Some("has no part left".into()),
            (Share::Members(_), _) => None,
            (Share::Rows(r) | Share::Columns(r), _) if empty(r) => Some("has no part left".into()),
            (Share::Rows(r), Encoding::Quantized(_)) if ends(r, self.shape[0], PANEL_ROWS) => {
                Some(format!("{share} cut a panel of {PANEL_ROWS} rows"))
            }
            (Share::Columns(_), _) if self.shape.len() < 2 => {
                Some("a vector has no columns".into())
            }
            (Share::Columns(c), Encoding::Quantized(_)) if ends(c, self.shape[1], GROUP) => {
                Some(format!("{share} cut a group of {GROUP}"))
            }
            (Share::Rows(r), Encoding::Float(_)) => self.blocks.and_then(|b| {
                let inside = r.start / b.rows == (r.end - 1) / b.rows;
                let cut = !inside && ends(r, self.shape[0], b.rows);
                cut.then(|| format!("{share} cut a head's run of {} rows", b.rows))
            }),
            (Share::Rows(_), Encoding::Quantized(_)) | (Share::Columns(_), _) => None,
        }
    }

    /// Whether a share is copied: it lies across the stored rows.
    pub(crate) fn copies(&self, share: &Share) -> bool {
        match share {
            Share::Whole | Share::Members(_) => false,
            Share::Rows(_) => self.transposed && self.shape.len() > 1,
            Share::Columns(_) => !self.transposed,
        }
    }

    /// The declaration of a share that is not refused.
    pub(crate) fn share(&self, share: &Share) -> WeightDecl {
        let mut shape = self.shape.clone();
        match share {
            Share::Whole => return self.clone(),
            Share::Members(m) => {
                return WeightDecl {
                    count: m.len(),
                    ..self.clone()
                };
            }
            Share::Rows(r) => shape[0] = r.len(),
            Share::Columns(c) => shape[1] = c.len(),
        }
        let rows = shape[0];
        let dense = WeightDecl {
            slot: self.slot.clone(),
            shape,
            row_stride: 0,
            blocks: self.blocks.filter(|b| rows > b.rows && !self.copies(share)),
            encoding: self.encoding_of(share),
            ..*self
        };
        let row_stride = match self.copies(share) || self.shape.len() == 1 {
            true => dense.dense_stride(),
            false => self.row_stride,
        };
        WeightDecl {
            row_stride,
            ..dense
        }
    }

    /// How a share is stored.
    fn encoding_of(&self, share: &Share) -> Encoding {
        match (share, self.encoding) {
            (Share::Columns(c), Encoding::Quantized(quant)) => {
                let cuts = !c.start.is_multiple_of(quant.super_groups() * GROUP);
                Encoding::Quantized(if cuts { Quant::Q4Min } else { quant })
            }
            (Share::Whole | Share::Rows(_) | Share::Columns(_) | Share::Members(_), encoding) => {
                encoding
            }
        }
    }

    /// The first byte of a share that is not copied.
    pub(crate) fn first_byte(&self, share: &Share) -> usize {
        match (share, self.encoding) {
            (Share::Whole | Share::Members(_), _) => 0,
            (Share::Rows(r), Encoding::Quantized(quant)) => {
                r.start / PANEL_ROWS * quant.panel_bytes(self.shape[1])
            }
            (Share::Rows(r), Encoding::Float(dtype)) if self.shape.len() == 1 => {
                r.start * dtype.size()
            }
            (Share::Rows(r), Encoding::Float(_)) => {
                self.blocks.map_or(r.start, |b| b.place(r.start)) * self.row_stride
            }
            (Share::Columns(c), _) => c.start * self.row_stride,
        }
    }

    /// The bytes of a share that is copied, `bytes` being those of the whole matrix: row after row as they are stored, or panel
    /// after panel.
    ///
    /// # Panics
    /// Where `bytes` are fewer than the matrix has.
    pub(crate) fn copy_share(&self, share: &Share, bytes: &[u8]) -> Vec<u8> {
        let (run, shared) = (share.run(), self.share(share));
        let mut out = Vec::with_capacity(shared.bytes());
        match self.encoding {
            Encoding::Quantized(quant) => {
                let end = quant.panel_bytes(run.end);
                for panel in bytes.chunks_exact(quant.panel_bytes(self.shape[1])) {
                    match shared.encoding == self.encoding {
                        true => {
                            out.extend_from_slice(&panel[quant.head_at(run.start / GROUP)..end]);
                        }
                        false => out.extend(with_minima(quant, panel, &run)),
                    }
                }
            }
            Encoding::Float(dtype) => {
                let place = |row: usize| self.blocks.map_or(row, |b| b.place(row));
                let size = dtype.size();
                match self.transposed {
                    true => {
                        for column in 0..self.shape[1] {
                            for row in run.clone() {
                                let at = column * self.row_stride + place(row) * size;
                                out.extend_from_slice(&bytes[at..at + size]);
                            }
                        }
                    }
                    false => {
                        for row in 0..self.shape[0] {
                            let at = place(row) * self.row_stride + run.start * size;
                            out.extend_from_slice(&bytes[at..at + run.len() * size]);
                        }
                    }
                }
            }
        }
        out
    }
}

/// Columns of a panel of a type with minima as a panel of [`Quant::Q4Min`], which begins with any group.
fn with_minima(quant: Quant, panel: &[u8], columns: &Range<usize>) -> Vec<u8> {
    let to = Quant::Q4Min;
    let mut out = vec![0; to.panel_bytes(columns.len())];
    for (g, first) in columns.clone().step_by(GROUP).enumerate() {
        for lane in 0..PANEL_ROWS {
            let scale = quant.scale(panel, lane, first);
            let factors = [scale, quant.minimum(panel, lane, first)];
            Quant::put_factors(&mut out[to.group_at(g)..], lane, factors);
            let q = std::array::from_fn(|i| quant.get(panel, lane, first + i) as i8);
            to.put_group(&mut out, lane, g, &q);
        }
    }
    out
}

impl Share {
    /// The rows or columns.
    fn run(&self) -> Range<usize> {
        match self {
            Share::Whole | Share::Members(_) => 0..0,
            Share::Rows(r) | Share::Columns(r) => r.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use graver_runtime::abi::Dtype;

    use super::*;
    use crate::spec::model::Blocks;

    fn floats(shape: [usize; 2], transposed: bool, blocks: Option<Blocks>) -> WeightDecl {
        let mut decl = WeightDecl {
            slot: "w".into(),
            shape: shape.to_vec(),
            encoding: Encoding::Float(Dtype::F32),
            row_stride: 0,
            transposed,
            rounded: false,
            blocks,
            count: 1,
        };
        decl.row_stride = decl.dense_stride();
        decl
    }

    /// The number at a row and a column, however it is stored.
    fn at(decl: &WeightDecl, bytes: &[u8], row: usize, column: usize) -> f32 {
        let row = decl.blocks.map_or(row, |b| b.place(row));
        let at = match decl.transposed {
            true => column * decl.row_stride + row * 4,
            false => row * decl.row_stride + column * 4,
        };
        Dtype::F32.read(&bytes[at..])
    }

    /// Every number of a share is that of the whole, wherever it is read from.
    #[test]
    fn a_share_has_the_numbers_of_the_whole() {
        let blocks = Blocks { rows: 2, every: 3 };
        for (transposed, blocks) in [(false, None), (true, None), (false, Some(blocks))] {
            let whole = floats([6, 5], transposed, blocks);
            let bytes: Vec<u8> = (0..60).flat_map(|i| (i as f32).to_le_bytes()).collect();
            for (share, first) in [
                (Share::Rows(2..6), (2, 0)),
                (Share::Rows(4..5), (4, 0)),
                (Share::Columns(1..4), (0, 1)),
            ] {
                assert_eq!(whole.refuses(&share), None);
                let part = whole.share(&share);
                let own = match whole.copies(&share) {
                    true => whole.copy_share(&share, &bytes),
                    false => bytes[whole.first_byte(&share)..].to_vec(),
                };
                for r in 0..part.shape[0] {
                    for c in 0..part.shape[1] {
                        let expected = at(&whole, &bytes, first.0 + r, first.1 + c);
                        assert_eq!(at(&part, &own, r, c), expected, "{share} of {whole}");
                    }
                }
                assert!(own.len() >= part.span_bytes(), "{share} of {whole}");
            }
        }
    }

    #[test]
    fn panels_and_groups_are_not_cut() {
        let mut decl = floats([20, 70], false, None);
        decl.encoding = Encoding::Quantized(Quant::Q4);
        decl.row_stride = decl.dense_stride();
        for (share, refused) in [
            (Share::Rows(8..20), false),
            (Share::Rows(0..12), true),
            (Share::Columns(32..70), false),
            (Share::Columns(0..33), true),
        ] {
            assert_eq!(decl.refuses(&share).is_some(), refused, "{share}");
        }
        let bytes: Vec<u8> = (0..decl.bytes()).map(|i| i as u8).collect();
        let group = Quant::Q4.group_bytes();
        let copied = decl.copy_share(&Share::Columns(32..70), &bytes);
        assert_eq!(copied[..2 * group], bytes[group..3 * group]);
        assert_eq!(copied[2 * group..4 * group], bytes[4 * group..6 * group]);
        assert_eq!(copied.len(), decl.share(&Share::Columns(32..70)).bytes());
    }

    /// Wherever they are cut, columns keep their values; inside a super-block another layout has them.
    #[test]
    fn columns_of_super_blocks_keep_their_values() {
        let quant = Quant::Q4Super;
        let mut decl = floats([9, 580], false, None);
        decl.encoding = Encoding::Quantized(quant);
        decl.row_stride = decl.dense_stride();
        // No exponent of all ones in the units.
        let bytes: Vec<u8> = (0..decl.bytes())
            .map(|i| (i * 37 % 251) as u8 & 0xbb)
            .collect();
        for (columns, expected) in [
            (0..288, quant),
            (256..580, quant),
            (512..580, quant),
            (288..580, Quant::Q4Min),
            (32..64, Quant::Q4Min),
        ] {
            let share = Share::Columns(columns.clone());
            assert_eq!(decl.refuses(&share), None);
            let part = decl.share(&share);
            assert_eq!(part.encoding, Encoding::Quantized(expected), "{share}");
            let copied = decl.copy_share(&share, &bytes);
            assert_eq!(
                (copied.len(), part.bytes()),
                (part.bytes(), part.span_bytes())
            );
            for (row, column) in (0..9).flat_map(|r| columns.clone().map(move |c| (r, c))) {
                let (panel, lane) = (row / PANEL_ROWS, row % PANEL_ROWS);
                let whole = quant.value(&bytes[panel * decl.row_stride..], lane, column);
                let own = &copied[panel * part.row_stride..];
                let found = expected.value(own, lane, column - columns.start);
                assert_eq!(
                    found.to_bits(),
                    whole.to_bits(),
                    "{share} [{row}, {column}]"
                );
            }
        }
    }

    #[test]
    fn rows_that_lie_apart_are_shared_by_whole_runs() {
        let decl = floats([6, 5], false, Some(Blocks { rows: 3, every: 9 }));
        assert_eq!(decl.refuses(&Share::Rows(3..6)), None);
        assert!(decl.refuses(&Share::Rows(2..6)).is_some());
    }
}
