//! Ctrl-C while the model answers stops the answer, not the program.

use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// While it lives, Ctrl-C is only noted.
pub(super) struct Watch {
    before: libc::sigaction,
}

impl Watch {
    /// From now on.
    pub(super) fn begin() -> Watch {
        INTERRUPTED.store(false, Ordering::Relaxed);
        // SAFETY: plain numbers and masks, for which zeros are a value; the handler only stores to an atomic, which is allowed
        // at any moment; both pointers are to locals.
        let before = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut before: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(libc::SIGINT, &raw const action, &raw mut before);
            before
        };
        Watch { before }
    }

    /// Whether it was pressed.
    pub(super) fn is_interrupted(&self) -> bool {
        INTERRUPTED.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: what was there before is put back; the pointer is to a field.
        unsafe { libc::sigaction(libc::SIGINT, &raw const self.before, std::ptr::null_mut()) };
    }
}

extern "C" fn note(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}
