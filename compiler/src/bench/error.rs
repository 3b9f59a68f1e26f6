//! Why nothing was measured.

use graver_runtime::Error;

use crate::artifact::JitError;
use crate::driver::OpenError;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Code.
    #[error(transparent)]
    Jit(#[from] JitError),
    /// Ranks.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] Error),
    /// A point that the model has no room for.
    #[error(
        "{tokens} tokens after {depth} others do not fit the model's context of {context}: choose a smaller --prompt, --gen or --depth"
    )]
    Context {
        /// Tokens of the point.
        tokens: usize,
        /// Its depth.
        depth: usize,
        /// Positions of the model.
        context: usize,
    },
}
