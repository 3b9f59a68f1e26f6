//! Options of a server on the command line.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::HeaderValue;
use clap::Args;
use graver_runtime::files::{self, FileError, MAX_CONFIG, shown};
use graver_runtime::session::SessionOptions;

use super::constraints::Followed;
use super::server::ServerOptions;
use crate::embeddings::Pooling;
use crate::engine::EngineOptions;
use crate::template::TemplateFiles;

/// A file that an option names is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not JSON.
    #[error("--json-schema {}: expected a JSON schema: {source}", shown(path))]
    Schema {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// It is not text.
    #[error("--grammar {}: expected UTF-8 text", shown(path))]
    Grammar {
        /// The file.
        path: PathBuf,
    },
}

/// How a model is served.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Address to listen on; 0.0.0.0 for all
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on; 0 for any free one
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    pub port: u16,
    /// Number of requests computed at once, each with its own context
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub slots: u32,
    /// Model name for clients [default: the name of its folder]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// API key that clients must send [default: $GRAVER_API_KEY, if set]
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Origin to allow by CORS, * for any [default: none]
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub cors: Option<HeaderValue>,
    /// Jinja file with the chat template [default: the model's]
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// Pooling of embeddings
    #[arg(long, value_name = "WHAT", default_value = "mean")]
    pub pooling: Pooling,
    /// JSON schema for answers to requests without a format of their own
    #[arg(long, value_name = "FILE", conflicts_with = "grammar")]
    pub json_schema: Option<PathBuf>,
    /// Grammar (Lark or GBNF) for answers to requests without a format of their own
    #[arg(long, value_name = "FILE")]
    pub grammar: Option<PathBuf>,
    /// Maximum number of waiting requests; others are answered with 429
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub queue: usize,
    /// Maximum number of prompt tokens per step while answers are being generated
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub max_prefill_per_step: usize,
    /// Memory for state snapshots of models whose state cannot be truncated, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub snapshot_mib: usize,
    /// Maximum size of a request body, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 8)]
    pub max_body_mib: usize,
    /// Maximum number of open connections; others wait to be accepted
    #[arg(long, value_name = "N", default_value_t = 16384)]
    pub max_connections: usize,
    /// Timeout for request headers and for idle connections, in seconds
    #[arg(long, value_name = "S", default_value_t = 30)]
    pub header_timeout: u64,
    /// Timeout for request bodies, in seconds
    #[arg(long, value_name = "S", default_value_t = 30)]
    pub read_timeout: u64,
    /// Time to finish answers at shutdown, in seconds
    #[arg(long, value_name = "S", default_value_t = 30)]
    pub drain_timeout: u64,
    /// Number of threads [default: all available processors]
    #[arg(short = 't', long, value_name = "K")]
    pub threads: Option<usize>,
    /// Context length of each slot in tokens [default: the model's, at most 4096]
    #[arg(short = 'c', long, value_name = "C")]
    pub context: Option<usize>,
    /// Pin each thread to a processor
    #[arg(long)]
    pub pin: bool,
}

impl ServeArgs {
    /// The model's own templates, or the one that `--chat-template` names.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn templates(&self, own: TemplateFiles) -> Result<TemplateFiles, FileError> {
        match &self.chat_template {
            None => Ok(own),
            Some(file) => Ok(TemplateFiles::of(
                &files::read_text(file, MAX_CONFIG)?,
                own.tokens,
            )),
        }
    }

    /// How the session is to be made.
    pub fn session_options(&self) -> SessionOptions {
        SessionOptions {
            threads: self.threads,
            context: self.context,
            slots: self.slots as usize,
            pin: self.pin,
            alone: true,
            ..SessionOptions::default()
        }
    }

    /// How the server is to be started.
    ///
    /// # Errors
    /// A schema or grammar that cannot be read.
    pub fn server_options(&self) -> Result<ServerOptions, ArgsError> {
        let key = self.api_key.clone();
        let key = key.or_else(|| std::env::var("GRAVER_API_KEY").ok());
        Ok(ServerOptions {
            host: self.host.clone(),
            port: self.port,
            key: key.filter(|key| !key.is_empty()),
            cors: self.cors.clone(),
            max_body: self.max_body_mib.saturating_mul(1 << 20),
            max_connections: self.max_connections,
            header_time: Duration::from_secs(self.header_timeout),
            read_time: Duration::from_secs(self.read_timeout),
            drain_time: Duration::from_secs(self.drain_timeout),
            signals: true,
            followed: self.followed()?,
            engine: EngineOptions {
                queue: self.queue,
                max_prefill_per_step: self.max_prefill_per_step,
                snapshot_bytes: self.snapshot_mib.saturating_mul(1 << 20),
                eos: Vec::new(),
            },
        })
    }

    fn followed(&self) -> Result<Option<Followed>, ArgsError> {
        if let Some(path) = &self.json_schema {
            let bytes = files::read(path, MAX_CONFIG)?;
            let schema = serde_json::from_slice(&bytes).map_err(|source| ArgsError::Schema {
                path: path.clone(),
                source,
            })?;
            return Ok(Some(Followed::Schema(schema)));
        }
        let Some(path) = &self.grammar else {
            return Ok(None);
        };
        let grammar = String::from_utf8(files::read(path, MAX_CONFIG)?);
        let grammar = grammar.map_err(|_| ArgsError::Grammar { path: path.clone() })?;
        Ok(Some(Followed::Grammar(grammar)))
    }
}

fn origin(text: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(text);
    value.map_err(|_| "expected an origin such as https://example.org, or *".into())
}
