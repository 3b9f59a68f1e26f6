//! The server: OpenAI's API over HTTP/1.
//!
//! In: a compiled model as a session, its tokenizer and template. Out: `/v1/models`, `/v1/completions`, `/v1/chat/completions`,
//! `/v1/embeddings`, `/tokenize`, `/detokenize`, `/health`, `/metrics`, and a page to talk to the model at `/`. One thread does all input and output;
//! the engine has threads of its own. Whatever a client sends is answered, or its connection closed, in bounded time and memory.

mod answers;
mod app;
mod args;
mod auth;
mod body;
mod chat;
mod completions;
mod constraints;
mod embeddings;
mod error;
mod events;
mod forced;
mod listen;
mod local;
mod logprobs;
mod messages;
mod metrics;
mod model;
mod options;
mod page;
mod server;
mod socket;
mod tokens;

pub use args::{ArgsError, ServeArgs};
pub use constraints::Followed;
pub use local::{Answer, Answering, LocalPage};
pub use model::{ChatFormat, ServedModel};
pub use server::{ServeError, Server, ServerOptions, run};
