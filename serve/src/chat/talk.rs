//! The conversation itself: takes what is read to commands and questions, and questions to answers.

use std::io::Write;

use graver_runtime::sampling::{Sampler, SamplingOptions};
use graver_runtime::session::Session;
use graver_runtime::stream::TextStream;
use graver_runtime::tokenizer::Tokenizer;
use serde_json::{Map, Value as Json};

use super::answer::{Asked, Cost, End, Limits, Sequence};
use super::command::{self, Command, HELP};
use super::error::ChatError;
use super::history::History;
use super::input::{Input, Said};
use super::interrupt::Watch;
use super::options::{ChatArgs, OnFull};
use super::screen::Screen;
use super::thinking::Splitter;
use crate::answer::format::{ChatFormat, SpecialMarks};
use crate::prompt::SpecialTexts;
use crate::template::{Conversation, Template};

/// A conversation under way.
pub(super) struct Talk<'t> {
    tokenizer: &'t Tokenizer,
    writer: Writer<'t>,
    sequence: Sequence<'t>,
    screen: Screen<'t>,
    marks: &'t Marks,
    eos: &'t [u32],
    history: History,
    sampling: SamplingOptions,
    max_tokens: usize,
    on_full: OnFull,
    cost: Cost,
    turns: u64,
}

/// What stands in conversations and answers beside what is said.
pub(super) struct Marks {
    pub(super) format: ChatFormat,
    /// Those that are special tokens.
    pub(super) special: SpecialMarks,
    /// Texts that only the template may write.
    pub(super) texts: SpecialTexts,
}

/// Makes tokens of a conversation.
#[derive(Clone, Copy)]
struct Writer<'t> {
    tokenizer: &'t Tokenizer,
    template: &'t Template,
    special: &'t SpecialTexts,
    extra: &'t Map<String, Json>,
}

/// What a conversation is held with.
pub(super) struct Parts<'t> {
    pub(super) session: &'t mut Session,
    pub(super) tokenizer: &'t Tokenizer,
    pub(super) template: &'t Template,
    pub(super) marks: &'t Marks,
    pub(super) extra: &'t Map<String, Json>,
    pub(super) eos: &'t [u32],
}

impl Writer<'_> {
    /// The text and the tokens that the model goes on from.
    fn prompt(&self, messages: Json, begun: bool) -> Result<(String, Vec<u32>), ChatError> {
        let conversation = Conversation {
            messages,
            add_generation_prompt: begun,
            extra: self.extra.clone(),
            ..Conversation::default()
        };
        Ok(self
            .special
            .prompt(self.template, self.tokenizer, conversation)?)
    }
}

impl<'t> Talk<'t> {
    pub(super) fn new(
        args: &ChatArgs,
        parts: Parts<'t>,
        out: &'t mut dyn Write,
        is_terminal: bool,
    ) -> Talk<'t> {
        Talk {
            tokenizer: parts.tokenizer,
            writer: Writer {
                tokenizer: parts.tokenizer,
                template: parts.template,
                special: &parts.marks.texts,
                extra: parts.extra,
            },
            sequence: Sequence::new(parts.session),
            screen: Screen::new(out, is_terminal, args.hide_thinking),
            marks: parts.marks,
            eos: parts.eos,
            history: History::told(args.system.clone()),
            sampling: args.sampling.options(),
            max_tokens: args.max_tokens,
            on_full: args.on_full,
            cost: Cost::default(),
            turns: 0,
        }
    }

    /// Talks until there is nothing more to read. In a terminal an error is shown, and the conversation goes on; in a pipe it is the end.
    pub(super) fn run(&mut self, input: &mut Input) -> Result<(), ChatError> {
        let is_terminal = input.is_terminal();
        let mut asked_to_end = false;
        loop {
            let line = match input.next()? {
                Said::Message(line) => line,
                Said::Nothing if asked_to_end => return Ok(()),
                Said::Nothing => {
                    self.screen
                        .note("Ctrl-C again, Ctrl-D or /quit ends the conversation.")?;
                    asked_to_end = true;
                    continue;
                }
                Said::End => return Ok(()),
            };
            asked_to_end = false;
            if line.trim().is_empty() {
                continue;
            }
            match command::parse(&line).and_then(|command| self.obey(command)) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(ChatError::Output(error)) => return Err(ChatError::Output(error)),
                Err(error) if is_terminal => self.screen.note(&format!("error: {error}"))?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Does what a line asks for; false at the end.
    fn obey(&mut self, command: Command) -> Result<bool, ChatError> {
        match command {
            Command::Say(text) => self.ask(&text)?,
            Command::System(None) => {
                let system = self.history.system.clone();
                self.screen
                    .note(&system.unwrap_or_else(|| "(nothing)".into()))?;
            }
            Command::System(Some(text)) => {
                self.history.reset();
                self.history.system = Some(text);
            }
            Command::Reset => self.history.reset(),
            Command::Undo => {
                if !self.history.undo() {
                    return Err(ChatError::NothingToUndo);
                }
            }
            Command::Save(path) => self.history.save(&path)?,
            Command::Load(path) => self.history = History::load(&path)?,
            Command::Tokens => self.show_tokens()?,
            Command::Help => self.screen.note(HELP)?,
            Command::Quit => return Ok(false),
        }
        Ok(true)
    }

    fn show_tokens(&mut self) -> Result<(), ChatError> {
        let messages = self.history.to_json();
        let conversation = match self.history.is_empty() && self.history.system.is_none() {
            true => 0,
            false => self.writer.prompt(messages, false)?.1.len(),
        };
        let cost = &self.cost;
        let rate =
            |tokens: usize, time: std::time::Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
        let text = format!(
            "{conversation} tokens in {} messages; the context has room for {}, of which {} are held.\n\
             The last answer: {} tokens read, {} of them new, {:.1} tok/s; {} written, {:.1} tok/s.",
            self.history.len(),
            self.sequence.context(),
            self.sequence.len(),
            cost.prompt,
            cost.new,
            rate(cost.new, cost.reading),
            cost.answer,
            rate(cost.answer.saturating_sub(1), cost.writing),
        );
        Ok(self.screen.note(&text)?)
    }

    /// Asks the model, and shows its answer. A question that could not be answered is taken back.
    fn ask(&mut self, text: &str) -> Result<(), ChatError> {
        let before = self.history.clone();
        self.history.ask(text);
        let outcome = self.answer();
        if outcome.is_err() {
            self.history = before;
        }
        outcome
    }

    fn answer(&mut self) -> Result<(), ChatError> {
        let watch = Watch::begin();
        let context = self.sequence.context();
        let (text, mut prompt) = self.writer.prompt(self.history.to_json(), true)?;
        let keep = self.fixed_tokens(&prompt);
        let (writer, on_full, history) = (self.writer, self.on_full, &mut self.history);
        let mut shorten = |tokens: &[u32], answered: usize| {
            shorter(on_full, writer, history, keep, context, tokens, answered)
        };
        if prompt.len() >= context {
            let full = ChatError::Full {
                tokens: prompt.len(),
                context,
            };
            prompt = shorten(&prompt, 0)?.ok_or(full)?;
        }
        let turn = SamplingOptions {
            seed: self.sampling.seed.wrapping_add(self.turns),
            ..self.sampling
        };
        let asked = Asked {
            prompt,
            sampler: Sampler::new(turn)?,
            limits: Limits {
                max_tokens: self.max_tokens,
                eos: self.eos,
            },
            shorten: &mut shorten,
        };
        let marks = self.marks;
        let mut splitter = Splitter::after(&marks.format, &text);
        let mut stream = TextStream::new(self.tokenizer);
        let screen = &mut self.screen;
        let (end, cost) = self.sequence.answer(asked, &watch, &mut |token| {
            let text = marks.special.shown(stream.push(token)?, token);
            let parts = splitter.push(&text);
            parts.iter().try_for_each(|part| Ok(screen.part(part)?))
        })?;
        let mut parts = splitter.push(&stream.finish()?);
        parts.extend(splitter.finish());
        parts.iter().try_for_each(|part| screen.part(part))?;
        screen.end_answer()?;
        self.history.answer(splitter.thinking, splitter.answer);
        (self.cost, self.turns) = (cost, self.turns + 1);
        self.say_why(end)
    }

    fn say_why(&mut self, end: End) -> Result<(), ChatError> {
        match end {
            End::Said | End::Length => Ok(()),
            End::Interrupted => Ok(self.screen.note("(stopped)")?),
            End::Context => {
                let context = self.sequence.context();
                let text = format!(
                    "(stopped: the context of {context} tokens is full; /undo, /reset, or --on-full shift or drop-oldest)"
                );
                Ok(self.screen.note(&text)?)
            }
        }
    }

    /// How many of the prompt's tokens are there whatever is said: what the model is told beforehand.
    fn fixed_tokens(&self, prompt: &[u32]) -> usize {
        let system = History::told(self.history.system.clone());
        let alone = self.writer.prompt(system.to_json(), false);
        let alone = alone.map(|(_, tokens)| tokens).unwrap_or_default();
        let common = alone.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // A sequence begins with a token of its own.
        common.max(1).min(self.sequence.context() / 4)
    }
}

/// Fewer tokens than fill the context, of which the last `answered` are the answer's; none where the answer has to end.
fn shorter(
    on_full: OnFull,
    writer: Writer<'_>,
    history: &mut History,
    keep: usize,
    context: usize,
    tokens: &[u32],
    answered: usize,
) -> Result<Option<Vec<u32>>, ChatError> {
    match on_full {
        OnFull::Stop => Ok(None),
        OnFull::Shift => {
            let latest = (context - keep).div_ceil(2).min(tokens.len() - keep);
            let latest = &tokens[tokens.len() - latest..];
            Ok(Some([&tokens[..keep], latest].concat()))
        }
        OnFull::DropOldest => {
            let answer = &tokens[tokens.len() - answered..];
            while history.drop_oldest() {
                let (_, mut fewer) = writer.prompt(history.to_json(), true)?;
                fewer.extend_from_slice(answer);
                if fewer.len() < context {
                    return Ok(Some(fewer));
                }
            }
            Ok(None)
        }
    }
}
