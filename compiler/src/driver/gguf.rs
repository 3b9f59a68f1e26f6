//! What a GGUF file says about text.

use std::path::Path;

use graver_runtime::files::shown;
use graver_runtime::text::LoadedText;
use graver_runtime::tokenizer::{Missing, Source};

use super::load::LoadError;
use crate::weights::GgufModel;

/// The tokenizer of a GGUF file, and the tokens that end a text.
///
/// # Errors
/// A file that cannot be read.
pub fn gguf_text(path: &Path) -> Result<LoadedText, LoadError> {
    GgufModel::open(path)?;
    Ok(LoadedText {
        tokenizer: Source::Missing(Missing::Folder {
            place: shown(path).to_string(),
            instead: None,
        }),
        eos: vec![],
    })
}
