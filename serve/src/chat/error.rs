//! What ends a conversation, or a turn of it.

use std::io;
use std::path::PathBuf;

use graver_runtime::cli::RunError;
use graver_runtime::files::{FileError, shown};
use graver_runtime::sampling::SamplingError;
use graver_runtime::tokenizer::TokenizerError;

use crate::prompt::PromptError;
use crate::template::TemplateError;

/// Why a conversation, or a turn of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// A model that was not made for conversations.
    #[error("{name}: the model has no chat template; use `run`, or pass one with --template FILE")]
    NoTemplate {
        /// The model.
        name: String,
    },
    /// A template that cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A conversation with texts of special tokens that cannot be told from the template's.
    #[error("{}", PromptError::Marks)]
    Marks,
    /// Text could not become ids, or the other way round.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// An option that changes nothing, or is out of its range.
    #[error(transparent)]
    Options(#[from] RunError),
    /// No token could be chosen.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// The model's own code failed.
    #[error(transparent)]
    Model(#[from] graver_runtime::Error),
    /// A conversation that has no room.
    #[error(
        "the conversation has {tokens} tokens, but the context has room for {context}, including one for the answer; shorten the message, /undo, /reset, or restart with a larger --context or another --on-full"
    )]
    Full {
        /// Tokens of the conversation.
        tokens: usize,
        /// Positions of the context.
        context: usize,
    },
    /// A file that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file with something else in it.
    #[error(
        "{}: expected a conversation as JSON, as /save writes it: {source}",
        shown(path)
    )]
    NotConversation {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// A file that cannot be written.
    #[error("{}: cannot write it: {source}; choose another file", shown(path))]
    Save {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A command that does not exist.
    #[error("unknown command {0:?}; /help lists all")]
    UnknownCommand(String),
    /// A command without what it needs.
    #[error("{0} needs a file name: {0} chat.json")]
    NoFile(&'static str),
    /// Nothing can be undone.
    #[error("nothing to undo")]
    NothingToUndo,
    /// What the user says cannot be read.
    #[error("cannot read the input: {0}")]
    Input(io::Error),
    /// The output cannot be written.
    #[error("cannot write the output: {0}; free some space, or redirect it elsewhere")]
    Output(#[from] io::Error),
}

impl From<PromptError> for ChatError {
    fn from(error: PromptError) -> ChatError {
        match error {
            PromptError::Template(error) => error.into(),
            PromptError::Tokenizer(error) => error.into(),
            PromptError::Marks => ChatError::Marks,
        }
    }
}
