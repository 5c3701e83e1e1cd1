//! One small HTTP server under every fake: it reads each request whole, keeps it for the test to look at, and asks the
//! fake for the answer. With it come the faults that a fake can be told to commit.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The largest request that a fake reads; above it the answer is 413.
const BODY_MAX: usize = 64 << 20;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// The path, without the query, not decoded.
    pub path: String,
    /// The query without its question mark; empty when there is none.
    pub query: String,
    /// Every header.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// When all of it was there.
    pub at: Instant,
}

impl Received {
    /// The value of a header; `None` when it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The query's pairs, decoded, in order.
    pub fn query_pairs(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.query.as_bytes()).into_owned().collect()
    }

    /// The form body's pairs, decoded, in order.
    pub fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// Whether `text` stands anywhere in this request: for asserting where a secret went.
    pub fn mentions(&self, text: &str) -> bool {
        let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        holds(self.path.as_bytes())
            || holds(self.query.as_bytes())
            || holds(&self.body)
            || self.headers.values().any(|value| holds(value.as_bytes()))
    }
}

/// A server on a loopback port of its own, until dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serve on a free port; `answer` gets each request whole, after it was recorded.
    ///
    /// # Panics
    /// When no loopback port can be had.
    pub async fn start<F, Answer>(answer: F) -> Self
    where
        F: Fn(Received) -> Answer + Clone + Send + Sync + 'static,
        Answer: Future<Output = Response> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let record = received.clone();
        let router = Router::new().fallback(move |request: Request| {
            let (record, answer) = (record.clone(), answer.clone());
            async move {
                let Some(request) = read(request).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
                record.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
                answer(request).await
            }
        });
        let task = tokio::spawn(async move {
            let served: Result<(), Infallible> =
                axum::serve(listener, router).await.map_err(|e| panic!("serving: {e}"));
            served.unwrap_or(());
        });
        Self { address, received, task }
    }

    /// Where it listens, as `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(request: Request) -> Option<Received> {
    let (head, body) = request.into_parts();
    Some(Received {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: to_bytes(body, BODY_MAX).await.ok()?,
        at: Instant::now(),
    })
}

/// What a fake does wrong with one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The work is not done; this is the answer.
    Answer(StatusCode, Value),
    /// The work is not done and no answer ever comes: the caller has to give up by itself.
    BlackHole,
    /// The work is done, and the connection closes before the first byte of the answer.
    DropReply,
    /// The work is done, and answered so much later.
    Delay(Duration),
    /// The work is done so much later: the request was on its way for so long.
    Late(Duration),
}

/// The faults that a fake was told to commit, each once, told apart by the operation they are for.
#[derive(Clone, Debug)]
pub struct Faults<Operation>(Arc<Mutex<VecDeque<(Operation, Fault)>>>);

impl<Operation> Default for Faults<Operation> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<Operation: PartialEq> Faults<Operation> {
    /// The next request for `operation` that has no earlier fault waiting meets this one.
    pub fn push(&self, operation: Operation, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back((operation, fault));
    }

    /// Answer a request for `operation` with what `work` gives, or with the fault that waits for it.
    pub async fn around(&self, operation: Operation, work: impl Future<Output = Response>) -> Response {
        match self.take(&operation) {
            None => work.await,
            Some(Fault::Answer(status, body)) => (status, Json(body)).into_response(),
            Some(Fault::BlackHole) => std::future::pending().await,
            Some(Fault::DropReply) => {
                work.await;
                // Unwinding ends the connection's task, and with it the connection, without a byte or a message.
                resume_unwind(Box::new("the reply is dropped on purpose"))
            }
            Some(Fault::Delay(delay)) => {
                let answer = work.await;
                tokio::time::sleep(delay).await;
                answer
            }
            Some(Fault::Late(delay)) => {
                tokio::time::sleep(delay).await;
                work.await
            }
        }
    }

    fn take(&self, operation: &Operation) -> Option<Fault> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = waiting.iter().position(|(of, _)| of == operation)?;
        waiting.remove(found).map(|(_, fault)| fault)
    }
}

/// A JSON answer.
pub fn json(status: u16, body: Value) -> Response {
    (StatusCode::from_u16(status).expect("a status written in this crate"), Json(body)).into_response()
}

/// An answer with no body.
pub fn empty(status: u16) -> Response {
    let status = StatusCode::from_u16(status).expect("a status written in this crate");
    (status, Body::empty()).into_response()
}
