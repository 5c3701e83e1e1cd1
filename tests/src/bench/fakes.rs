//! Stand-ins for Twilio and for a VM that cost next to nothing: one ready-made answer, after a fixed time or never. To a question
//! they answer that there is nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::http1::Connection;

/// No time at all until the answer.
pub(super) const AT_ONCE: Duration = Duration::ZERO;

/// A list of messages, or whatever else was asked for.
const NOTHING: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 15\r\n\r\n{\"messages\":[]}";
/// Calls that only show that something happens, and are not counted.
const TYPING: &[u8] = b"Typing";

/// A server that gives one answer to everything that it is told to do, until dropped.
#[derive(Debug)]
pub(super) struct Fake {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    answer: Vec<u8>,
    delay: Duration,
    holding: watch::Sender<bool>,
    calls: watch::Sender<Calls>,
}

/// What a fake has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Calls {
    /// What it was told to do: messages, or runs.
    pub(super) count: usize,
    /// When the latest came.
    pub(super) latest: Option<Instant>,
    /// Connections that were opened.
    pub(super) connections: usize,
}

impl Fake {
    /// Twilio: takes every message, in words as many as Twilio's own.
    pub(super) async fn twilio(delay: Duration) -> std::io::Result<Self> {
        let filler = "x".repeat(600);
        Self::start(
            delay,
            "201 Created",
            &format!(r#"{{"sid":"SM00000000000000000000000000000000","body":"{filler}"}}"#),
        )
        .await
    }

    /// A VM: accepts every run, and never reports of one.
    pub(super) async fn vm(delay: Duration) -> std::io::Result<Self> {
        Self::start(delay, "202 Accepted", r#"{"run":"bench","repeated":false}"#).await
    }

    async fn start(delay: Duration, status: &str, body: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        let shared = Arc::new(Shared {
            answer: (head + body).into_bytes(),
            delay,
            holding: watch::Sender::new(false),
            calls: watch::Sender::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether requests from now on are kept without an answer until this is told otherwise.
    pub(super) fn hold(&self, holding: bool) {
        self.shared.holding.send_replace(holding);
    }

    /// What it has seen so far.
    pub(super) fn calls(&self) -> Calls {
        *self.shared.calls.borrow()
    }

    /// Wait for the `count`th request since the start.
    pub(super) async fn called(&self, count: usize) -> Calls {
        let mut calls = self.shared.calls.subscribe();
        *calls.wait_for(|calls| calls.count >= count).await.expect("the sender lives as long as the fake")
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Owned here, so that dropping the fake ends every connection.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.calls.send_modify(|calls| calls.connections += 1);
        let shared = Arc::clone(&shared);
        // A caller that was killed leaves a broken connection, which is no fault of the fake's.
        connections.spawn(async move { serve(stream, &shared).await.unwrap_or_default() });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut connection = Connection::over(stream)?;
    let mut holding = shared.holding.subscribe();
    while let Some(request) = connection.receive().await? {
        if !request.asks_but_for(TYPING) {
            connection.send(NOTHING).await?;
            continue;
        }
        shared.calls.send_modify(|calls| {
            calls.count += 1;
            calls.latest = Some(Instant::now());
        });
        if holding.wait_for(|holding| !holding).await.is_err() {
            break;
        }
        if shared.delay > AT_ONCE {
            sleep(shared.delay).await;
        }
        connection.send(&shared.answer).await?;
    }
    Ok(())
}
