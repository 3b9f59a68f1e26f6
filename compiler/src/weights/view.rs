//! Where the bytes of tensors lie, and what the slots of the pointer table read of them.

use graver_runtime::abi::Encoding;

/// A tensor as it is held: the whole of what the checkpoint stores under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tensor {
    /// Name in the checkpoint.
    pub name: String,
    /// Index into `Weights::blobs`.
    pub blob: usize,
    /// First byte in the blob; any alignment.
    pub offset_bytes: usize,
    /// Length in bytes.
    pub bytes: usize,
}

/// What one weight slot reads.
///
/// A matrix `[out, in]` is stored row by row, rows `row_stride_bytes` apart: `out` rows of `in` elements, or, where
/// `transposed`, `in` rows of `out` elements; quantised, in panels of rows. A vector is one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Slot inside its layer: `attention.q.weight`.
    pub slot: String,
    /// Tensor it lies in, by its name in the checkpoint.
    pub name: String,
    /// Index into `Weights::tensors`.
    pub tensor: usize,
    /// Index into `Weights::blobs`.
    pub blob: usize,
    /// First byte in the blob; any alignment.
    pub offset_bytes: usize,
    /// Encoding as held: always f32 for vectors.
    pub encoding: Encoding,
    /// Bytes from one stored row, or panel of rows, to the next.
    pub row_stride_bytes: usize,
    /// Bytes from the first element to the last.
    pub bytes: usize,
    /// Stored as `[in, out]`.
    pub transposed: bool,
}
