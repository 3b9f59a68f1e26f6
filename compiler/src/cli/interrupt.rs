//! Signals: interruptions (Ctrl-C, or a request to end) of commands that have something to clear up, and readers that leave.
//!
//! After [`catch`] the first one is only noted, for [`check`] to report as an error that takes the usual way out; the second
//! one ends the process as ever.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on, notes an interruption instead of ending the process.
pub(crate) fn catch() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: plain numbers and masks, for which zeros are a value.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESETHAND | libc::SA_RESTART;
        // SAFETY: the handler only stores to an atomic, which is allowed at any moment; the old action is not asked for.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

/// From now on, the process ends silently once the reader of its output has gone, as other commands in a pipe do.
pub(crate) fn end_with_reader() {
    // SAFETY: the default action of a signal may always be restored.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// An error once the process has been interrupted.
pub(crate) fn check() -> io::Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        // Another kind than the system's, which writers take as a reason to try again.
        return Err(io::Error::other("interrupted"));
    }
    Ok(())
}

extern "C" fn note(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}
