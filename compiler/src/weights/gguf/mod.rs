//! GGUF files: bytes in; checked metadata and tensors out, none of them copied.
//!
//! A file is a magic, a version, two counts, the metadata (keys with typed values), the list of tensors (name, dimensions,
//! type, offset), and the tensors' bytes from the next multiple of the alignment on. Versions 2 and 3 of little-endian
//! files are read. [`parse_gguf`] checks one file's bytes, so that what is handed out lies inside them; [`GgufModel::open`]
//! maps a file, or all files of a model that is split into several. Nothing here knows what a key means, but for those of
//! the container itself (`general.alignment`, `split.*`).

mod contents;
mod cursor;
pub(super) mod error;
mod facts;
mod header;
mod metadata;
mod model;
mod split;

pub use contents::TypeCount;
pub use error::{GgufError, SplitError};
pub use header::{GgufHeader, GgufTensor, parse_gguf};
pub use metadata::{Item, List, Metadata, Scalar};
pub use model::{GgufFile, GgufModel};
