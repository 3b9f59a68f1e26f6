//! The spec stage: a JSON spec and a checkpoint's `config.json` become a [`model::Model`].
//!
//! In: a spec (built in, from a file, or text) and a config. Out: numbers, choices and tensor names, all checked against
//! each other. This stage reads no weights, and nothing after it reads spec JSON. The format is described in
//! `specs/README.md`.

mod activation;
mod at;
mod attention;
mod bind;
mod builtin;
mod choose;
mod edit;
mod error;
mod expr;
mod form;
mod gguf;
mod heads;
mod index;
mod items;
mod json;
mod keys;
mod kinds;
mod known;
mod latent;
mod layers;
mod limits;
mod locate;
mod merge;
mod mlp;
pub mod model;
mod moe;
mod near;
mod norm;
mod params;
mod part;
mod picked;
mod plain;
mod read;
mod recurrence;
mod recurrent;
mod rope;
mod schema;
mod seen;
mod share;
mod source;
mod steps;
mod tables;
mod total;
mod unique;
mod values;
mod weights;
mod whole;

pub use builtin::builtin_names;
pub use choose::for_config;
pub(crate) use error::in_json;
pub use error::{Error, Fault, Kind, Syntax};
pub(crate) use gguf::gguf_values;
pub use gguf::{GgufFacts, for_gguf};
pub(crate) use json::json_number;
pub use json::{JsonError, parse_json};
pub(crate) use near::distance as edit_distance;
pub use near::nearest;
pub use schema::schema;
pub use source::{SpecSource, load, load_named, read_config};
pub use whole::{Result, Spec};

#[cfg(test)]
mod tests;
