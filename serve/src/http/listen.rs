//! Connections: accepted while there may be more, given up where nothing comes, closed when the server ends.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::socket::give_up_after;

/// Bytes of a request's headers.
const HEADER_BYTES: usize = 64 << 10;
/// Headers of a request.
const HEADERS: usize = 100;
/// Until a client that takes nothing is given up.
const WRITE_TIME: Duration = Duration::from_secs(60);

/// Limits of connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) connections: usize,
    pub(super) header_time: Duration,
    pub(super) drain_time: Duration,
    pub(super) signals: bool,
}

/// How far the end has come, for what stands behind the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Nothing more is asked.
    Drain,
    /// Nothing more is answered.
    End,
}

/// Answers until it is asked to end, and then until all is answered that was asked before.
pub(super) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stopped: watch::Receiver<bool>,
    ending: impl Fn(Ending),
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut signals = limits.signals.then(Signals::new).transpose()?;
    let connections = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accept = accept(&listener, &room);
        tokio::select! {
            (stream, permit) = accept => connect(stream, permit, &router, &connections, limits),
            () = asked(&mut stopped) => break,
            () = Signals::next(&mut signals) => break,
        }
    }
    drop(listener);
    ending(Ending::Drain);
    let all_closed = connections.shutdown();
    tokio::select! {
        () = all_closed => {}
        () = tokio::time::sleep(limits.drain_time) => {}
        () = Signals::next(&mut signals) => {}
    }
    ending(Ending::End);
    Ok(())
}

/// The next connection. Errors of one connection, or of too many open files, are not the server's end.
async fn accept(
    listener: &tokio::net::TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn connect(
    stream: TcpStream,
    permit: Option<OwnedSemaphorePermit>,
    router: &Router,
    connections: &GracefulShutdown,
    limits: Limits,
) {
    // Pieces of a stream are not kept for more to come. What the system refuses does not matter.
    let _ = stream.set_nodelay(true);
    let _ = give_up_after(&stream, WRITE_TIME);
    let service = TowerToHyperService::new(router.clone());
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    tokio::spawn(async move {
        // Connections break; whoever was at the other end knows.
        let _ = connection.await;
        drop(permit);
    });
}

async fn asked(stopped: &mut watch::Receiver<bool>) {
    // It fails when the server has been dropped, which asks as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// What asks a process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// The next of them; never, where nobody listens for them.
    async fn next(signals: &mut Option<Signals>) {
        match signals {
            None => std::future::pending().await,
            Some(signals) => {
                tokio::select! {
                    _ = signals.terminate.recv() => {}
                    _ = signals.interrupt.recv() => {}
                }
            }
        }
    }
}
