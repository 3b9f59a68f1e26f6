//! Answers piece by piece, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hyper::body::{Bytes, Frame};
use serde_json::Value;

use super::answers::{Answer, Answers};

/// Makes chunks of what happens.
pub(super) trait Chunks: Send + Unpin + 'static {
    /// Before anything has happened.
    fn begin(&mut self) -> Vec<Value>;
    /// For one thing.
    fn chunks(&mut self, answer: Answer) -> Vec<Value>;
    /// When everything has.
    fn end(&mut self, answers: &Answers) -> Vec<Value>;
}

/// A response that goes on while the engine works. A client that leaves drops it, and with it the request.
pub(super) fn stream(answers: Answers, mut chunks: impl Chunks) -> Response {
    let pending = chunks.begin().iter().map(event).collect();
    let body = Body::new(Events {
        answers,
        chunks,
        pending,
        ended: false,
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body).into_response()
}

struct Events<C> {
    answers: Answers,
    chunks: C,
    pending: VecDeque<Bytes>,
    ended: bool,
}

impl<C: Chunks> Events<C> {
    fn add(&mut self, values: &[Value]) {
        self.pending.extend(values.iter().map(event));
    }

    fn end(&mut self) {
        self.pending
            .push_back(Bytes::from_static(b"data: [DONE]\n\n"));
        self.ended = true;
    }
}

fn event(value: &Value) -> Bytes {
    Bytes::from(format!("data: {value}\n\n"))
}

impl<C: Chunks> hyper::body::Body for Events<C> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.pending.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if this.ended {
                return Poll::Ready(None);
            }
            match this.answers.poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(answer))) => {
                    let values = this.chunks.chunks(answer);
                    this.add(&values);
                }
                Poll::Ready(Some(Err(error))) => {
                    this.add(&[error.json()]);
                    this.end();
                }
                Poll::Ready(None) => {
                    let values = this.chunks.end(&this.answers);
                    this.add(&values);
                    this.end();
                }
            }
        }
    }
}
