//! Code in memory, run at once.

use std::sync::{Arc, Mutex};

use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::default_libcall_names;
use graver_runtime::abi::Entry;
use graver_runtime::mapped::{Blob, WeightSource};
use graver_runtime::session::Program;

use super::error::JitError;
use super::planned::PlannedModel;
use super::{code_memory, perf_map};
use crate::access::access;
use crate::codegen;
use crate::weights::Weights;

/// Whether code can be made in memory here at all: before long work whose only use is to run it.
///
/// # Errors
/// Systems that forbid it, and too little memory.
pub fn check_jit() -> Result<(), JitError> {
    code_memory::check()
}

/// Keeps the code in place; never freed, as long as the value lives.
struct Code(#[expect(dead_code, reason = "holds the code in place")] Mutex<JITModule>);

/// Compiles both programs in memory. A session refuses code that is for another processor than this one.
///
/// # Errors
/// Systems that forbid it, what Cranelift reports, and a list of symbols that cannot be written.
pub fn jit(model: &PlannedModel) -> Result<Program, JitError> {
    check_jit()?;
    let isa = model.target.isa_with(false, model.is_verified())?;
    let mut builder = JITBuilder::with_isa(isa, default_libcall_names());
    let arena = ArenaMemoryProvider::new_with_size(code_memory::ARENA);
    let arena = arena.map_err(|e| JitError::NoMemory {
        bytes: code_memory::ARENA,
        source: std::io::Error::other(e),
    })?;
    builder.memory_provider(Box::new(arena));
    let mut module = JITModule::new(builder);
    let decode = codegen::emit(&mut module, &model.programs[0], "graver_decode", None)?;
    let prefill = codegen::emit(&mut module, &model.programs[1], "graver_prefill", None)?;
    module.finalize_definitions().map_err(Box::new)?;
    if let Some(path) = &model.symbols {
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
            Arc::clone(&model.manifest),
            Arc::new(Code(Mutex::new(module))),
        )
    };
    Ok(match model.programs.iter().all(|p| p.instruments.checks) {
        true => program.with_checks(access(&model.programs[0]), access(&model.programs[1])),
        false => program,
    })
}

struct BlobOf<W>(Arc<W>, usize);

impl<W: AsRef<Weights>> AsRef<[u8]> for BlobOf<W> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_ref().blobs[self.1].as_bytes()
    }
}

/// The weights as the runtime takes them: the same bytes, in place.
pub(crate) fn weight_source<W>(weights: &Arc<W>) -> WeightSource
where
    W: AsRef<Weights> + Send + Sync + 'static,
{
    let blob = |i: usize| Blob::shared(Arc::new(BlobOf(Arc::clone(weights), i)));
    WeightSource {
        blobs: (0..weights.as_ref().as_ref().blobs.len())
            .map(blob)
            .collect(),
    }
}
