//! What is served.

use std::sync::Arc;

use graver_runtime::session::Session;
use graver_runtime::tokenizer::Tokenizer;

pub use crate::answer::format::ChatFormat;
use crate::embeddings::Embedder;
use crate::template::{Template, TemplateError, TemplateFiles};

/// A compiled model with everything that turns text into its tokens and back.
pub struct ServedModel {
    /// What clients call it.
    pub name: String,
    /// Its session, with as many slots as requests are to be computed at once.
    pub session: Session,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Gives embeddings of texts; without it they are refused.
    pub embedder: Option<Embedder>,
    /// Its chat template; without one, conversations are refused.
    pub template: Option<Template>,
    /// How it marks what it thinks and calls.
    pub format: ChatFormat,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

impl ServedModel {
    /// A model whose templates have been found, and that gives no embeddings.
    ///
    /// # Errors
    /// A template that is not Jinja.
    pub fn new(
        name: &str,
        session: Session,
        tokenizer: Tokenizer,
        templates: &TemplateFiles,
        eos: Vec<u32>,
    ) -> Result<ServedModel, TemplateError> {
        Ok(ServedModel {
            name: name.into(),
            session,
            tokenizer: Arc::new(tokenizer),
            embedder: None,
            template: Template::new(templates)?,
            format: ChatFormat::of(templates),
            eos,
        })
    }
}
