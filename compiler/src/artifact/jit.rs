//! Code in memory, run at once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{ModuleError, default_libcall_names};
use graver_runtime::abi::{Entry, Manifest};
use graver_runtime::files::shown;
use graver_runtime::mapped::{Blob, WeightSource};
use graver_runtime::session::Program;

use super::{code_memory, perf_map};
use crate::access::access;
use crate::codegen::{self, Planned, Target, TargetError};
use crate::weights::Weights;

/// Why code could not be made in memory.
#[derive(Debug, thiserror::Error)]
pub enum JitError {
    /// The processor.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The list of symbols.
    #[error(
        "{}: the symbols cannot be written: {source}; remove the file, or unset GRAVER_PERF_MAP",
        shown(path)
    )]
    PerfMap {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A system whose rules forbid it.
    #[error(
        "this system forbids running code that was made in memory ({source}); `graver compile` makes an executable, which runs here"
    )]
    Forbidden {
        /// What the system said.
        source: std::io::Error,
    },
    /// No memory for the code.
    #[error("cannot reserve {bytes} bytes for code: {source}; raise the limit on memory")]
    NoMemory {
        /// Bytes asked for.
        bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// Cranelift.
    #[error("code generation failed: {0}")]
    Module(#[from] Box<ModuleError>),
}

/// Whether code can be made in memory here at all: before long work whose only use is to run it.
///
/// # Errors
/// Systems that forbid it, and too little memory.
pub fn check_jit() -> Result<(), JitError> {
    code_memory::check()
}

/// Keeps the code in place; never freed, as long as the value lives.
struct Code(#[expect(dead_code, reason = "holds the code in place")] Mutex<JITModule>);

/// Compiles both programs for this processor; lists their symbols in a file for `perf`, where one is given.
///
/// # Errors
/// Systems that forbid it, what Cranelift reports, and a list that cannot be written.
pub fn jit(
    planned: &[Planned; 2],
    manifest: Arc<Manifest>,
    symbols: Option<&Path>,
) -> Result<Program, JitError> {
    check_jit()?;
    let verified = planned.iter().any(|p| p.instruments.verified);
    let isa = Target::named("native")?.isa_with(false, verified)?;
    let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
    let arena = ArenaMemoryProvider::new_with_size(code_memory::ARENA);
    let arena = arena.map_err(|e| JitError::NoMemory {
        bytes: code_memory::ARENA,
        source: std::io::Error::other(e),
    })?;
    builder.memory_provider(Box::new(arena));
    let mut module = JITModule::new(builder);
    let decode = codegen::emit(&mut module, &planned[0], "graver_decode", None)?;
    let prefill = codegen::emit(&mut module, &planned[1], "graver_prefill", None)?;
    module.finalize_definitions().map_err(Box::new)?;
    if let Some(path) = symbols {
        perf_map::write(path, &module)?;
    }
    let [decode, prefill] = [decode, prefill].map(|id| {
        let code = module.get_finalized_function(id);
        // SAFETY: both were declared with an entry's two pointer-sized arguments and the platform's calling convention,
        // and `Code` keeps the module, hence the code, alive.
        unsafe { std::mem::transmute::<*const u8, Entry>(code) }
    });
    // SAFETY: both entries come from the graphs that the manifest was made from; every access of generated code is at
    // offsets from the memory plan and the weight views that the manifest states.
    let program = unsafe {
        Program::new(
            decode,
            prefill,
            manifest,
            Arc::new(Code(Mutex::new(module))),
        )
    };
    Ok(match planned.iter().all(|p| p.instruments.checks) {
        true => program.with_checks(access(&planned[0]), access(&planned[1])),
        false => program,
    })
}

struct BlobOf(Arc<Weights>, usize);

impl AsRef<[u8]> for BlobOf {
    fn as_ref(&self) -> &[u8] {
        self.0.blobs[self.1].as_bytes()
    }
}

/// The weights as the runtime takes them: the same bytes, in place.
pub fn weight_source(weights: &Arc<Weights>) -> WeightSource {
    let blob = |i: usize| Blob::shared(Arc::new(BlobOf(Arc::clone(weights), i)));
    WeightSource {
        blobs: (0..weights.blobs.len()).map(blob).collect(),
    }
}
