//! What a checkpoint folder says about text: its tokenizer files and the tokens that end a generation.
//!
//! In: a folder. Out: a [`Source`] to load the tokenizer from and the end-of-sequence ids of `generation_config.json`. A
//! folder without a tokenizer is fine; only asking for text will be an error then.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::files::{self, FileError, MAX_CONFIG, shown};
use crate::tokenizer::Source;

/// Text-related files of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedText {
    /// Where the tokenizer is.
    pub tokenizer: Source,
    /// `eos_token_id` of `generation_config.json`, one or several.
    pub eos: Vec<u32>,
}

/// Why a folder's text files could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A file that cannot be read.
    #[error("{0}; fix or remove the file")]
    File(#[from] FileError),
    /// A file that is not what it should be.
    #[error(
        "{}: expected JSON with eos_token_id as a token id, a list of them or null: {source}; fix or remove the file",
        shown(path)
    )]
    GenerationConfig {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
}

impl LoadedText {
    /// Looks into a checkpoint folder; reads `generation_config.json`, but not yet the tokenizer.
    pub fn find(folder: &Path) -> Result<LoadedText, TextError> {
        let eos = generation_eos(&folder.join("generation_config.json"))?;
        Ok(LoadedText {
            tokenizer: Source::in_folder(folder),
            eos,
        })
    }

    /// All tokens that end a generation: those of the model's configuration, then those found here.
    pub fn eos_with(&self, config: &[u32]) -> Vec<u32> {
        let mut all = config.to_vec();
        all.extend(self.eos.iter().filter(|id| !config.contains(id)));
        all
    }
}

#[derive(Deserialize)]
struct GenerationConfig {
    eos_token_id: Option<OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

fn generation_eos(path: &Path) -> Result<Vec<u32>, TextError> {
    if !files::is_there(path) {
        return Ok(Vec::new());
    }
    let bytes = files::read(path, MAX_CONFIG)?;
    let config: GenerationConfig =
        serde_json::from_slice(&bytes).map_err(|source| TextError::GenerationConfig {
            path: path.into(),
            source,
        })?;
    Ok(match config.eos_token_id {
        None => Vec::new(),
        Some(OneOrMany::One(id)) => vec![id],
        Some(OneOrMany::Many(ids)) => ids,
    })
}

#[cfg(test)]
mod tests;
