//! Options of a conversation.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use graver_runtime::cli::{SamplingArgs, SessionArgs};
use serde_json::Value as Json;

/// Options of a conversation in a terminal.
#[derive(Args, Clone, Debug)]
pub struct ChatArgs {
    /// System prompt
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    /// Maximum number of tokens per answer; 0 for no limit but the context
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0)]
    pub max_tokens: usize,
    /// What to do when the context is full
    #[arg(long, value_name = "WHAT", default_value = "stop")]
    pub on_full: OnFull,
    /// Hide what the model thinks before it answers
    #[arg(long)]
    pub hide_thinking: bool,
    /// Jinja file with the chat template [default: the model's]
    #[arg(long, value_name = "FILE")]
    pub template: Option<PathBuf>,
    /// Variable of the chat template, such as enable_thinking=false; can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = template_argument)]
    pub template_arg: Vec<(String, Json)>,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArgs,
    /// What the model is computed with.
    #[command(flatten)]
    pub session: SessionArgs,
}

/// What happens when the context is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnFull {
    /// End the answer, and refuse messages that do not fit.
    Stop,
    /// Keep everything before the first message and the latest half of the tokens.
    Shift,
    /// Drop the oldest messages, and render the rest again.
    DropOldest,
}

/// `name=value`, where a value that is JSON is taken as such and any other as text.
fn template_argument(text: &str) -> Result<(String, Json), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            Ok((name.into(), value))
        }
        Some(_) | None => Err("expected NAME=VALUE, such as enable_thinking=false".into()),
    }
}
