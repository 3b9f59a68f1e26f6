//! `POST /v1/embeddings`: vectors of texts.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::app::{App, Shared, blocking};
use super::body;
use super::error::{ApiError, json_response};
use super::tokens::encode;
use crate::embeddings::EmbedError;

/// The most texts of one request.
const INPUTS: usize = 256;

#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
    input: Input,
    #[serde(default)]
    encoding_format: Format,
    dimensions: Option<usize>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "`input` as a string, a list of strings, a list of token ids, or a list of such lists"
)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    Lists(Vec<Vec<u32>>),
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    #[default]
    Float,
    Base64,
}

impl Format {
    fn json(self, values: &[f32]) -> Value {
        match self {
            Format::Float => json!(values),
            Format::Base64 => {
                let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                BASE64_STANDARD.encode(bytes).into()
            }
        }
    }
}

/// Answers the request.
pub(super) async fn embeddings(
    State(app): State<Shared>,
    body: Body,
) -> Result<Response, ApiError> {
    let asked: Asked = body::read(body, app.limits).await?;
    app.check_model(asked.model.as_deref())?;
    if app.embedder.is_none() {
        return Err(ApiError::bad_request(
            "embeddings: not supported by compiled executables; use graver serve",
        ));
    }
    let on = Arc::clone(&app);
    let answer = blocking(move || embed(&on, &asked)).await?;
    Ok(json_response(StatusCode::OK, &answer))
}

fn embed(app: &App, asked: &Asked) -> Result<Value, ApiError> {
    let encoded = |text: &String| encode(app, text, true);
    let inputs = match &asked.input {
        Input::Text(text) => vec![encoded(text)?],
        Input::Texts(texts) => texts.iter().map(encoded).collect::<Result<_, _>>()?,
        Input::Ids(ids) => vec![ids.clone()],
        Input::Lists(lists) => lists.clone(),
    };
    if !(1..=INPUTS).contains(&inputs.len()) {
        let message = format!("input: {} of them, expected 1 to {INPUTS}", inputs.len());
        return Err(ApiError::field("input", message));
    }
    if let Some(empty) = inputs.iter().position(Vec::is_empty) {
        let message = format!("input: number {empty} has no tokens, expected at least one");
        return Err(ApiError::field("input", message));
    }
    let embedder = app.embedder.as_ref().expect("it was looked for before");
    let mut data = Vec::with_capacity(inputs.len());
    for (index, ids) in inputs.iter().enumerate() {
        let values = embedder.embed(ids);
        let values = values.map_err(|error| match error {
            EmbedError::Text(error) => ApiError::field("input", format!("input: {error}")),
            start @ EmbedError::Start(_) => ApiError::internal(start),
        })?;
        if let Some(other) = asked.dimensions.filter(|n| *n != values.len()) {
            let message = format!(
                "dimensions: found {other}, expected {}, the model's hidden size",
                values.len()
            );
            return Err(ApiError::field("dimensions", message));
        }
        let embedding = asked.encoding_format.json(&values);
        data.push(json!({"object": "embedding", "index": index, "embedding": embedding}));
    }
    let tokens: usize = inputs.iter().map(Vec::len).sum();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json!({"object": "list", "data": data, "model": app.name, "usage": usage}))
}
