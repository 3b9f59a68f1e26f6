//! Errors as OpenAI's API has them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::engine::{EngineError, RequestError};
use crate::template::TemplateError;

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    message: String,
    /// The field that is wrong.
    param: Option<&'static str>,
    code: Option<&'static str>,
    /// Seconds after which it may be tried again.
    retry_after: u64,
}

impl ApiError {
    fn new(status: StatusCode, message: impl ToString) -> ApiError {
        ApiError {
            status,
            message: message.to_string(),
            param: None,
            code: None,
            retry_after: 1,
        }
    }

    /// Something that the client can mend.
    pub(super) fn bad_request(message: impl ToString) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    /// A field that the client can mend.
    pub(super) fn field(param: &'static str, message: impl ToString) -> ApiError {
        ApiError {
            param: Some(param),
            ..ApiError::bad_request(message)
        }
    }

    /// A model that is not served.
    pub(super) fn unknown_model(found: &str, served: &str) -> ApiError {
        let message = format!("unknown model `{found}`; this server runs `{served}`");
        ApiError {
            param: Some("model"),
            code: Some("model_not_found"),
            ..ApiError::new(StatusCode::NOT_FOUND, message)
        }
    }

    /// A path that means nothing.
    pub(super) fn unknown_path(path: &str) -> ApiError {
        let message = format!("{path}: not found; the API is under /v1");
        ApiError::new(StatusCode::NOT_FOUND, message)
    }

    /// A path asked in a way that it has not.
    pub(super) fn wrong_method(method: &str, path: &str) -> ApiError {
        let message = format!("{path}: method {method} is not allowed");
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
    }

    /// A key that is missing or wrong.
    pub(super) fn unauthorized() -> ApiError {
        ApiError {
            code: Some("invalid_api_key"),
            ..ApiError::new(
                StatusCode::UNAUTHORIZED,
                "missing or wrong API key; send it as `Authorization: Bearer KEY`",
            )
        }
    }

    /// A body that is longer than the server reads.
    pub(super) fn too_large(limit: usize) -> ApiError {
        let message = format!(
            "the request body is larger than {limit} bytes; the server's limit is --max-body-mib"
        );
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    }

    /// A body that does not come.
    pub(super) fn too_slow() -> ApiError {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "timed out while reading the request body; the server's limit is --read-timeout",
        )
    }

    /// A fault of the server's.
    pub(super) fn internal(message: impl ToString) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The error as events of a stream have it.
    pub(super) fn json(&self) -> Value {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}})
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> ApiError {
        match &error {
            &RequestError::Busy { seconds, .. } => ApiError {
                code: Some("queue_full"),
                retry_after: seconds,
                ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, error)
            },
            RequestError::Draining | RequestError::Stopped => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error)
            }
            RequestError::TooLong { .. } => ApiError {
                code: Some("context_length_exceeded"),
                ..ApiError::bad_request(error)
            },
            RequestError::Empty
            | RequestError::UnknownToken { .. }
            | RequestError::Choices { .. }
            | RequestError::Alternatives { .. }
            | RequestError::Sampling(_) => ApiError::bad_request(error),
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> ApiError {
        match &error {
            EngineError::Constraint(_) => ApiError::bad_request(error),
            EngineError::Step { .. } | EngineError::Sampling { .. } | EngineError::Tokenizer(_) => {
                ApiError::internal(error)
            }
        }
    }
}

impl From<TemplateError> for ApiError {
    fn from(error: TemplateError) -> ApiError {
        ApiError::field("messages", error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.json());
        let headers = response.headers_mut();
        if matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// A response of JSON.
pub(super) fn json_response(status: StatusCode, json: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, json.to_string()).into_response()
}
