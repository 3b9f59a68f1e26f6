//! The small model inside the program, for use without a checkpoint: `compiler/model/README.md` says what it is.

use std::borrow::Cow;

use graver_runtime::tokenizer::{Files, Source};

use crate::weights::{Checkpoint, WeightsError};

/// What messages call it.
pub const NAME: &str = "embedded model";

const CONFIG: &[u8] = include_bytes!("../model/config.json");
const WEIGHTS: &[u8] = include_bytes!("../model/model.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../model/tokenizer.json");
const TOKENIZER_CONFIG: &[u8] = include_bytes!("../model/tokenizer_config.json");

/// Its checkpoint, the weights copied to memory of their own.
///
/// # Errors
/// No memory.
pub fn checkpoint() -> Result<Checkpoint, WeightsError> {
    Checkpoint::from_bytes(NAME, CONFIG, WEIGHTS)
}

/// Its tokenizer.
pub fn tokenizer() -> Source {
    Source::Bytes {
        place: NAME.into(),
        files: Files {
            tokenizer: Cow::Borrowed(TOKENIZER),
            config: Some(Cow::Borrowed(TOKENIZER_CONFIG)),
            special_tokens_map: None,
            added_tokens: None,
            table: None,
        },
    }
}
