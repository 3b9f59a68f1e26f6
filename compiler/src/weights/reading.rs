//! How a matrix is packed: its floats as a slot reads them, rounded in groups, the integers laid out in panels.
//!
//! The pass over a group that finds its scale also finds what no scale says.

use std::collections::BTreeMap;
use std::ops::Range;

use graver_runtime::abi::quant::{GROUP, PANEL_ROWS};
use graver_runtime::abi::{Dtype, Quant};
use rayon::prelude::*;

use super::round::{fits, round};
use super::view::View;
use crate::spec::model::{Blocks, Weight};

/// A matrix to be packed: how its floats are read, and where its panels go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackJob {
    pub(super) reading: Reading,
    /// Bytes of the packed blob.
    pub to: Range<usize>,
}

/// How a matrix is read and rounded. Nothing else decides what its panels hold, so that slots whose readings are equal can
/// share them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reading {
    /// Index into [`Weights::tensors`](super::Weights::tensors).
    pub(super) tensor: usize,
    /// Index into [`Weights::blobs`](super::Weights::blobs).
    pub(super) blob: usize,
    pub(super) offset_bytes: usize,
    pub(super) bytes: usize,
    pub(super) dtype: Dtype,
    pub(super) row_stride_bytes: usize,
    transposed: bool,
    blocks: Option<Blocks>,
    rows: usize,
    k: usize,
    pub(super) quant: Quant,
}

/// A value that cannot be packed: of which row and column of the matrix, counted as it is multiplied.
pub(super) struct Misfit {
    pub(super) row: usize,
    pub(super) column: usize,
    pub(super) value: f32,
}

/// How the matrices of a blob are packed: by their first byte.
#[derive(Debug)]
pub(crate) struct Packing(pub(super) BTreeMap<usize, PackJob>);

impl Packing {
    pub(super) fn of(jobs: &[PackJob]) -> Packing {
        Packing(jobs.iter().map(|job| (job.to.start, job.clone())).collect())
    }
}

impl Reading {
    /// How `view` reads `weight`, to be rounded to `quant`.
    ///
    /// # Panics
    /// Where it is packed already.
    pub(super) fn of(weight: &Weight, view: &View, quant: Quant) -> Reading {
        let k = *weight.shape.last().unwrap_or(&1);
        Reading {
            tensor: view.tensor,
            blob: view.blob,
            offset_bytes: view.offset_bytes,
            bytes: view.bytes,
            dtype: view
                .encoding
                .float()
                .expect("floats are packed, not panels"),
            row_stride_bytes: view.row_stride_bytes,
            transposed: view.transposed,
            blocks: weight.blocks(),
            rows: weight.shape.iter().product::<usize>() / k,
            k,
            quant,
        }
    }

    /// Bytes of one panel.
    pub(super) fn panel_bytes(&self) -> usize {
        self.quant.panel_bytes(self.k)
    }

    /// Bytes of all panels.
    pub(super) fn packed_bytes(&self) -> usize {
        self.quant.matrix_bytes(self.rows, self.k)
    }

    /// Writes whole panels from number `first` on; `bytes` are those of the matrix' floats. The first value that does not
    /// fit is the same for any number of threads.
    pub(super) fn pack(
        &self,
        bytes: &[u8],
        first: usize,
        out: &mut [u8],
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<(), Misfit> {
        let panels = out.par_chunks_mut(self.panel_bytes()).enumerate();
        let misfits = panels.map_init(
            || vec![[0.0; GROUP]; PANEL_ROWS],
            |rows, (panel, out)| {
                for (group, out) in out.chunks_exact_mut(self.quant.group_bytes()).enumerate() {
                    self.read(bytes, first + panel, group, rows);
                    if !self.write(rows, out) {
                        return Some(self.misfit(rows, first + panel, group));
                    }
                }
                progress(out.len());
                None
            },
        );
        misfits.find_map_first(|misfit| misfit).map_or(Ok(()), Err)
    }

    /// The floats of one group of a panel, zeros beyond the matrix' edges.
    fn read(&self, bytes: &[u8], panel: usize, group: usize, out: &mut [[f32; GROUP]]) {
        let size = self.dtype.size();
        let columns = (self.k - group * GROUP).min(GROUP);
        let step = self.place(0, 1);
        for (lane, out) in out.iter_mut().enumerate() {
            let row = panel * PANEL_ROWS + lane;
            *out = [0.0; GROUP];
            if row >= self.rows {
                continue;
            }
            let first = self.place(row, group * GROUP);
            for (i, out) in out[..columns].iter_mut().enumerate() {
                let at = first + i * step;
                *out = self.dtype.read(&bytes[at..at + size]);
            }
        }
    }

    /// Where a value lies, in bytes from the first one.
    pub(super) fn place(&self, row: usize, column: usize) -> usize {
        let (size, stride) = (self.dtype.size(), self.row_stride_bytes);
        let row = self.blocks.map_or(row, |b| b.place(row));
        match self.transposed {
            true => column * stride + row * size,
            false => row * stride + column * size,
        }
    }

    /// Rounds one group of a panel; whether all of it fits.
    fn write(&self, rows: &[[f32; GROUP]], out: &mut [u8]) -> bool {
        for (lane, x) in rows.iter().enumerate() {
            let Some(rounded) = round(self.quant, x) else {
                return false;
            };
            Quant::put_scale(out, lane, rounded.scale);
            for (i, q) in rounded.q.iter().enumerate() {
                self.quant.put(out, lane, i, i32::from(*q));
            }
        }
        true
    }

    /// The first value of a group that does not fit, which there is.
    #[cold]
    fn misfit(&self, rows: &[[f32; GROUP]], panel: usize, group: usize) -> Misfit {
        let values = rows.as_flattened();
        let at = values.iter().position(|v| !fits(self.quant, *v));
        let at = at.expect("a group that is not rounded has such a value");
        Misfit {
            row: panel * PANEL_ROWS + at / GROUP,
            column: group * GROUP + at % GROUP,
            value: values[at],
        }
    }
}
