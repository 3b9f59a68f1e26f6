//! What can be wrong with a template, where it is stored, and what it is given.

use std::path::PathBuf;

use graver_runtime::files::{FileError, shown};
use graver_runtime::tokenizer::TokenizerError;

/// Why a conversation could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A file that cannot be read.
    #[error("{0}; fix or remove the file")]
    File(#[from] FileError),
    /// A tokenizer, with templates beside it, that cannot be made of a file.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file that is not what it should be.
    #[error(
        "{}: expected {expected}: {source}; fix or remove the file",
        shown(path)
    )]
    Json {
        /// The file.
        path: PathBuf,
        /// What was expected in it.
        expected: &'static str,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// A template that is not text.
    #[error(
        "{}: the chat template is not UTF-8; expected a Jinja template",
        shown(path)
    )]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Several templates, none of which is meant for a conversation of this kind.
    #[error(
        "the model has chat templates named {names:?} and none named \"default\"; rename one of them"
    )]
    NoDefault {
        /// The names found.
        names: Vec<String>,
    },
    /// Messages that are not a list of objects.
    #[error("messages: found {found}, expected a list of objects with a role and a content")]
    Messages {
        /// What was given instead.
        found: String,
    },
    /// A template that is not Jinja.
    #[error("chat template, line {line}: {what}")]
    Syntax {
        /// Line of the template, from 1.
        line: u32,
        /// What was found and what was expected.
        what: String,
    },
    /// The template itself refuses the conversation.
    #[error("the chat template refuses this conversation: {message}")]
    Raised {
        /// Its own words.
        message: String,
    },
    /// The template does what cannot be done.
    #[error("chat template, line {line}: {what}")]
    Render {
        /// Line of the template, from 1.
        line: u32,
        /// What was found and what was expected.
        what: String,
    },
    /// The template takes more than a template may.
    #[error("chat template, line {line}: stopped: {limit}; is there an endless loop?")]
    Limit {
        /// Line of the template, from 1.
        line: u32,
        /// What it exceeded.
        limit: Limit,
    },
}

/// What a template may not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Work and memory.
    #[error("it takes more than {0} units of work")]
    Work(u64),
    /// Bytes of output.
    #[error("it writes more than {0} bytes")]
    Output(usize),
    /// Calls within calls, blocks within blocks.
    #[error("it nests calls or expressions more than {0} deep")]
    Depth(usize),
    /// Lists within lists.
    #[error("it nests values more than {0} deep")]
    Nesting(usize),
}

/// An error on its way to the line where it happened.
#[derive(Debug)]
pub(super) struct Fault {
    line: Option<u32>,
    what: What,
}

#[derive(Debug)]
enum What {
    Syntax(String),
    Raised(String),
    Wrong(String),
    Limit(Limit),
}

/// What every step of reading and rendering a template gives.
pub(super) type Outcome<T> = Result<T, Fault>;

impl Fault {
    /// Something that the template's author has to mend.
    pub(super) fn wrong(what: impl Into<String>) -> Fault {
        Fault::new(What::Wrong(what.into()))
    }

    /// Text that is not a template.
    pub(super) fn syntax(line: u32, what: impl Into<String>) -> Fault {
        Fault::new(What::Syntax(what.into())).at(line)
    }

    /// `raise_exception`.
    pub(super) fn raised(message: String) -> Fault {
        Fault::new(What::Raised(message))
    }

    /// A limit that was reached.
    pub(super) fn limit(limit: Limit) -> Fault {
        Fault::new(What::Limit(limit))
    }

    fn new(what: What) -> Fault {
        Fault { line: None, what }
    }

    /// Says where, unless a place within has been named already.
    pub(super) fn at(mut self, line: u32) -> Fault {
        self.line.get_or_insert(line);
        self
    }
}

impl From<Fault> for TemplateError {
    fn from(fault: Fault) -> TemplateError {
        let line = fault.line.unwrap_or(1);
        match fault.what {
            What::Syntax(what) => TemplateError::Syntax { line, what },
            What::Raised(message) => TemplateError::Raised { message },
            What::Wrong(what) => TemplateError::Render { line, what },
            What::Limit(limit) => TemplateError::Limit { line, limit },
        }
    }
}
