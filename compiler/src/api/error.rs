//! Everything that can go wrong between a path and a text.

use graver_runtime::artifact::LoadError as ArtifactError;
use graver_runtime::sampling::SamplingError;
use graver_runtime::tokenizer::TokenizerError;
use graver_runtime::writing::WritingError;

use super::model_error::ModelError;
use crate::artifact::JitError;
use crate::codegen::TargetError;
use crate::driver::{LoadError, NothingInBf16, OpenError};
use crate::named::NamedError;
use crate::passes::UnknownPass;
use crate::spec;
use crate::text::SentencePieceError;
use crate::verify::oracle::OracleError;

/// What went wrong. Messages name the place, what was found, what was expected, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path or name that is no model.
    #[error(transparent)]
    Named(#[from] NamedError),
    /// A choice that does not go with the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A spec or a configuration.
    #[error(transparent)]
    Spec(#[from] spec::Error),
    /// A checkpoint.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A pass that does not exist.
    #[error(transparent)]
    Pass(#[from] UnknownPass),
    /// The processor.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Code in memory.
    #[error(transparent)]
    Jit(#[from] JitError),
    /// A session that was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] graver_runtime::Error),
    /// A compiled library.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// Files of a tokenizer.
    #[error(transparent)]
    Text(#[from] SentencePieceError),
    /// Text and token ids.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// How tokens are chosen.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Text that was being written.
    #[error(transparent)]
    Writing(#[from] WritingError),
    /// The comparison with the interpreter.
    #[error(transparent)]
    Verify(#[from] OracleError),
    /// Activations to be rounded for no weights.
    #[error(transparent)]
    Activations(#[from] NothingInBf16),
    /// A comparison that rounding would fail.
    #[error(
        "verify compares with the interpreter, to a thousandth: use no quantisation, activations in f32 and an f32 KV cache; `graver verify` measures what those lose"
    )]
    Rounded,
}
