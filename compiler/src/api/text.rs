//! A model's tokenizer, read when text is first asked for.

use std::sync::{Arc, OnceLock};

use graver_runtime::cli::SpecialIds;
use graver_runtime::tokenizer::{Source, Tokenizer, TokenizerError};

/// Where the tokenizer is, and tokens with a meaning.
pub(super) struct Text {
    source: Source,
    pub(super) special: SpecialIds,
    tokenizer: OnceLock<Arc<Tokenizer>>,
}

impl Text {
    pub(super) fn new(source: Source, special: SpecialIds) -> Text {
        Text {
            source,
            special,
            tokenizer: OnceLock::new(),
        }
    }

    /// The tokenizer. Two threads that ask at once may both read it; they get the same.
    pub(super) fn tokenizer(&self) -> Result<&Arc<Tokenizer>, TokenizerError> {
        if let Some(tokenizer) = self.tokenizer.get() {
            return Ok(tokenizer);
        }
        let tokenizer = Tokenizer::load(&self.source)?;
        Ok(self.tokenizer.get_or_init(|| Arc::new(tokenizer)))
    }

    /// The tokenizer, where there is one.
    pub(super) fn if_any(&self) -> Result<Option<&Arc<Tokenizer>>, TokenizerError> {
        match self.tokenizer() {
            Ok(tokenizer) => Ok(Some(tokenizer)),
            Err(TokenizerError::Missing(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }
}
