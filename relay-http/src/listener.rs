//! The socket that this relay listens on, and how it is closed: without refusing anybody who was let in.
//!
//! A socket that is closed while connections wait to be accepted resets them, and a server that begins to end closes connections
//! on which no request has come yet. A proxy in front can't send either elsewhere, because a request may have been read. So first
//! all that wait are accepted, then the socket is closed, and only after a moment, in which their requests come, the server
//! begins to end. What is answered meanwhile says that its connection is closed, so that a proxy sends no more on it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Once it is to be closed, the socket is closed when nobody has come for so long.
const QUIET: Duration = Duration::from_millis(10);
/// After so long it is closed as soon as nobody waits, however many come.
const OPEN_MAX: Duration = Duration::from_millis(100);
/// Whoever was let in has sent a request by then.
const LINGER: Duration = Duration::from_millis(500);

/// A socket that closes when it is told to.
#[derive(Debug)]
pub struct ClosingListener {
    listener: Option<TcpListener>,
    address: SocketAddr,
    stopping: CancellationToken,
    /// Once it is to be closed.
    open_until: Option<Instant>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl ClosingListener {
    /// Listen until `stopping` is cancelled.
    pub fn new(listener: TcpListener, stopping: CancellationToken) -> io::Result<Self> {
        Ok(Self { address: listener.local_addr()?, listener: Some(listener), stopping, open_until: None })
    }

    /// What closes it.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }
}

impl Listener for ClosingListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            let Some(listener) = &mut self.listener else { return std::future::pending().await };
            tokio::select! {
                biased;
                accepted = Listener::accept(listener) => return accepted,
                () = quiet(&self.stopping, &mut self.open_until) => self.listener = None,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

async fn quiet(stopping: &CancellationToken, open_until: &mut Option<Instant>) {
    stopping.cancelled().await;
    let now = Instant::now();
    tokio::time::sleep_until((now + QUIET).min(*open_until.get_or_insert(now + OPEN_MAX))).await;
}

/// When the server may begin to end.
pub async fn lingered(stopping: CancellationToken) {
    stopping.cancelled().await;
    tokio::time::sleep(LINGER).await;
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// One has connected and not been accepted, another has been and says nothing yet.
    #[tokio::test]
    async fn whoever_was_let_in_is_answered_and_others_are_refused() {
        let stopping = CancellationToken::new();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "hello" }));
        let listener = ClosingListener::new(listener, stopping.clone()).unwrap();
        let early = TcpStream::connect(address).await.unwrap();
        let server = crate::server::serve(listener, router, lingered(stopping.clone()));
        stopping.cancel();
        let server = tokio::spawn(server);
        tokio::time::timeout(Duration::from_secs(5), async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::time::sleep(QUIET).await;
            }
        })
        .await
        .expect("the socket is closed");
        let mut answer = String::new();
        let mut early = early;
        early.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        early.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
        assert!(answer.contains("connection: close"), "nobody keeps it for more: {answer}");
        server.await.unwrap();
    }
}
