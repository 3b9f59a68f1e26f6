//! What an executable can do besides continuing a prompt: a conversation, a server. Both are compiled in on request (`--with`).
//!
//! They are in a crate above this one, which the plain executable has no use for and the linker leaves out of it. An executable's own `main`
//! passes their entries to the runtime, which calls the one that the first argument names.

use std::error::Error as StdError;
use std::ffi::{OsStr, OsString, c_void};
use std::fs::File;

use super::Artifact;
use crate::Error;

/// First argument of a conversation.
pub const CHAT: &str = "--chat";
/// First argument of a server.
pub const SERVE: &str = "--serve";

/// What a mode makes of its call.
pub type Outcome = Result<(), Box<dyn StdError>>;

/// A call of a mode.
pub struct Call {
    /// The command line: the program's name, the mode's own argument, its options.
    pub arguments: Vec<OsString>,
    /// Opens the artifact that the program is.
    pub open: fn() -> Result<Artifact, Error>,
    /// Standard output.
    pub out: File,
    outcome: Option<Outcome>,
}

/// Entry of a mode. The pointer is to a [`Call`] that nothing else uses meanwhile.
pub type Entry = unsafe extern "C" fn(*mut c_void);

/// The modes that an executable was compiled with.
#[derive(Clone, Copy, Default)]
pub(crate) struct Modes {
    pub(crate) chat: Option<Entry>,
    pub(crate) serve: Option<Entry>,
}

impl Modes {
    /// The mode that the first argument names.
    pub(super) fn named(self, first: Option<&OsStr>) -> Option<Entry> {
        match first?.to_str()? {
            CHAT => self.chat,
            SERVE => self.serve,
            _ => None,
        }
    }
}

impl Call {
    /// A call of `entry`, and what comes of it.
    pub(super) fn run(
        entry: Entry,
        arguments: Vec<OsString>,
        open: fn() -> Result<Artifact, Error>,
        out: File,
    ) -> Outcome {
        let mut call = Call {
            arguments,
            open,
            out,
            outcome: None,
        };
        // SAFETY: the pointer is to a call that lives until the entry returns, and nothing else uses it.
        unsafe { entry((&raw mut call).cast()) };
        call.outcome.unwrap_or_else(|| {
            Err("this is a bug in Graver or in a library it uses; please report it".into())
        })
    }

    /// What an [`Entry`] consists of: does `mode`, whose outcome goes back to the runtime. A panic ends here, and is told as one.
    ///
    /// # Safety
    /// The pointer is what the entry was called with.
    pub unsafe fn answer(call: *mut c_void, mode: impl FnOnce(&mut Call) -> Outcome) {
        // SAFETY: an entry is called with a pointer to a call that nothing else uses (the caller promises that it is that).
        let call = unsafe { &mut *call.cast::<Call>() };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mode(&mut *call)));
        call.outcome = outcome.ok();
    }
}
