//! What artifacts are made from.

use std::path::PathBuf;
use std::sync::Arc;

use graver_runtime::abi::Manifest;

use crate::codegen::{Planned, Target};

/// Both programs of a model as code is made from them, and what the artifact says about itself.
#[derive(Clone, Debug)]
pub struct PlannedModel {
    /// Decode and prefill.
    pub programs: [Planned; 2],
    /// Sizes, kernels, states and weight slots; weights where they are now.
    pub manifest: Arc<Manifest>,
    /// The processor.
    pub target: Target,
    /// File in which code made in memory lists its symbols, for `perf`.
    pub symbols: Option<PathBuf>,
}

impl PlannedModel {
    /// Whether Cranelift's verifier looks at the code.
    pub(super) fn is_verified(&self) -> bool {
        cfg!(debug_assertions) || self.programs.iter().any(|p| p.instruments.verified)
    }
}
