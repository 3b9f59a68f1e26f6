//! How a matrix is packed: its floats as a slot reads them, rounded in groups, the integers laid out in panels.
//!
//! The pass over a group that finds its scale also finds what no scale says.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use graver_runtime::abi::quant::{GROUP, PANEL_ROWS, SUPER_GROUPS};
use graver_runtime::abi::{Dtype, Quant};
use rayon::prelude::*;

use super::minima;
use super::round::{fits, round};
use super::view::View;
use crate::spec::model::{Blocks, Weight};

/// A matrix to be packed: how its floats are read, and where its panels go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PackJob {
    pub(super) reading: Reading,
    /// What errors of each column count, where that has been measured.
    pub(super) worth: Option<Arc<[f32]>>,
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

    /// Writes whole panels from number `first` on; `bytes` are those of the matrix' floats, and errors of a column count what it is `worth`.
    /// The first value that does not fit is the same for any number of threads.
    pub(super) fn pack(
        &self,
        bytes: &[u8],
        worth: Option<&[f32]>,
        first: usize,
        out: &mut [u8],
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<(), Misfit> {
        let groups = self.k.div_ceil(GROUP);
        let panels = out.par_chunks_mut(self.panel_bytes()).enumerate();
        let misfits = panels.map_init(
            || vec![[0.0; GROUP]; PANEL_ROWS * self.quant.super_groups()],
            |values, (panel, out)| {
                for g in (0..groups).step_by(self.quant.super_groups()) {
                    let super_block = g..groups.min(g + self.quant.super_groups());
                    self.read(bytes, first + panel, super_block.clone(), values);
                    if !self.write(values, super_block.clone(), worth, out) {
                        return Some(self.misfit(values, first + panel, super_block));
                    }
                }
                progress(out.len());
                None
            },
        );
        misfits.find_map_first(|misfit| misfit).map_or(Ok(()), Err)
    }

    /// The floats of some groups of a panel, row after row, zeros beyond the matrix' edges.
    fn read(&self, bytes: &[u8], panel: usize, groups: Range<usize>, out: &mut [[f32; GROUP]]) {
        let size = self.dtype.size();
        let step = self.place(0, 1);
        for (lane, out) in out.chunks_mut(groups.len()).take(PANEL_ROWS).enumerate() {
            let row = panel * PANEL_ROWS + lane;
            for (out, group) in out.iter_mut().zip(groups.clone()) {
                *out = [0.0; GROUP];
                if row >= self.rows {
                    continue;
                }
                let columns = (self.k - group * GROUP).min(GROUP);
                let first = self.place(row, group * GROUP);
                for (i, out) in out[..columns].iter_mut().enumerate() {
                    let at = first + i * step;
                    *out = self.dtype.read(&bytes[at..at + size]);
                }
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

    /// Rounds some groups of a panel, a super-block at most; whether all of it fits.
    fn write(
        &self,
        values: &[[f32; GROUP]],
        groups: Range<usize>,
        worth: Option<&[f32]>,
        panel: &mut [u8],
    ) -> bool {
        let rows = values.chunks(groups.len()).take(PANEL_ROWS).enumerate();
        match self.quant {
            Quant::Q4Super => {
                let worth = self.worth_of(groups.clone(), worth);
                for (lane, x) in rows {
                    if !x.as_flattened().iter().all(|v| fits(self.quant, *v)) {
                        return false;
                    }
                    let rounded = minima::round(x, &worth[..x.len()]);
                    rounded.put(panel, groups.clone(), lane);
                }
            }
            Quant::Q8
            | Quant::Q4
            | Quant::Q4Min
            | Quant::Q8Min
            | Quant::Q8Half
            | Quant::Q4Narrow => {
                for (lane, x) in rows {
                    let Some(rounded) = round(self.quant, &x[0]) else {
                        return false;
                    };
                    let group = &mut panel[self.quant.group_at(groups.start)..];
                    Quant::put_scale(group, lane, rounded.scale);
                    self.quant.put_group(panel, lane, groups.start, &rounded.q);
                }
            }
        }
        true
    }

    /// What errors of the columns of some groups count: 1 each where nobody has measured it, and nothing beyond the edge.
    fn worth_of(
        &self,
        groups: Range<usize>,
        worth: Option<&[f32]>,
    ) -> [[f32; GROUP]; SUPER_GROUPS] {
        let mut out = [[0.0; GROUP]; SUPER_GROUPS];
        let columns = groups.start * GROUP..self.k.min(groups.end * GROUP);
        for (out, column) in out.as_flattened_mut().iter_mut().zip(columns) {
            *out = worth.map_or(1.0, |worth| worth[column]);
        }
        out
    }

    /// The first value of some groups that does not fit, which there is.
    #[cold]
    fn misfit(&self, values: &[[f32; GROUP]], panel: usize, groups: Range<usize>) -> Misfit {
        let row_len = groups.len() * GROUP;
        let values = &values.as_flattened()[..PANEL_ROWS * row_len];
        let at = values.iter().position(|v| !fits(self.quant, *v));
        let at = at.expect("groups that are not rounded have such a value");
        Misfit {
            row: panel * PANEL_ROWS + at / row_len,
            column: groups.start * GROUP + at % row_len,
            value: values[at],
        }
    }
}
