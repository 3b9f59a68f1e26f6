//! Packs matrices, in memory or while they are written. One that cannot be packed is refused, by the name of its tensor and
//! the place there.

use std::io::{self, Write};

use graver_runtime::abi::Dtype;

use super::blobs::{Blob, Weights};
use super::error::{TensorPlace, WeightsError};
use super::reading::{Misfit, PackJob, Packing, Reading};
use super::round::largest_magnitude;
use super::view::Tensor;

impl Packing {
    /// Packs the matrix at `offset` into `out`, some `piece` bytes at once. A matrix that cannot be packed is a
    /// [`WeightsError`] inside the error.
    pub(super) fn write(
        &self,
        weights: &Weights,
        offset: usize,
        piece: usize,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let PackJob { reading, worth, to } = &self.0[&offset];
        let tensor = &weights.tensors[reading.tensor];
        let drawn = weights.drawn(tensor, piece)?;
        let (start, end) = (reading.offset_bytes, reading.offset_bytes + reading.bytes);
        let bytes = match &drawn {
            Some(all) => &all[start - tensor.offset_bytes..end - tensor.offset_bytes],
            None => &weights.blobs[reading.blob].as_bytes()[start..end],
        };
        let panels_at_once = (piece / reading.panel_bytes()).max(1);
        let mut buffer = vec![0; to.len().min(panels_at_once * reading.panel_bytes())];
        let (mut done, mut first) = (0, 0);
        while done < to.len() {
            let n = buffer.len().min(to.len() - done);
            let packed = reading.pack(bytes, worth.as_deref(), first, &mut buffer[..n], &|_| {});
            packed.map_err(|misfit| io::Error::other(reading.refuse(weights, &misfit)))?;
            out.write_all(&buffer[..n])?;
            (done, first) = (done + n, first + panels_at_once);
        }
        weights.blobs[reading.blob].release(start, end);
        Ok(())
    }
}

impl PackJob {
    /// Writes the panels to `out`, which is as long as `to`; `progress` hears how many more bytes are written.
    ///
    /// # Errors
    /// A value that is not finite, or too large for the type.
    pub(crate) fn pack(
        &self,
        weights: &Weights,
        out: &mut [u8],
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<(), WeightsError> {
        let reading = &self.reading;
        let bytes =
            &weights.blobs[reading.blob].as_bytes()[reading.offset_bytes..][..reading.bytes];
        let packed = reading.pack(bytes, self.worth.as_deref(), 0, out, progress);
        packed.map_err(|misfit| reading.refuse(weights, &misfit))
    }
}

impl Reading {
    fn refuse(&self, weights: &Weights, misfit: &Misfit) -> WeightsError {
        let at = self.offset_bytes + self.place(misfit.row, misfit.column);
        let place = weights.place(self.tensor, self.row_stride_bytes, self.dtype, at);
        match misfit.value.is_finite() {
            true => WeightsError::TooLarge {
                place,
                found: misfit.value,
                quant: self.quant,
                limit: largest_magnitude(self.quant),
            },
            false => WeightsError::NotFinite {
                place,
                found: misfit.value,
            },
        }
    }
}

impl Weights {
    /// The place of the value at byte `at` of its blob, in a tensor with rows of `row_bytes`.
    pub(super) fn place(
        &self,
        tensor: usize,
        row_bytes: usize,
        dtype: Dtype,
        at: usize,
    ) -> TensorPlace {
        let tensor = &self.tensors[tensor];
        let at = at - tensor.offset_bytes;
        TensorPlace {
            tensor: tensor.name.clone(),
            row: at / row_bytes,
            column: at % row_bytes / dtype.size(),
        }
    }

    /// All of a tensor that is drawn only where it is written; none where its bytes are there.
    fn drawn(&self, tensor: &Tensor, piece: usize) -> io::Result<Option<Vec<u8>>> {
        let Blob::Recipe(recipe) = &*self.blobs[tensor.blob] else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(tensor.bytes)?;
        recipe.write(tensor, piece, &mut bytes)?;
        Ok(Some(bytes))
    }
}
