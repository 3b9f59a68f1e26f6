//! Many requests on one session: whatever decodes and whatever is read share each step.
//!
//! In: [`Request`]s of token ids, from any thread. Out: [`Event`]s of each, through a channel of its own. One thread owns the
//! session; requests wait in a bounded queue until a slot is free. Nothing here knows of HTTP, JSON or templates.

mod cache;
mod choose;
mod constraint;
mod handle;
mod masks;
mod metrics;
mod plan;
mod queue;
mod request;
mod sequence;
mod text;
mod worker;

pub(crate) use constraint::guarded;
pub use constraint::{Constraint, ConstraintError, Mask};
pub use handle::{Engine, EngineOptions, StartError, Submitted};
pub use metrics::{Counts, Gauges};
pub use request::{
    Choice, EngineError, Event, Finish, Request, RequestError, Sampling, Scored, Token, Usage,
};
