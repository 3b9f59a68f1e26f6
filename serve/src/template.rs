//! Chat templates: a conversation to the text that a model was trained to read.
//!
//! In: the checkpoint's own template, which is Jinja, and messages, tools and documents as JSON. Out: the text that `transformers`
//! renders, byte for byte. A template is a program, and comes from wherever the checkpoint came from: one that loops, recurses
//! or collects without bound ends with an error, after a bounded amount of work and memory and on any thread's stack. It
//! reads nothing but what it is given and the clock, and changes nothing.
//!
//! A template is cut into tokens (`lexer`), read (`statements`, `expressions`) once, and run (`renderer`, `evaluate`) for each
//! conversation over values that behave as Python's do.

mod arguments;
mod ast;
mod checks;
mod clock;
mod cursor;
mod error;
mod evaluate;
mod expressions;
mod files;
mod filters;
mod frame;
mod fuel;
mod json;
mod lexer;
mod literals;
mod methods;
mod names;
mod operate;
mod percent;
mod prepare;
mod print;
mod renderer;
mod repeat;
mod sequences;
mod statements;
mod strings;
mod value;

use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value as Json};

pub use error::{Limit, TemplateError};
pub use files::{Named, TemplateFiles};

use ast::Body;
use clock::Clock;
use error::Outcome;
use frame::Frame;
use fuel::{Fuel, Writer};
use renderer::Renderer;
use value::Value;

/// What is to be rendered.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// Messages as OpenAI's API has them: a list of objects with `role` and `content`.
    pub messages: Json,
    /// Tools that the model may call, a list of JSON schemas.
    pub tools: Option<Json>,
    /// Documents that the answer may rest on.
    pub documents: Option<Json>,
    /// Whether the text ends with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// Whatever else the template knows: `enable_thinking`, `reasoning_effort`.
    pub extra: Map<String, Json>,
}

/// A model's chat template, ready to render from any thread.
#[derive(Debug)]
pub struct Template {
    /// By name.
    templates: Vec<(String, Body)>,
    tokens: Map<String, Json>,
    clock: Clock,
}

impl Template {
    /// The template of a checkpoint's folder; none where it has none.
    ///
    /// # Errors
    /// A file that cannot be read or is not what it should be, a template that is not Jinja.
    pub fn load(folder: &Path) -> Result<Option<Template>, TemplateError> {
        Template::new(&TemplateFiles::find(folder)?)
    }

    /// Reads templates that have been found; none where there are none.
    ///
    /// # Errors
    /// A template that is not Jinja.
    pub fn new(files: &TemplateFiles) -> Result<Option<Template>, TemplateError> {
        let mut templates = Vec::new();
        for named in &files.templates {
            templates.push((named.name.clone(), statements::parse(&named.template)?));
        }
        if templates.is_empty() {
            return Ok(None);
        }
        let tokens = files.tokens.clone();
        Ok(Some(Template {
            templates,
            tokens,
            clock: Clock::default(),
        }))
    }

    /// The same template on a day that stands still, given in seconds since 1970: for texts that are the same on every day.
    pub fn on_day(mut self, seconds: i64) -> Template {
        self.clock = Clock::at(seconds);
        self
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// Messages that are not a list of objects, a conversation that the template refuses, a template that does not end.
    pub fn render(&self, conversation: &Conversation) -> Result<String, TemplateError> {
        let body = self.choose(conversation.tools.is_some())?;
        let messages = &conversation.messages;
        let usual = self.render_with(body, conversation, &prepare::messages(messages, false)?);
        // Some templates ask whether a content is null, and fail where it is left out.
        if usual.is_err() && prepare::has_nulls(messages) {
            let with_nulls = prepare::messages(messages, true)?;
            if let Ok(text) = self.render_with(body, conversation, &with_nulls) {
                return Ok(text);
            }
        }
        Ok(usual?)
    }

    /// The template for a conversation with or without tools.
    fn choose(&self, has_tools: bool) -> Result<&Body, TemplateError> {
        let named = |wanted: &str| {
            let mut all = self.templates.iter();
            all.find(|(name, _)| name == wanted).map(|(_, body)| body)
        };
        let for_tools = has_tools.then(|| named("tool_use")).flatten();
        match (
            for_tools.or_else(|| named("default")),
            self.templates.as_slice(),
        ) {
            (Some(body), _) | (None, [(_, body)]) => Ok(body),
            (None, several) => Err(TemplateError::NoDefault {
                names: several.iter().map(|(name, _)| name.clone()).collect(),
            }),
        }
    }

    fn render_with(
        &self,
        body: &Body,
        conversation: &Conversation,
        messages: &Json,
    ) -> Outcome<String> {
        let given = [
            Some(messages),
            conversation.tools.as_ref(),
            conversation.documents.as_ref(),
        ];
        let bytes = given.into_iter().flatten().map(size).sum();
        let renderer = Renderer {
            fuel: Fuel::new(bytes),
            clock: &self.clock,
        };
        let fuel = &renderer.fuel;
        let frame = Rc::new(Frame::default());
        let set = |name: &str, value: &Json| {
            frame.set(&name.into(), Value::from_json(value, fuel)?, fuel)
        };
        for (name, value) in self.tokens.iter().chain(&conversation.extra) {
            set(name, value)?;
        }
        set("messages", messages)?;
        set("tools", conversation.tools.as_ref().unwrap_or(&Json::Null))?;
        set(
            "documents",
            conversation.documents.as_ref().unwrap_or(&Json::Null),
        )?;
        set(
            "add_generation_prompt",
            &Json::Bool(conversation.add_generation_prompt),
        )?;
        let mut out = Writer::new(fuel);
        renderer.run(body, &frame, &mut out)?;
        Ok(out.finish())
    }
}

/// About how many bytes JSON takes, without regard to how it nests.
fn size(json: &Json) -> usize {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 8,
        Json::String(text) => 8 + text.len(),
        Json::Array(items) => 8 + items.iter().map(size).sum::<usize>(),
        Json::Object(fields) => {
            8 + fields
                .iter()
                .map(|(k, v)| 8 + k.len() + size(v))
                .sum::<usize>()
        }
    }
}
