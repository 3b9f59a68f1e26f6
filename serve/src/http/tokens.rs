//! Text to token ids and back.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::app::{App, Shared, blocking};
use super::body;
use super::error::{ApiError, json_response};

#[derive(Deserialize)]
struct Tokenize {
    #[serde(alias = "prompt")]
    content: String,
    /// Adds what the tokenizer puts around a text.
    add_special: Option<bool>,
    #[serde(default)]
    with_pieces: bool,
}

/// `POST /tokenize`.
pub(super) async fn tokenize(State(app): State<Shared>, body: Body) -> Result<Response, ApiError> {
    let asked: Tokenize = body::read(body, app.limits).await?;
    let (special, pieces) = (asked.add_special.unwrap_or(true), asked.with_pieces);
    let on = Arc::clone(&app);
    let ids = blocking(move || encode(&on, &asked.content, special)).await?;
    let tokens = match pieces {
        false => json!(ids),
        true => ids
            .iter()
            .map(|id| json!({"id": id, "piece": app.tokenizer.piece(*id)}))
            .collect(),
    };
    let answer =
        json!({"tokens": tokens, "count": ids.len(), "max_model_len": app.engine.context()});
    Ok(json_response(StatusCode::OK, &answer))
}

#[derive(Deserialize)]
struct Detokenize {
    tokens: Vec<u32>,
}

/// `POST /detokenize`.
pub(super) async fn detokenize(
    State(app): State<Shared>,
    body: Body,
) -> Result<Response, ApiError> {
    let Detokenize { tokens } = body::read(body, app.limits).await?;
    let text = blocking(move || app.tokenizer.decode(&tokens).map_err(ApiError::internal)).await?;
    let answer = json!({"content": text, "prompt": text});
    Ok(json_response(StatusCode::OK, &answer))
}

/// Ids of a text.
pub(super) fn encode(app: &App, text: &str, special: bool) -> Result<Vec<u32>, ApiError> {
    let ids = match special {
        true => app.tokenizer.encode(text),
        false => app.tokenizer.encode_plain(text),
    };
    ids.map_err(ApiError::bad_request)
}
