//! Graver compiles a language model, described by a JSON spec, into a native forward pass.
//!
//! ```
//! use graver::runtime::session::SessionOptions;
//! use graver::{GenerateOptions, Model, Options};
//!
//! // A checkpoint folder, a .gguf file, a spec, or `Model::built_in()`.
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/model");
//! let model = Model::open(path)?;
//! let compiled = model.compile(Options::default())?;
//! let mut session = compiled.session(SessionOptions::default())?;
//! println!("{}", session.generate("In the beginning", &GenerateOptions::greedy(16))?);
//!
//! // Logits of every token, [tokens, vocab].
//! let tokens = session.encode("And God said")?;
//! let logits = session.logits(&tokens)?;
//! assert_eq!(logits.n_rows(), tokens.len());
//! # Ok::<(), graver::Error>(())
//! ```
//!
//! [`Model`], [`Options`], [`Compiled`], [`Session`] and [`Artifact`] are the interface; `examples/` shows more of it. All modules are the
//! compiler's own stages, in the order of `ARCHITECTURE.md`, for those who want to look inside or build on one of them: they change from
//! version to version. [`runtime`] is the library that compiled models stand on.

pub mod access;
mod agree;
mod api;
pub mod artifact;
pub mod bench;
pub mod codegen;
pub mod comparison;
pub mod contents;
pub mod cost;
pub mod disasm;
pub mod divergence;
pub mod driver;
pub mod dump;
pub mod embedded;
pub mod explain;
pub mod explore;
pub mod graph;
mod history;
pub mod interp;
mod kind_names;
pub mod mechanisms;
pub mod memory;
pub mod named;
pub mod passes;
pub mod perplexity;
pub mod report;
pub mod schedule;
pub mod select;
pub mod shard;
pub mod spec;
pub mod summary;
pub mod text;
mod units;
pub mod verify;
mod walk;
pub mod weights;

pub use api::{
    Artifact, Compiled, Error, GenerateOptions, Model, ModelError, Options, Session, Stream,
};
pub use graver_runtime as runtime;

/// The version of this crate, with the commit that it was built from where that is known: `0.1.0 (0a1b2c3d4e5f)`.
pub const VERSION: &str = include_str!(concat!(env!("OUT_DIR"), "/version.txt"));
/// What it was built for, as Rust calls it.
pub const TARGET: &str = env!("GRAVER_TARGET");
