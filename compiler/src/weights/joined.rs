//! Matrices whose heads are put together from several tensors, each of which has some rows of every head.

use graver_runtime::abi::Dtype;

use super::blocked::Rows;
use super::checkpoint::Checkpoint;
use super::error::WeightsError;
use super::header::{HeaderTensor, weight_type};
use super::storage::StorageType;

/// All tensors of such a matrix, checked.
#[derive(Clone, Debug)]
pub(super) struct Joints {
    /// Inputs of the matrix.
    pub(super) columns: usize,
    pub(super) parts: Vec<Joint>,
}

/// A tensor `[heads, rows, in]`, or `[heads, in, rows]`.
#[derive(Clone, Debug)]
pub(super) struct Joint {
    pub(super) name: String,
    pub(super) rows: usize,
    pub(super) transposed: bool,
    pub(super) elements: Elements,
}

/// How the values of a tensor are stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Elements {
    Float(Dtype),
    Blocked(&'static StorageType),
}

/// A value that is not finite: of which tensor, its index there, and what it is.
pub(super) type Misfit = (usize, usize, f32);

/// Writes floats of any type to `out` as f32.
pub(super) fn floats(dtype: Dtype, bytes: &[u8], out: &mut [u8]) {
    let values = bytes.chunks_exact(dtype.size());
    for (out, value) in out.chunks_exact_mut(4).zip(values) {
        out.copy_from_slice(&dtype.read(value).to_le_bytes());
    }
}

impl Elements {
    /// Those of a tensor that can be read.
    pub(super) fn of(
        header: &HeaderTensor,
        storage: Option<&'static StorageType>,
        label: &str,
    ) -> Result<Elements, WeightsError> {
        let wrong = |found: String| WeightsError::WrongType {
            tensor: header.name.clone(),
            slot: label.to_string(),
            found,
        };
        match storage {
            Some(storage) if storage.is_read() => Ok(Elements::Blocked(storage)),
            Some(storage) => Err(wrong(storage.name.into())),
            None => match weight_type(header.dtype) {
                Some(dtype) => Ok(Elements::Float(dtype)),
                None => Err(wrong(header.dtype.to_string())),
            },
        }
    }
}

impl Joints {
    /// Bytes of a head in f32.
    pub(super) fn head_bytes(&self) -> usize {
        let rows: usize = self.parts.iter().map(|part| part.rows).sum();
        rows * self.columns * size_of::<f32>()
    }

    /// Writes the values from head `first` on to `out` as f32.
    pub(super) fn floats(
        &self,
        checkpoint: &Checkpoint,
        first: usize,
        out: &mut [u8],
    ) -> Result<(), Misfit> {
        for (i, mut head) in out.chunks_exact_mut(self.head_bytes()).enumerate() {
            for (p, part) in self.parts.iter().enumerate() {
                let (own, rest) = head.split_at_mut(part.rows * self.columns * size_of::<f32>());
                let read = part.head(checkpoint, first + i, self.columns, own);
                read.map_err(|(index, found)| (p, index, found))?;
                head = rest;
            }
        }
        Ok(())
    }
}

impl Joint {
    /// The rows of a head as f32.
    fn head(
        &self,
        checkpoint: &Checkpoint,
        head: usize,
        columns: usize,
        out: &mut [u8],
    ) -> Result<(), (usize, f32)> {
        let stored = &checkpoint.tensors[&self.name];
        let bytes = checkpoint.files[stored.file].bytes(&stored.header);
        let first = head * self.rows * columns;
        match self.elements {
            Elements::Blocked(storage) => {
                let rows = Rows::of(storage, bytes, &stored.header.shape);
                rows.floats(first / storage.block, out)?;
            }
            Elements::Float(dtype) => floats(dtype, &bytes[first * dtype.size()..], out),
        }
        if self.transposed {
            let as_stored = out.to_vec();
            let (values, _) = as_stored.as_chunks::<4>();
            for (i, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                *out = values[i % columns * self.rows + i / columns];
            }
        }
        Ok(())
    }
}
