//! What all requests share, and where each goes.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use graver_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::auth;
use super::body::BodyLimits;
use super::chat::chat;
use super::completions::completions;
use super::constraints::Followed;
use super::embeddings::embeddings;
use super::error::{ApiError, json_response};
use super::metrics::{health, metrics};
use super::page::page;
use super::tokens::{detokenize, tokenize};
use crate::answer::format::{ChatFormat, SpecialMarks};
use crate::embeddings::Embedder;
use crate::engine::{ConstraintError, Engine};
use crate::guide::Guide;
use crate::prompt::SpecialTexts;
use crate::template::Template;

/// What all requests share.
pub(super) struct App {
    pub(super) engine: Engine,
    pub(super) tokenizer: Arc<Tokenizer>,
    pub(super) embedder: Option<Embedder>,
    pub(super) template: Option<Template>,
    pub(super) format: ChatFormat,
    /// Marks of [`App::format`] that are special tokens.
    pub(super) special_marks: SpecialMarks,
    /// Texts that only the template may write.
    pub(super) special_texts: SpecialTexts,
    pub(super) name: String,
    pub(super) created: u64,
    pub(super) key: Option<String>,
    pub(super) cors: Option<HeaderValue>,
    pub(super) limits: BodyLimits,
    /// What answers have to follow whose requests do not say.
    pub(super) followed: Option<Followed>,
    pub(super) eos: Vec<u32>,
    /// Made when something is to be followed for the first time.
    pub(super) guide: OnceLock<Result<Guide, ConstraintError>>,
}

/// The same, as handlers hold it.
pub(super) type Shared = Arc<App>;

/// All paths.
pub(super) fn router(app: Shared) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/tokenize", post(tokenize))
        .route("/detokenize", post(detokenize))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/embeddings", post(embeddings))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), auth::guard))
        .with_state(app)
}

impl App {
    /// Refuses another model than the one that is served.
    pub(super) fn check_model(&self, asked: Option<&str>) -> Result<(), ApiError> {
        match asked {
            Some(asked) if asked != self.name => Err(ApiError::unknown_model(asked, &self.name)),
            Some(_) | None => Ok(()),
        }
    }

    /// Does something with the model's guide, which is made where there is none yet.
    pub(super) fn guide<T>(
        &self,
        make: impl FnOnce(&Guide) -> Result<T, ConstraintError>,
    ) -> Result<T, ConstraintError> {
        let new = || Guide::new(&self.tokenizer, self.engine.vocab(), &self.eos);
        make(self.guide.get_or_init(new).as_ref().map_err(Clone::clone)?)
    }

    fn card(&self) -> Value {
        let (name, created) = (&self.name, self.created);
        let context = self.engine.context();
        json!({"id": name, "object": "model", "created": created, "owned_by": "graver", "max_model_len": context})
    }
}

async fn models(State(app): State<Shared>) -> Response {
    let list = json!({"object": "list", "data": [app.card()]});
    json_response(StatusCode::OK, &list)
}

async fn model(State(app): State<Shared>, Path(name): Path<String>) -> Result<Response, ApiError> {
    app.check_model(Some(&name))?;
    Ok(json_response(StatusCode::OK, &app.card()))
}

async fn unknown(uri: Uri) -> ApiError {
    ApiError::unknown_path(uri.path())
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    ApiError::wrong_method(method.as_str(), uri.path())
}

/// Does what takes long on another thread than the one that serves everybody.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    // A panic has been reported where it happened.
    done.unwrap_or_else(|_| {
        Err(ApiError::internal(
            "internal error; the server's stderr has the details",
        ))
    })
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}

/// A name for an answer that no other has: `cmpl-1f…`.
pub(super) fn new_id(prefix: &str) -> String {
    // The standard library's hash keys are the random numbers nearest at hand.
    let random = || RandomState::new().build_hasher().finish();
    format!("{prefix}-{:016x}{:08x}", random(), random() as u32)
}
