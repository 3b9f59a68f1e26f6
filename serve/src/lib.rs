//! What is built on a compiled model's sessions: conversations in a terminal, and a server that speaks OpenAI's API.
//!
//! Nothing here knows how a model is compiled: it takes the runtime's sessions and tokenizers, so that `graver` and compiled
//! executables offer the same.

mod answer;
#[cfg(feature = "artifact")]
mod artifact;
pub mod chat;
pub mod embeddings;
pub mod engine;
mod gbnf;
pub mod guide;
pub mod http;
mod prompt;
pub mod template;
