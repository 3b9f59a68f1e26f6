//! A conversation in a terminal, or through a pipe: a line in, an answer out, piece by piece.
//!
//! In: a session whose slot 0 is empty, a tokenizer, a chat template, the tokens that end an answer. Each turn the whole conversation is rendered and
//! compared with what the session holds, so that only new tokens are computed, whatever the template makes of old ones. From a pipe every line is
//! a turn, nothing is shown but answers, and the first error ends the conversation.

mod answer;
mod command;
mod error;
mod history;
mod input;
mod interrupt;
mod options;
mod screen;
mod talk;
mod thinking;

use std::io::{self, Write};

use graver_runtime::files::{self, MAX_CONFIG};
use graver_runtime::session::Session;
use graver_runtime::tokenizer::{Pending, Source, Tokenizer};
use serde_json::{Map, Value as Json};

pub use error::ChatError;
pub use options::{ChatArgs, OnFull};

use crate::answer::format::{ChatFormat, SpecialMarks};
use crate::prompt::SpecialTexts;
use crate::template::{Template, TemplateFiles};
use input::Input;
use talk::{Marks, Parts, Talk};

/// What a conversation needs beside the session.
pub struct Chat {
    tokenizer: Pending,
    template: Template,
    format: ChatFormat,
    extra: Map<String, Json>,
    /// Tokens that end an answer.
    pub eos: Vec<u32>,
}

impl Chat {
    /// Checks options and template, and begins to load the tokenizer, all of it before a model is loaded. `name` is the model's, for messages;
    /// `templates` are its own.
    ///
    /// # Errors
    /// Options that change nothing, a model without a template, a template that is none.
    pub fn prepare(
        args: &ChatArgs,
        name: &str,
        tokenizer: Source,
        templates: TemplateFiles,
    ) -> Result<Chat, ChatError> {
        let mut templates = templates;
        if let Some(path) = &args.template {
            let text = files::read_text(path, MAX_CONFIG)?;
            templates = TemplateFiles::of(&text, templates.tokens);
        }
        let no_template = || ChatError::NoTemplate { name: name.into() };
        let template = Template::new(&templates)?.ok_or_else(no_template)?;
        Ok(Chat {
            tokenizer: Tokenizer::load_in_background(tokenizer)?,
            template,
            format: ChatFormat::of(&templates),
            extra: args.template_arg.iter().cloned().collect(),
            eos: Vec::new(),
        })
    }

    /// Talks until the input ends. Returns without an error when the reader of `out` has gone.
    ///
    /// # Errors
    /// A model that fails, an input that cannot be read; from a pipe, any other error too.
    pub fn run(
        self,
        args: &ChatArgs,
        session: &mut Session,
        out: &mut dyn Write,
    ) -> Result<(), ChatError> {
        let tokenizer = self.tokenizer.wait()?;
        let mut input = Input::standard()?;
        let marks = Marks {
            special: SpecialMarks::of(&self.format, &tokenizer),
            texts: SpecialTexts::of(&tokenizer),
            format: self.format,
        };
        let parts = Parts {
            session,
            tokenizer: &tokenizer,
            template: &self.template,
            marks: &marks,
            extra: &self.extra,
            eos: &self.eos,
        };
        let is_terminal = input.is_terminal();
        let mut talk = Talk::new(args, parts, out, is_terminal);
        match talk.run(&mut input) {
            Err(ChatError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome,
        }
    }
}
