//! What can be wrong with a spec or with the config it is bound to.
//!
//! Every message names the file and the JSON path, what was found there and what was expected.

mod fault;
mod kind;
mod names;
mod syntax;
mod whole;

pub use fault::Fault;
pub(super) use fault::{IN_CONFIG, Located, Read, unknown};
pub use kind::Kind;
pub(crate) use kind::in_json;
pub use syntax::Syntax;
pub use whole::Error;
