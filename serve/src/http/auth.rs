//! Who may ask, and from which pages.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::app::Shared;
use super::error::ApiError;

/// Paths that need no key: they say nothing about anybody.
const OPEN: [&str; 2] = ["/", "/health"];

/// Lets those through who have the key, where there is one, and tells browsers which pages may ask.
pub(super) async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let asks_first = request.method() == Method::OPTIONS;
    let mut response = match app.cors.is_some() && asks_first {
        true => StatusCode::NO_CONTENT.into_response(),
        false if may_ask(&app, &request) => next.run(request).await,
        false => ApiError::unauthorized().into_response(),
    };
    if let Some(origin) = &app.cors {
        allow(response.headers_mut(), origin);
    }
    response
}

fn may_ask(app: &Shared, request: &Request) -> bool {
    let Some(key) = &app.key else {
        return true;
    };
    if OPEN.contains(&request.uri().path()) {
        return true;
    }
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.map(HeaderValue::as_bytes).and_then(bearer);
    given.is_some_and(|given| same(given, key.as_bytes()))
}

/// The key of `Bearer KEY`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
}

/// Compares in a time that depends on what was given, but not on what was expected.
fn same(given: &[u8], key: &[u8]) -> bool {
    // Every byte given is compared with one of the key, whatever its length.
    let against: Vec<u8> = key.iter().copied().cycle().take(given.len()).collect();
    let bytes = given.ct_eq(&against);
    let lengths = (given.len() as u64).ct_eq(&(key.len() as u64));
    (bytes & lengths).into()
}

fn allow(headers: &mut HeaderMap, origin: &HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    let methods = HeaderValue::from_static("GET, POST, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = HeaderValue::from_static("authorization, content-type");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
}

#[cfg(test)]
mod tests {
    use super::{bearer, same};

    #[test]
    fn keys_are_compared_whole() {
        assert!(same(b"secret", b"secret"));
        for other in ["", "secre", "secrets", "secretsecret", "Secret"] {
            assert!(!same(other.as_bytes(), b"secret"), "{other}");
        }
        assert!(!same(b"a", b""));
    }

    #[test]
    fn keys_come_as_bearers() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"Basic abc"), None);
        assert_eq!(bearer(b"abc"), None);
    }
}
