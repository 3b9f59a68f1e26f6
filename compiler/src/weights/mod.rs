//! Weights: from a checkpoint folder, or from a seed, to the bytes behind every weight slot of a model.
//!
//! In goes a folder ([`Checkpoint::open`]) or a seed (`RandomWeights`) and a bound [`Model`](crate::spec::model::Model); out
//! comes [`Weights`]: one [`View`] per slot, in the order in which generated code indexes slots (embedding, layer
//! after layer, head; inside each the order of the steps). Matrices are reached where the checkpoint's mapped files have
//! them, never copied; vectors are converted to f32, so that generated code sees one type of norm gain and bias.
//!
//! Nothing here trusts a file: every offset is checked against the file's length before a view is handed out, and every
//! mistake names the file or tensor, what was found and what was expected.

mod blobs;
mod blocked;
mod bytes;
mod checkpoint;
mod drawing;
mod error;
mod file;
mod file_error;
mod finite;
mod foreign;
mod found;
mod gguf;
mod header;
mod index;
mod integer_matrix;
mod integer_rows;
mod integers;
mod joined;
mod kinds;
mod lane;
mod left_over;
mod minima;
mod name;
mod nearest;
mod pack;
mod published;
mod quant_plan;
mod quantize;
mod random;
mod reading;
mod resolve;
mod round;
mod settings;
mod source;
mod storage;
mod view;
mod whole;
mod widen;

pub use blobs::{Weights, Widened};
pub use checkpoint::Checkpoint;
pub use error::{TensorPlace, WeightsError};
pub use file::{FileBytes, SafetensorsFile, StoredTensor};
pub use file_error::{HeaderError, IndexError, Unplaced};
pub use foreign::Foreign;
pub use gguf::{
    GgufError, GgufFile, GgufHeader, GgufModel, GgufTensor, Item, List, Metadata, Scalar,
    SplitError, TypeCount, parse_gguf,
};
pub use header::{HeaderTensor, parse_header};
pub use quant_plan::{NoRule, QuantChoice, QuantPlan, QuantRule, ROUNDED_TO, rounded_to};
pub use storage::{FloatType, StorageType};
pub use view::View;

pub(crate) use blobs::Blob;
pub(crate) use bytes::ByteSource;
pub(crate) use kinds::split_kinds;
pub(crate) use quantize::{plan_quantized, quantize, quantize_when_written};
pub(crate) use random::RandomWeights;
#[cfg(test)]
pub(crate) use source::resolve;
pub(crate) use source::{Source, resolve_with};
pub(crate) use view::Tensor;

#[cfg(test)]
mod tests;
