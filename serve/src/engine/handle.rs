//! The engine as others see it: requests go in, events come out, counts can be read.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use graver_runtime::session::Session;
use graver_runtime::tokenizer::Tokenizer;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::cache::Cache;
use super::choose::Chooser;
use super::masks::Masks;
use super::metrics::{Counts, Gauges};
use super::plan::StepLimits;
use super::queue::{Job, Phase, Queue};
use super::request::{Event, Request, RequestError};
use super::worker::Worker;

/// Choices that are made when an engine starts.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Requests that may wait for a slot.
    pub queue: usize,
    /// Tokens of prompts in a step in which something else decodes.
    pub max_prefill_per_step: usize,
    /// Bytes that snapshots of sequences may take that cannot be cut.
    pub snapshot_bytes: usize,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            queue: 64,
            max_prefill_per_step: 128,
            snapshot_bytes: 512 << 20,
            eos: Vec::new(),
        }
    }
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a thread for the engine: {0}; fewer --threads may help")]
pub struct StartError(#[from] io::Error);

/// What the engine's thread shares with everybody else.
pub(super) struct Board {
    pub(super) queue: Queue,
    pub(super) counts: Counts,
    pub(super) gauges: Gauges,
}

/// A session that serves many requests at once. Dropped, it gives up those that are under way.
pub struct Engine {
    board: Arc<Board>,
    thread: Mutex<Option<JoinHandle<()>>>,
    vocab: usize,
    context: usize,
    slots: usize,
}

/// A request that was taken. Dropped, the request is given up within a step.
pub struct Submitted {
    /// What happens to it; ends after the last choice, or the first failure.
    pub events: UnboundedReceiver<Event>,
}

impl Engine {
    /// Starts the thread that owns the session. Without a tokenizer, events have no text.
    pub fn start(
        session: Session,
        tokenizer: Option<Arc<Tokenizer>>,
        options: EngineOptions,
    ) -> Result<Engine, StartError> {
        let board = Arc::new(Board {
            queue: Queue::new(options.queue),
            counts: Counts::default(),
            gauges: Gauges::default(),
        });
        let (vocab, context, slots) = (session.vocab(), session.context(), session.slots());
        let (shared, masks) = (Arc::clone(&board), Masks::start()?);
        let builder = std::thread::Builder::new().name("engine".into());
        let thread = builder.spawn(move || {
            let _end = EndWithThread(Arc::clone(&shared));
            let limits = StepLimits {
                tokens: session.max_step(),
                prefill: options.max_prefill_per_step,
            };
            Worker {
                cache: Cache::new(session.slots(), options.snapshot_bytes),
                session,
                tokenizer: tokenizer.as_deref(),
                board: shared,
                eos: options.eos,
                limits,
                running: Vec::new(),
                waiting: VecDeque::new(),
                masks,
                scratch: Vec::new(),
                rows: Vec::new(),
                turn: 0,
            }
            .work();
        })?;
        Ok(Engine {
            board,
            thread: Mutex::new(Some(thread)),
            vocab,
            context,
            slots,
        })
    }

    /// Takes a request, or says at once why not.
    pub fn submit(&self, request: Request) -> Result<Submitted, RequestError> {
        request.check(self.vocab, self.context)?;
        Chooser::new(&request.sampling, 0, request.logprobs)?;
        let (sender, events) = unbounded_channel();
        let pushed = self.board.queue.push(Job {
            request,
            events: sender,
        });
        match &pushed {
            Ok(()) => self.board.counts.requests.add(1),
            Err(RequestError::Busy { .. }) => self.board.counts.refused.add(1),
            Err(_) => {}
        }
        pushed.map(|()| Submitted { events })
    }

    /// Numbers that only grow.
    pub fn counts(&self) -> &Counts {
        &self.board.counts
    }

    /// Numbers that go up and down.
    pub fn gauges(&self) -> &Gauges {
        &self.board.gauges
    }

    /// Size of the vocabulary.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Positions each sequence has room for.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Sequences that are computed at once.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Whether requests are taken.
    pub fn is_open(&self) -> bool {
        self.board.queue.phase() == Phase::Open
    }

    /// Takes no more requests; those that were taken are finished.
    pub fn drain(&self) {
        self.board.queue.advance(Phase::Draining);
    }

    /// Takes no more requests, and gives up those that were taken.
    pub fn end(&self) {
        self.board.queue.advance(Phase::Ending);
    }

    /// Waits until nothing is left to do, after [`Engine::drain`] or [`Engine::end`].
    pub fn wait(&self) {
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        // A panic has been reported where it happened.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
        self.wait();
    }
}

/// Closes the queue when the thread ends, however that comes about.
struct EndWithThread(Arc<Board>);

impl Drop for EndWithThread {
    fn drop(&mut self) {
        self.0.queue.advance(Phase::Ended);
    }
}
