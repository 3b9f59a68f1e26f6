//! What a model is behind its pointer.

use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use crate::session::Session;
use crate::tokenizer::{Source, Tokenizer, TokenizerError};

/// `graver` of the header.
pub(super) struct Handle {
    pub(super) session: Session,
    pub(super) manifest: CString,
    pub(super) text: Text,
    /// First of `rows` rows of logits, in memory of the session's that the next step overwrites.
    pub(super) logits: *const f32,
    pub(super) rows: usize,
}

/// A model's tokenizer, loaded when text is first asked for.
pub(super) struct Text {
    pub(super) source: Source,
    pub(super) tokenizer: OnceLock<Tokenizer>,
    /// Tokens that end a text.
    pub(super) eos: Vec<u32>,
    /// Begins a text that is empty otherwise.
    pub(super) bos: Option<u32>,
}

impl Text {
    /// The tokenizer.
    pub(super) fn tokenizer(&self) -> Result<&Tokenizer, TokenizerError> {
        if let Some(tokenizer) = self.tokenizer.get() {
            return Ok(tokenizer);
        }
        let tokenizer = Tokenizer::load(&self.source)?;
        Ok(self.tokenizer.get_or_init(|| tokenizer))
    }
}

/// A number of a model; 0 for NULL.
pub(super) fn number(model: Option<&Handle>, get: impl FnOnce(&Handle) -> usize) -> usize {
    let number = || model.map_or(0, get);
    catch_unwind(AssertUnwindSafe(number)).unwrap_or(0)
}
