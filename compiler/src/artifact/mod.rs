//! From planned programs to something that runs: code in memory ([`jit`]), or files ([`write()`]): an executable, a shared
//! library, or an object with the runtime as an archive beside it.
//!
//! A file is linked by the system's `cc` from the object that Cranelift makes and the runtime's archive, which this program
//! carries. Weights and tokenizer are appended to the linked code, or go into a file of their own; they never pass
//! through the object or the linker. All files appear whole, or not at all; the same input gives the same bytes.

mod append;
mod code_memory;
mod error;
mod jit;
mod layout;
mod link;
mod listing;
mod object;
mod options;
mod perf_map;
mod pieces;
mod pkg_config;
mod placing;
mod planned;
mod staging;
mod write;

pub use error::{CompileError, JitError};
pub use jit::{check_jit, jit};
pub use link::{has_mpi, link_arguments};
pub use listing::ListingError;
pub(crate) use listing::listings;
pub use options::{ARCHIVE, ArtifactKind, Modes, Placement, WriteOptions, Written};
pub use planned::PlannedModel;
pub use write::write;

pub(crate) use jit::weight_source;
