//! Why text could not be turned into ids, or ids into text.

use super::Missing;
use crate::files::FileError;

/// Why text could not be turned into ids, or ids into text.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// No tokenizer where one was looked for.
    #[error(
        "{missing}; {remedy}, or use token ids: --tokens 1,2,3 --print-tokens",
        missing = .0, remedy = .0.remedy()
    )]
    Missing(Missing),
    /// A file that cannot be read.
    #[error("{0}; without it, ids can be given with --tokens and printed with --print-tokens")]
    File(#[from] FileError),
    /// Bytes that are not a tokenizer the library knows.
    #[error(
        "{name}: cannot load the tokenizer ({message}); download the file again, or pass ids with --tokens"
    )]
    Parse {
        /// The file.
        name: String,
        /// The library's words.
        message: String,
    },
    /// A file beside `tokenizer.json` that is not a JSON object.
    #[error("{name}: expected a JSON object: {source}; fix or remove the file")]
    Json {
        /// The file.
        name: String,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// A value that is not what it should be.
    #[error("{name}: {place}: found {found}, expected {expected}; fix or remove the file")]
    Value {
        /// The file.
        name: String,
        /// Path of the value.
        place: String,
        /// The value, as JSON.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Added tokens that would take too much memory.
    #[error("{name}: {what} {bytes} bytes long, expected at most {limit}; fix the file")]
    TooLong {
        /// The file.
        name: String,
        /// One token, or all.
        what: &'static str,
        /// Their length.
        bytes: usize,
        /// The most there may be.
        limit: usize,
    },
    /// Steps that would take too much memory.
    #[error(
        "{name}: {place}: its steps make text up to {times} times as long, expected at most {limit}; fix the file"
    )]
    Grows {
        /// The file.
        name: String,
        /// Which steps.
        place: &'static str,
        /// How much longer a text can become.
        times: usize,
        /// The most it may be.
        limit: usize,
    },
    /// A BOS token that has no id.
    #[error(
        "{config}: bos_token {token:?} is to be added (add_bos_token) but is not a token of {name}; the files do not belong together"
    )]
    UnknownBos {
        /// The configuration file.
        config: String,
        /// The tokenizer file.
        name: String,
        /// The token's text.
        token: String,
    },
    /// The library gave up on some text or ids.
    #[error(
        "{name}: the tokenizer failed {doing}: {message}; ids can be given with --tokens and printed with --print-tokens"
    )]
    Failed {
        /// The tokenizer file.
        name: String,
        /// `encoding the prompt`, `decoding 3 tokens`.
        doing: String,
        /// The library's words.
        message: String,
    },
    /// The system gave no thread to load it on.
    #[error("cannot start a thread for the tokenizer: {source}; raise the process limit")]
    Thread {
        /// What the system said.
        source: std::io::Error,
    },
}
