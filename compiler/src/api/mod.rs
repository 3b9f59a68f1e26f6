//! The way in: open a model, compile it, compute with it.
//!
//! [`Model`] is found by a path or a name, [`Options`] say how it is compiled, [`Compiled`] is its code with its weights, and a
//! [`Session`] computes: logits, or text piece by piece ([`Stream`]). [`Artifact`] is what `graver compile --emit so` wrote. All of it
//! stands on [`driver`](crate::driver), [`artifact`](crate::artifact) and the runtime, and does nothing that cannot be done with them.

mod artifact;
mod compiled;
mod error;
mod model;
mod model_error;
mod options;
mod session;
#[cfg(doctest)]
mod tests;
mod text;

pub use artifact::Artifact;
pub use compiled::Compiled;
pub use error::Error;
pub use model::Model;
pub use model_error::ModelError;
pub use options::Options;
pub use session::{GenerateOptions, Session, Stream};
