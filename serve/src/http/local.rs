//! A page for the person at this machine: whatever a function answers, at an address that only this machine reaches.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;

use super::app::blocking;
use super::listen::{Limits, serve};
use super::server::ServeError;
use super::socket;

/// What a page's function gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// `200` and the like.
    pub status: u16,
    /// `text/html`.
    pub content_type: &'static str,
    /// All of it.
    pub body: String,
}

/// What answers `GET`: is given the path and what follows the question mark.
pub type Answering = Arc<dyn Fn(&str, &str) -> Answer + Send + Sync>;

/// A page that is served. Dropped, it is served no longer.
pub struct LocalPage {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Connections at once: a browser's few.
const CONNECTIONS: usize = 32;

impl LocalPage {
    /// Begins to answer at `port` of 127.0.0.1, or at any that is free where it is 0; with `signals` until the process is asked to
    /// end.
    ///
    /// # Errors
    /// A port that is taken, and no threads or descriptors.
    pub fn start(port: u16, signals: bool, answering: Answering) -> Result<LocalPage, ServeError> {
        socket::ignore_closed();
        let host = Ipv4Addr::LOCALHOST;
        let bound = TcpListener::bind((host, port)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) = bound.map_err(|source| ServeError::Listen {
            host: host.to_string(),
            port,
            source,
        })?;
        let (stop, stopped) = watch::channel(false);
        let limits = Limits {
            connections: CONNECTIONS,
            header_time: Duration::from_secs(30),
            drain_time: Duration::from_secs(1),
            signals,
        };
        let local = Local { address, answering };
        let router = Router::new().fallback(answer).with_state(local);
        let builder = std::thread::Builder::new().name("page".into());
        let thread = builder.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(2)
                .build()?;
            let served = runtime.block_on(serve(listener, router, limits, stopped, |_| {}));
            // Nobody waits for an answer that nobody reads.
            runtime.shutdown_background();
            served
        })?;
        Ok(LocalPage {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What the system reports of the listening socket.
    pub fn wait(&mut self) -> io::Result<()> {
        // A panic has been reported where it happened.
        let thread = self.thread.take();
        thread.map_or(Ok(()), |thread| thread.join().unwrap_or(Ok(())))
    }
}

impl Drop for LocalPage {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        // Nobody is left to be told.
        let _ = self.wait();
    }
}

#[derive(Clone)]
struct Local {
    address: SocketAddr,
    answering: Answering,
}

async fn answer(State(local): State<Local>, headers: HeaderMap, uri: Uri) -> Response {
    // A page from elsewhere may have a name of its own lead here; what it asks under that name is not answered.
    if !is_own_name(&headers, local.address) {
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    }
    let done = blocking(move || {
        let query = uri.query().unwrap_or_default();
        Ok((local.answering)(uri.path(), query))
    });
    let answer = match done.await {
        Ok(answer) => answer,
        Err(fault) => return fault.into_response(),
    };
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
        img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, answer.content_type),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, headers, answer.body).into_response()
}

fn is_own_name(headers: &HeaderMap, address: SocketAddr) -> bool {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let port = address.port();
    host.is_some_and(|h| h == address.to_string() || h == format!("localhost:{port}"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    fn asked(page: &LocalPage, head: &str) -> String {
        let mut stream = TcpStream::connect(page.address()).unwrap();
        write!(stream, "{head}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_page_is_answered_under_its_own_name_alone() {
        let answering: Answering = Arc::new(|path, query| Answer {
            status: 200,
            content_type: "text/plain",
            body: format!("{path} and {query}"),
        });
        let page = LocalPage::start(0, false, answering).unwrap();
        let address = page.address();
        let own = asked(
            &page,
            &format!("GET /view?off=a HTTP/1.1\r\nHost: {address}"),
        );
        assert!(
            own.starts_with("HTTP/1.1 200 ") && own.ends_with("/view and off=a"),
            "{own}"
        );
        let local = asked(
            &page,
            &format!("GET / HTTP/1.1\r\nHost: localhost:{}", address.port()),
        );
        assert!(local.starts_with("HTTP/1.1 200 "), "{local}");
        let other = asked(&page, "GET / HTTP/1.1\r\nHost: example.org");
        assert!(other.starts_with("HTTP/1.1 421 "), "{other}");
        assert!(!other.contains(" and "), "{other}");
    }

    #[test]
    fn a_port_that_is_taken_is_said() {
        let answering: Answering = Arc::new(|_, _| unreachable!("nobody asks"));
        let first = LocalPage::start(0, false, Arc::clone(&answering)).unwrap();
        let port = first.address().port();
        let Err(refused) = LocalPage::start(port, false, answering) else {
            panic!("the port is taken");
        };
        assert!(
            refused.to_string().contains(&format!("127.0.0.1:{port}")),
            "{refused}"
        );
    }
}
