//! `POST /v1/completions`: a text goes on.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::{Answer, Answers};
use super::app::{App, Shared, blocking, new_id, now};
use super::body;
use super::constraints::constraint;
use super::error::{ApiError, json_response};
use super::events::{Chunks, stream};
use super::logprobs::of_completion;
use super::options::{Options, USUAL_COMPLETION};
use super::tokens::encode;
use crate::engine::{Event, Finish, Request, Token, Usage};

/// The most prompts of one request.
const PROMPTS: usize = 256;

#[derive(Deserialize)]
struct Asked {
    prompt: Option<Prompt>,
    logprobs: Option<usize>,
    echo: Option<bool>,
    suffix: Option<String>,
    best_of: Option<usize>,
    #[serde(flatten)]
    options: Options,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`prompt` as a string, a list of strings, a list of token ids, or a list of such lists"
)]
enum Prompt {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    Lists(Vec<Vec<u32>>),
}

/// What answers have in common.
struct Head {
    app: Shared,
    id: String,
    created: u64,
    logprobs: bool,
    /// Texts that answers begin with: prompts, where they are wanted back.
    echoes: Vec<String>,
    choices: usize,
    with_usage: bool,
}

/// Answers the request.
pub(super) async fn completions(
    State(app): State<Shared>,
    body: Body,
) -> Result<Response, ApiError> {
    let asked: Asked = body::read(body, app.limits).await?;
    app.check_model(asked.options.model.as_deref())?;
    asked.check()?;
    let (streams, with_usage) = (asked.options.streams(), asked.options.streams_usage());
    let (logprobs, choices) = (asked.logprobs.is_some(), asked.options.choices());
    let on = Arc::clone(&app);
    let (requests, echoes) = blocking(move || prepare(&on, asked)).await?;
    let answers = Answers::submit(&app.engine, requests)?;
    let head = Head {
        app,
        id: new_id("cmpl"),
        created: now(),
        logprobs,
        echoes,
        choices,
        with_usage,
    };
    match streams {
        true => {
            let offsets = vec![0; answers.total()];
            Ok(stream(answers, Pieces { head, offsets }))
        }
        false => collect(answers, &head).await,
    }
}

impl Asked {
    fn check(&self) -> Result<(), ApiError> {
        if self
            .suffix
            .as_ref()
            .is_some_and(|suffix| !suffix.is_empty())
        {
            return Err(ApiError::field(
                "suffix",
                "suffix: not supported; text is only continued",
            ));
        }
        if self
            .best_of
            .is_some_and(|best| best != self.options.choices())
        {
            return Err(ApiError::field(
                "best_of",
                "best_of: expected the same as n, all answers are given",
            ));
        }
        if self.echo == Some(true) && self.logprobs.is_some() {
            return Err(ApiError::field(
                "echo",
                "echo: cannot be combined with logprobs; prompts have none",
            ));
        }
        Ok(())
    }
}

/// The engine's requests, and the texts of prompts that are wanted back.
fn prepare(app: &App, asked: Asked) -> Result<(Vec<Request>, Vec<String>), ApiError> {
    let encoded = |text: &String| encode(app, text, true);
    let prompts = match asked.prompt {
        None => vec![encode(app, "", true)?],
        Some(Prompt::Text(text)) => vec![encoded(&text)?],
        Some(Prompt::Texts(texts)) => texts.iter().map(encoded).collect::<Result<_, _>>()?,
        Some(Prompt::Ids(ids)) => vec![ids],
        Some(Prompt::Lists(lists)) => lists,
    };
    if !(1..=PROMPTS).contains(&prompts.len()) {
        let message = format!("prompt: {} of them, expected 1 to {PROMPTS}", prompts.len());
        return Err(ApiError::field("prompt", message));
    }
    let echoes = match asked.echo {
        Some(true) => prompts
            .iter()
            .map(|ids| app.tokenizer.decode(ids).map_err(ApiError::internal))
            .collect::<Result<_, _>>()?,
        Some(false) | None => Vec::new(),
    };
    let followed = constraint(app, &asked.options)?;
    let request = |prompt| {
        let request = asked
            .options
            .request(prompt, USUAL_COMPLETION, asked.logprobs)?;
        let constraint = followed.as_ref().map(|c| c.copy());
        Ok(Request {
            constraint,
            ..request
        })
    };
    let requests: Result<Vec<Request>, ApiError> = prompts.into_iter().map(request).collect();
    Ok((requests?, echoes))
}

/// One answer.
#[derive(Clone, Default)]
struct Whole {
    text: String,
    tokens: Vec<Token>,
    reason: Option<Finish>,
}

/// Everything at once.
async fn collect(mut answers: Answers, head: &Head) -> Result<Response, ApiError> {
    let mut all = vec![Whole::default(); answers.total()];
    while let Some(answer) = answers.next().await {
        let Answer { choice, event } = answer?;
        let whole = &mut all[choice];
        match event {
            Event::Piece { text, token, .. } => {
                whole.text.push_str(&text);
                whole.tokens.push(token);
            }
            Event::Finished { text, reason, .. } => {
                whole.text.push_str(&text);
                whole.reason = Some(reason);
            }
            Event::Failed(error) => return Err(error.into()),
        }
    }
    let choices = all.iter().enumerate().map(|(index, whole)| {
        let text = format!("{}{}", head.echo(index), whole.text);
        head.choice(index, &text, &whole.tokens, &mut 0, whole.reason)
    });
    let mut answer = head.answer(choices.collect());
    answer["usage"] = usage(answers.usage());
    Ok(json_response(StatusCode::OK, &answer))
}

/// Piece by piece.
struct Pieces {
    head: Head,
    /// How far the text of each choice has come.
    offsets: Vec<usize>,
}

impl Chunks for Pieces {
    fn begin(&mut self) -> Vec<Value> {
        let echoes = self.head.echoes.len() * self.head.choices;
        let echo = |index| {
            let text = self.head.echo(index);
            let choice = self.head.choice(index, text, &[], &mut 0, None);
            self.head.answer(vec![choice])
        };
        (0..echoes).map(echo).collect()
    }

    fn chunks(&mut self, answer: Answer) -> Vec<Value> {
        let Answer { choice, event } = answer;
        let offset = &mut self.offsets[choice];
        let chunk = match event {
            Event::Piece { text, token, .. } if self.head.logprobs || !text.is_empty() => {
                self.head.choice(choice, &text, &[token], offset, None)
            }
            Event::Finished { text, reason, .. } => {
                self.head.choice(choice, &text, &[], offset, Some(reason))
            }
            Event::Piece { .. } | Event::Failed(_) => return Vec::new(),
        };
        vec![self.head.answer(vec![chunk])]
    }

    fn end(&mut self, answers: &Answers) -> Vec<Value> {
        if !self.head.with_usage {
            return Vec::new();
        }
        let mut last = self.head.answer(Vec::new());
        last["usage"] = usage(answers.usage());
        vec![last]
    }
}

impl Head {
    fn echo(&self, choice: usize) -> &str {
        self.echoes
            .get(choice / self.choices)
            .map_or("", String::as_str)
    }

    fn choice(
        &self,
        index: usize,
        text: &str,
        tokens: &[Token],
        offset: &mut usize,
        reason: Option<Finish>,
    ) -> Value {
        let logprobs = self
            .logprobs
            .then(|| of_completion(&self.app.tokenizer, tokens, offset));
        json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason.map(reason_word)})
    }

    fn answer(&self, choices: Vec<Value>) -> Value {
        json!({"id": self.id, "object": "text_completion", "created": self.created,
            "model": self.app.name, "choices": choices})
    }
}

/// What the API calls it.
pub(super) fn reason_word(reason: Finish) -> &'static str {
    match reason {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

/// What a request took.
pub(super) fn usage(usage: Usage) -> Value {
    let Usage {
        prompt_tokens,
        cached_tokens,
        generated_tokens,
    } = usage;
    json!({"prompt_tokens": prompt_tokens, "completion_tokens": generated_tokens,
        "total_tokens": prompt_tokens + generated_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens}})
}
