//! Choices of a compilation, all of which are made before it begins.

use std::path::PathBuf;

use graver_runtime::abi::CacheType;
use graver_runtime::checked::CheckOptions;
use graver_runtime::kernels::Record;

use crate::codegen::{Instruments, Target, TargetError};
use crate::passes::PassOptions;

/// Choices of a compilation.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    /// Which passes run.
    pub passes: PassOptions,
    /// What keys and values are kept in.
    pub cache: CacheType,
    /// Processor.
    pub target: Target,
    /// What the code does besides computing: time stamps and checks, and whether Cranelift's verifier looks at it.
    pub instruments: Instruments,
    /// Which kernels are faster on which processors, for the manifest.
    pub tuned: Record,
    /// File in which code made in memory lists its symbols, for `perf`.
    pub symbols: Option<PathBuf>,
}

impl CompileOptions {
    /// Code that only computes.
    pub fn new(passes: PassOptions, cache: CacheType, target: Target) -> CompileOptions {
        CompileOptions {
            passes,
            cache,
            target,
            instruments: Instruments::default(),
            tuned: Record::default(),
            symbols: None,
        }
    }

    /// Code for this processor with all passes, which keeps keys and values in f32.
    ///
    /// # Errors
    /// Machines that Cranelift does not know.
    pub fn native() -> Result<CompileOptions, TargetError> {
        let (passes, target) = (PassOptions::default(), Target::named("native")?);
        Ok(CompileOptions::new(passes, CacheType::F32, target))
    }

    /// What a session checks if the code asks before every access: everything.
    pub fn checks(&self) -> Option<CheckOptions> {
        self.instruments.checks.then_some(CheckOptions::ALL)
    }
}
