//! What is in a GGUF file beside the model's shape: types of tensors, the tokenizer, and the metadata.

use std::path::Path;

use serde::Serialize;

use crate::text;
use crate::units::{bytes, counted};
use crate::weights::{GgufModel, TypeCount, WeightsError};

/// What is in a file, or in all files of a split model.
#[derive(Clone, Debug, Serialize)]
pub struct Contents {
    /// Types of tensors, the one with the most bytes first.
    pub types: Vec<TypeCount>,
    /// The kind of the tokenizer, in words.
    pub tokenizer: String,
    /// Keys with their values as text: long ones cut, lists by their length.
    pub metadata: Vec<(String, String)>,
}

impl Contents {
    /// Looks into a file.
    ///
    /// # Errors
    /// A file that cannot be read, or is not as the format says.
    pub fn of_gguf(path: &Path) -> Result<Contents, WeightsError> {
        let model = GgufModel::open(path)?;
        Ok(Contents {
            types: model.types(),
            tokenizer: text::gguf_tokenizer(&model.files[0])?,
            metadata: model.keys(),
        })
    }

    /// One line for each type, and one for the tokenizer.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (String, String)> {
        let types = self.types.iter().map(|t| {
            let value = format!("{}, {}", counted(t.tensors, "tensor"), bytes(t.bytes));
            (format!("stored as {}", t.name), value)
        });
        types.chain([("tokenizer".into(), self.tokenizer.clone())])
    }
}
