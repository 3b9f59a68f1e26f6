//! Code with what it was compiled for.

use std::any::Any;
use std::sync::Arc;

use crate::abi::{Entry, Manifest};
use crate::checked::ProgramAccess;

/// Two entry points, and what they were compiled for.
#[derive(Clone)]
pub struct Program {
    pub(super) decode: Entry,
    pub(super) prefill: Entry,
    pub(super) manifest: Arc<Manifest>,
    pub(super) checks: Option<Arc<[ProgramAccess; 2]>>,
    #[expect(dead_code, reason = "holds the code in place")]
    keep: Arc<dyn Any + Send + Sync>,
}

impl Program {
    /// A program whose code stays in place while `keep` lives (for code of the running executable, `Arc::new(())`).
    ///
    /// # Safety
    /// `decode` and `prefill` are what the compiler made together with `manifest`, or behave like it. Called on `n_threads`
    /// threads at once with the same [`StepContext`](crate::abi::StepContext), they
    /// - read and write only what the context points to, at the sizes the context and `manifest` state, and read only the
    ///   `bytes` of each weight slot;
    /// - call the barrier equally often on every thread, and write nothing that another thread uses between two barriers;
    /// - write all of `logits`, and return.
    pub unsafe fn new(
        decode: Entry,
        prefill: Entry,
        manifest: Arc<Manifest>,
        keep: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Program {
            decode,
            prefill,
            manifest,
            checks: None,
            keep,
        }
    }

    /// The same program, whose code asks before every access: what the kernels of decode and prefill may touch.
    pub fn with_checks(self, decode: ProgramAccess, prefill: ProgramAccess) -> Program {
        Program {
            checks: Some(Arc::new([decode, prefill])),
            ..self
        }
    }

    /// The same code for another part of a model.
    ///
    /// # Safety
    /// As of [`Program::new`] for the two entries and this manifest.
    pub unsafe fn with_manifest(&self, manifest: Arc<Manifest>) -> Program {
        Program {
            manifest,
            ..self.clone()
        }
    }

    /// What the program says about itself.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }
}
