//! Why a model cannot be compiled or opened.

use graver_runtime::Error;

use crate::artifact::JitError;
use crate::shard::RanksError;
use crate::weights::WeightsError;

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Code.
    #[error(transparent)]
    Jit(#[from] JitError),
    /// Ranks.
    #[error(transparent)]
    Ranks(#[from] PlanRanksError),
    /// The runtime.
    #[error(transparent)]
    Runtime(#[from] Error),
}

/// Why a model cannot be planned for ranks.
#[derive(Debug, thiserror::Error)]
pub enum PlanRanksError {
    /// Their number.
    #[error(transparent)]
    Ranks(#[from] RanksError),
    /// Their weights.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
