//! `GET /metrics`, as Prometheus reads it, and `GET /health`.

use std::fmt::Write;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::app::Shared;
use super::error::json_response;

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Shared>) -> Response {
    let (counts, gauges) = (app.engine.counts(), app.engine.gauges());
    let counters = [
        ("requests_total", "Requests taken", counts.requests.get()),
        (
            "requests_refused_total",
            "Requests rejected because the queue was full",
            counts.refused.get(),
        ),
        (
            "choices_finished_total",
            "Answers completed",
            counts.finished.get(),
        ),
        (
            "choices_abandoned_total",
            "Answers cancelled by their clients",
            counts.abandoned.get(),
        ),
        (
            "choices_failed_total",
            "Answers that failed",
            counts.failed.get(),
        ),
        (
            "prompt_tokens_total",
            "Tokens of prompts",
            counts.prompt_tokens.get(),
        ),
        (
            "cached_tokens_total",
            "Prompt tokens found in a cached state",
            counts.cached_tokens.get(),
        ),
        (
            "generated_tokens_total",
            "Tokens of completed answers",
            counts.generated_tokens.get(),
        ),
        ("steps_total", "Steps computed", counts.steps.get()),
        (
            "snapshots_total",
            "Snapshots of state that cannot be truncated",
            counts.snapshots.get(),
        ),
    ];
    let levels = [
        (
            "slots",
            "Sequences computed at once",
            app.engine.slots() as u64,
        ),
        (
            "slots_busy",
            "Sequences being computed",
            gauges.slots_busy.get(),
        ),
        (
            "requests_waiting",
            "Requests waiting for a slot",
            gauges.waiting.get(),
        ),
        (
            "snapshot_bytes",
            "Bytes of cached snapshots",
            gauges.snapshot_bytes.get(),
        ),
    ];
    let mut text = String::new();
    let mut add = |name: &str, help: &str, kind: &str, value: &dyn std::fmt::Display| {
        // A string takes everything.
        let _ = write!(
            text,
            "# HELP graver_{name} {help}.\n# TYPE graver_{name} {kind}\ngraver_{name} {value}\n"
        );
    };
    for (name, help, value) in counters {
        add(name, help, "counter", &value);
    }
    let seconds = counts.step_micros.get() as f64 / 1e6;
    add(
        "step_seconds_total",
        "Time of all steps",
        "counter",
        &seconds,
    );
    for (name, help, value) in levels {
        add(name, help, "gauge", &value);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// `GET /health`.
pub(super) async fn health(State(app): State<Shared>) -> Response {
    let (status, word) = match app.engine.is_open() {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
    };
    json_response(status, &json!({"status": word}))
}
