//! `POST /v1/chat/completions`: a conversation goes on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::answers::{Answer, Answers};
use super::app::{App, Shared, blocking, new_id, now};
use super::body;
use super::completions::{reason_word, usage};
use super::constraints::{Followed, constraint, make};
use super::error::{ApiError, json_response};
use super::events::{Chunks, stream};
use super::forced::{ToolChoice, forced};
use super::logprobs::of_chat;
use super::messages::prepared;
use super::options::Options;
use crate::answer::delta::Delta;
use crate::answer::splitter::Splitter;
use crate::engine::{Event, Finish, Request, Token};
use crate::prompt::PromptError;
use crate::template::Conversation;

#[derive(Deserialize)]
struct Asked {
    messages: Value,
    tools: Option<Value>,
    tool_choice: Option<Value>,
    documents: Option<Value>,
    logprobs: Option<bool>,
    top_logprobs: Option<usize>,
    reasoning_effort: Option<Value>,
    chat_template_kwargs: Option<Map<String, Value>>,
    #[serde(flatten)]
    options: Options,
}

/// What answers have in common.
struct Head {
    app: Shared,
    id: String,
    created: u64,
    logprobs: bool,
    with_usage: bool,
    /// The end of the prompt as text, by which it is known whether the answer begins with reasoning.
    prompt: String,
    has_tools: bool,
}

/// Answers the request.
pub(super) async fn chat(State(app): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let asked: Asked = body::read(body, app.limits).await?;
    app.check_model(asked.options.model.as_deref())?;
    let (streams, with_usage) = (asked.options.streams(), asked.options.streams_usage());
    let logprobs = asked.logprobs == Some(true);
    let has_tools = asked.tools()?.is_some();
    let on = Arc::clone(&app);
    let (request, prompt) = blocking(move || prepare(&on, asked)).await?;
    let answers = Answers::submit(&app.engine, vec![request])?;
    let head = Head {
        app,
        id: new_id("chatcmpl"),
        created: now(),
        logprobs,
        with_usage,
        prompt,
        has_tools,
    };
    match streams {
        true => {
            let choices = (0..answers.total()).map(|_| head.split()).collect();
            Ok(stream(answers, Pieces { head, choices }))
        }
        false => collect(answers, &head).await,
    }
}

impl Asked {
    fn tool_choice(&self) -> Result<ToolChoice, ApiError> {
        ToolChoice::read(self.tool_choice.as_ref()).ok_or_else(|| {
            let expected = "tool_choice: expected none, auto, required or a function's name";
            ApiError::field("tool_choice", expected)
        })
    }

    /// What the answer has to follow where it has to be a call.
    fn forced(&self, app: &App) -> Result<Option<Followed>, ApiError> {
        let wrong = |why: String| ApiError::field("tool_choice", format!("tool_choice: {why}"));
        let choice = self.tool_choice()?;
        let tools = self.tools()?.unwrap_or(&Value::Null);
        forced(&app.format, &app.special_marks, tools, &choice).map_err(wrong)
    }

    /// Tools that may be called.
    fn tools(&self) -> Result<Option<&Value>, ApiError> {
        if self.tool_choice()? == ToolChoice::None {
            return Ok(None);
        }
        match &self.tools {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(tools)) if tools.is_empty() => Ok(None),
            Some(tools @ Value::Array(_)) => Ok(Some(tools)),
            Some(_) => Err(ApiError::field("tools", "tools: expected a list of tools")),
        }
    }
}

/// The engine's request, and the end of its prompt.
fn prepare(app: &App, mut asked: Asked) -> Result<(Request, String), ApiError> {
    let Some(template) = &app.template else {
        let message = "this model has no chat template; start the server with --chat-template FILE, or use /v1/completions";
        return Err(ApiError::bad_request(message));
    };
    let mut extra = asked.chat_template_kwargs.take().unwrap_or_default();
    if let Some(effort) = asked.reasoning_effort.take().filter(|e| !e.is_null()) {
        extra.insert("reasoning_effort".into(), effort);
    }
    let conversation = Conversation {
        tools: asked.tools()?.cloned(),
        messages: prepared(std::mem::take(&mut asked.messages))?,
        documents: asked.documents.take().filter(|d| !d.is_null()),
        add_generation_prompt: true,
        extra,
    };
    let prompt = app
        .special_texts
        .prompt(template, &app.tokenizer, conversation);
    let (text, prompt) = prompt.map_err(|error| match error {
        PromptError::Template(error) => error.into(),
        PromptError::Tokenizer(_) | PromptError::Marks => ApiError::field("messages", error),
    })?;
    let logprobs = (asked.logprobs == Some(true)).then(|| asked.top_logprobs.unwrap_or(0));
    let mut request = asked.options.request(prompt, usize::MAX, logprobs)?;
    request.constraint = match asked.forced(app)? {
        Some(call) => Some(make(app, &call).map_err(|e| ApiError::field("tools", e))?),
        None => constraint(app, &asked.options)?,
    };
    let end = text.len() - text.len().min(64);
    let end = (end..=text.len()).find(|&at| text.is_char_boundary(at));
    Ok((request, text[end.unwrap_or(text.len())..].to_owned()))
}

/// One answer as it comes.
struct Choice {
    splitter: Splitter,
    /// Calls so far.
    calls: usize,
}

/// One answer.
#[derive(Default)]
struct Whole {
    content: String,
    reasoning: String,
    calls: Vec<Value>,
    tokens: Vec<Token>,
    reason: Option<Finish>,
}

impl Whole {
    fn add(&mut self, deltas: Vec<Delta>) {
        for delta in deltas {
            match delta {
                Delta::Content(text) => self.content.push_str(&text),
                Delta::Reasoning(text) => self.reasoning.push_str(&text),
                Delta::Call(call) => self
                    .calls
                    .push(json!({"id": new_id("call"), "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments}})),
            }
        }
    }

    fn message(&self) -> Value {
        let only_calls = !self.calls.is_empty() && self.content.trim().is_empty();
        let content = (!only_calls).then_some(&self.content);
        let mut message = json!({"role": "assistant", "content": content, "refusal": null});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.as_str().into();
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.clone().into();
        }
        message
    }
}

/// Everything at once.
async fn collect(mut answers: Answers, head: &Head) -> Result<Response, ApiError> {
    let total = answers.total();
    let mut splitters: Vec<Option<Splitter>> = (0..total).map(|_| Some(head.splitter())).collect();
    let mut all: Vec<Whole> = (0..total).map(|_| Whole::default()).collect();
    while let Some(answer) = answers.next().await {
        let Answer { choice, event } = answer?;
        let whole = &mut all[choice];
        let Some(splitter) = &mut splitters[choice] else {
            continue;
        };
        match event {
            Event::Piece { text, token, .. } => {
                whole.add(splitter.push(&head.shown(text, token.id)));
                whole.tokens.push(token);
            }
            Event::Finished { text, reason, .. } => {
                whole.add(splitter.push(&text));
                whole.reason = Some(reason);
                if let Some(splitter) = splitters[choice].take() {
                    whole.add(splitter.finish());
                }
            }
            Event::Failed(error) => return Err(error.into()),
        }
    }
    let choices = all.iter().enumerate().map(|(index, whole)| {
        let logprobs = head.logprobs.then(|| of_chat(&head.app.tokenizer, &whole.tokens));
        let reason = whole.reason.map(|r| reason_with_calls(r, whole.calls.len()));
        json!({"index": index, "message": whole.message(), "logprobs": logprobs, "finish_reason": reason})
    });
    let mut answer = head.answer("chat.completion", choices.collect());
    answer["usage"] = usage(answers.usage());
    Ok(json_response(StatusCode::OK, &answer))
}

/// Piece by piece.
struct Pieces {
    head: Head,
    choices: Vec<Choice>,
}

impl Pieces {
    /// Chunks of what is new, the last of which has the probabilities and the reason to end.
    fn say(&mut self, choice: usize, deltas: Vec<Delta>, tokens: &[Token]) -> Vec<Value> {
        let mut chunks = Vec::new();
        for delta in deltas {
            let delta = match delta {
                Delta::Content(text) => json!({"content": text}),
                Delta::Reasoning(text) => json!({"reasoning_content": text}),
                Delta::Call(call) => {
                    let index = self.choices[choice].calls;
                    self.choices[choice].calls += 1;
                    let function = json!({"name": call.name, "arguments": call.arguments});
                    json!({"tool_calls": [{"index": index, "id": new_id("call"), "type": "function",
                        "function": function}]})
                }
            };
            chunks.push(
                json!({"index": choice, "delta": delta, "logprobs": null, "finish_reason": null}),
            );
        }
        if self.head.logprobs && !tokens.is_empty() {
            let empty = json!({"index": choice, "delta": {}, "finish_reason": null});
            let mut last = chunks.pop().unwrap_or(empty);
            last["logprobs"] = of_chat(&self.head.app.tokenizer, tokens);
            chunks.push(last);
        }
        chunks
    }
}

impl Chunks for Pieces {
    fn begin(&mut self) -> Vec<Value> {
        let first = |index| {
            let delta = json!({"role": "assistant", "content": ""});
            let choice =
                json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null});
            self.head.chunk(vec![choice])
        };
        (0..self.choices.len()).map(first).collect()
    }

    fn chunks(&mut self, answer: Answer) -> Vec<Value> {
        let Answer { choice, event } = answer;
        let chunks = match event {
            Event::Piece { text, token, .. } => {
                let text = self.head.shown(text, token.id);
                let deltas = self.choices[choice].splitter.push(&text);
                self.say(choice, deltas, &[token])
            }
            Event::Finished { text, reason, .. } => {
                let mut deltas = self.choices[choice].splitter.push(&text);
                let fresh = self.head.splitter();
                let splitter = std::mem::replace(&mut self.choices[choice].splitter, fresh);
                deltas.extend(splitter.finish());
                let mut chunks = self.say(choice, deltas, &[]);
                let reason = reason_with_calls(reason, self.choices[choice].calls);
                chunks.push(json!({"index": choice, "delta": {}, "logprobs": null, "finish_reason": reason}));
                chunks
            }
            Event::Failed(_) => Vec::new(),
        };
        chunks
            .into_iter()
            .map(|c| self.head.chunk(vec![c]))
            .collect()
    }

    fn end(&mut self, answers: &Answers) -> Vec<Value> {
        if !self.head.with_usage {
            return Vec::new();
        }
        let mut last = self.head.chunk(Vec::new());
        last["usage"] = usage(answers.usage());
        vec![last]
    }
}

impl Head {
    fn splitter(&self) -> Splitter {
        Splitter::new(&self.app.format, &self.prompt, self.has_tools)
    }

    fn split(&self) -> Choice {
        Choice {
            splitter: self.splitter(),
            calls: 0,
        }
    }

    /// A piece of text with the mark that its token stands for.
    fn shown(&self, text: String, token: u32) -> String {
        self.app.special_marks.shown(text, token)
    }

    fn answer(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.app.name,
            "choices": choices})
    }

    fn chunk(&self, choices: Vec<Value>) -> Value {
        self.answer("chat.completion.chunk", choices)
    }
}

fn reason_with_calls(reason: Finish, calls: usize) -> &'static str {
    match (reason, calls) {
        (Finish::Stop, 1..) => "tool_calls",
        (reason, _) => reason_word(reason),
    }
}
