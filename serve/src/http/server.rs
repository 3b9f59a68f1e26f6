//! A server: bound, running on a thread of its own, asked to end, waited for.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::http::HeaderValue;
use tokio::sync::watch;

use super::app::{App, now, router};
use super::body::BodyLimits;
use super::constraints::{Followed, compile};
use super::listen::{Ending, Limits, serve};
use super::model::ServedModel;
use super::socket;
use crate::answer::format::SpecialMarks;
use crate::engine::{ConstraintError, Engine, EngineOptions, StartError};
use crate::prompt::SpecialTexts;

/// Choices that are made when a server starts.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Address to listen at.
    pub host: String,
    /// Port to listen at; 0 for any that is free.
    pub port: u16,
    /// Key that clients have to send.
    pub key: Option<String>,
    /// Origin whose pages may ask.
    pub cors: Option<HeaderValue>,
    /// Bytes of the longest body.
    pub max_body: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Until the headers of a request have to be there.
    pub header_time: Duration,
    /// Until the body of a request has to be there.
    pub read_time: Duration,
    /// What answers have to be completed in when the server is asked to end.
    pub drain_time: Duration,
    /// Ends when the process is asked to; at once when it is asked again.
    pub signals: bool,
    /// What answers have to follow whose requests do not say.
    pub followed: Option<Followed>,
    /// Those of the engine; tokens that end a text come from the model.
    pub engine: EngineOptions,
}

impl Default for ServerOptions {
    /// For this machine alone, at any port.
    fn default() -> ServerOptions {
        ServerOptions {
            host: "127.0.0.1".into(),
            port: 0,
            key: None,
            cors: None,
            max_body: 8 << 20,
            max_connections: 16384,
            header_time: Duration::from_secs(30),
            read_time: Duration::from_secs(30),
            drain_time: Duration::from_secs(30),
            signals: false,
            followed: None,
            engine: EngineOptions::default(),
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or is not this machine's.
    #[error("cannot listen on {host}:{port}: {source}; choose another --host or --port")]
    Listen {
        /// The address.
        host: String,
        /// The port.
        port: u16,
        /// The system's reason.
        source: io::Error,
    },
    /// No threads, or no descriptors.
    #[error("cannot start the server: {0}; are there too many processes or open files?")]
    Start(#[from] io::Error),
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// What all answers have to follow cannot be followed.
    #[error("{0}; fix --json-schema or --grammar")]
    Followed(#[from] ConstraintError),
}

/// Serves a model until the process is asked to end; says on `notes` where.
///
/// # Errors
/// A server that does not start, or whose sockets fail.
pub fn run(
    model: ServedModel,
    options: ServerOptions,
    notes: &mut dyn Write,
) -> Result<(), ServeError> {
    let (name, talks) = (model.name.clone(), model.template.is_some());
    let server = Server::start(model, options)?;
    // Notes that cannot be written are not a failure.
    let _ = writeln!(notes, "{name}: listening on http://{}", server.address());
    if !talks {
        let _ = writeln!(
            notes,
            "{name} has no chat template, so /v1/chat/completions is disabled; pass one with --chat-template FILE"
        );
    }
    Ok(server.wait()?)
}

/// A server that runs. Dropped, it ends at once.
pub struct Server {
    address: SocketAddr,
    app: Arc<App>,
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<io::Result<()>>>>,
}

impl Server {
    /// Binds the address and begins to answer. The process ignores writes to connections that are closed from then on
    /// (`SIGPIPE`), as a server has to.
    pub fn start(model: ServedModel, options: ServerOptions) -> Result<Server, ServeError> {
        socket::ignore_closed();
        let (host, port) = (options.host.as_str(), options.port);
        let bound = TcpListener::bind((host, port)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            socket::let_wait(&listener)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) = bound.map_err(|source| ServeError::Listen {
            host: host.into(),
            port,
            source,
        })?;
        let files = usize::try_from(socket::allow_files()).unwrap_or(usize::MAX);
        let limits = Limits {
            // Files of the model, of the runtime and of the terminal are open as well.
            connections: options.max_connections.min(files.saturating_sub(64)).max(1),
            header_time: options.header_time,
            drain_time: options.drain_time,
            signals: options.signals,
        };
        let app = Arc::new(app(model, options)?);
        let (stop, stopped) = watch::channel(false);
        let (router, behind) = (router(Arc::clone(&app)), Arc::clone(&app));
        let builder = std::thread::Builder::new().name("http".into());
        let thread = builder.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(4)
                .build()?;
            let ending = |how| match how {
                Ending::Drain => behind.engine.drain(),
                Ending::End => behind.engine.end(),
            };
            runtime.block_on(serve(listener, router, limits, stopped, ending))
        })?;
        Ok(Server {
            address,
            app,
            stop,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The engine, for its counts.
    pub fn engine(&self) -> &Engine {
        &self.app.engine
    }

    /// Takes no more requests, and ends when those that were taken are answered.
    pub fn drain(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the end.
    pub fn wait(&self) -> io::Result<()> {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // A panic has been reported where it happened.
        thread.map_or(Ok(()), |thread| thread.join().unwrap_or(Ok(())))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.app.engine.end();
        self.drain();
        // Nobody is left to be told.
        let _ = self.wait();
    }
}

fn app(model: ServedModel, options: ServerOptions) -> Result<App, ServeError> {
    let tokenizer = model.tokenizer;
    let engine = EngineOptions {
        eos: model.eos.clone(),
        ..options.engine
    };
    let engine = Engine::start(model.session, Some(Arc::clone(&tokenizer)), engine)?;
    let app = App {
        engine,
        embedder: model.embedder,
        template: model.template,
        special_marks: SpecialMarks::of(&model.format, &tokenizer),
        special_texts: SpecialTexts::of(&tokenizer),
        tokenizer,
        format: model.format,
        name: model.name,
        created: now(),
        key: options.key,
        cors: options.cors,
        limits: BodyLimits {
            bytes: options.max_body,
            time: options.read_time,
        },
        followed: options.followed,
        eos: model.eos,
        guide: OnceLock::new(),
    };
    // What cannot be followed is refused before anybody asks.
    if let Some(followed) = &app.followed {
        app.guide(|guide| compile(guide, followed).map(drop))?;
    }
    Ok(app)
}
