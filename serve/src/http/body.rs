//! Bodies of requests: read within a time and a size, and taken as JSON.

use std::time::Duration;

use axum::body::Body;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// What is read of a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyLimits {
    /// Bytes.
    pub(super) bytes: usize,
    /// Until the last of them.
    pub(super) time: Duration,
}

/// Reads a body that is JSON. How deep it nests is bounded by the parser, at 128.
pub(super) async fn read<T: DeserializeOwned>(
    body: Body,
    limits: BodyLimits,
) -> Result<T, ApiError> {
    let read = axum::body::to_bytes(body, limits.bytes);
    let bytes = match tokio::time::timeout(limits.time, read).await {
        Err(_) => return Err(ApiError::too_slow()),
        Ok(Ok(bytes)) => bytes,
        // A connection that broke has nobody to read what is answered.
        Ok(Err(_)) => return Err(ApiError::too_large(limits.bytes)),
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("the body is not as expected: {error}")))
}
