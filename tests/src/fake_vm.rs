//! A VM without git and without an agent, inside the test: it speaks docs/protocol.md as vm-agent does, works on made-up
//! diffs, and keeps a record of everything, so that a test can say from outside what the relays did.
//!
//! Each conversation has a worktree of its own here, as if each had a VM of its own behind one address. What a run does is
//! chosen by its text: with `question` in it the agent answers and changes nothing, with `long` it works until it is
//! stopped, with `chatty` it has much to tell for a minute, with `essay` it answers
//! at length, with `choose` it first asks the person twice; any other text becomes a diff, with `review` in it one that was laid
//! out for its page. The tree of the diff is named in the diff's text.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use axum::response::Response;
use relay_core::protocol::signature::{self, HEADER};
use relay_core::protocol::{ApproveRequest, CancelRequest, Command, CommandRequest, RefusalReason, ReplyRequest};
use relay_core::time::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::server::{self, Received, Server};

mod inquiries;
mod reports;
mod review;
mod runs;

pub use reports::{Publisher, Reports};
pub use runs::{ESSAY, Run};

use runs::Runs;

/// What the driver calls itself in its reports.
pub const DRIVER: &str = "fake";

/// The VM, until dropped.
#[derive(Debug)]
pub struct FakeVm {
    server: Server,
    runs: Arc<Runs>,
}

impl FakeVm {
    /// Start it on a port of its own. Each step of a run takes up to `pace`. Reports wait until [`FakeVm::report_to`] has said
    /// where they go.
    pub async fn start(secret: &str, pace: Duration) -> Self {
        let runs = Arc::new(Runs::new(secret, pace));
        let serving = Arc::clone(&runs);
        let server = Server::start(move |request| {
            let runs = Arc::clone(&serving);
            async move { answer(&runs, &request) }
        })
        .await;
        Self { server, runs }
    }

    /// Deliver reports this way from now on; of several, each run takes one.
    pub fn report_to(&self, ways: Vec<Reports>) {
        self.runs.report_to(ways);
    }

    /// What `VM_URL` is to be.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Every run, in the order in which they were started.
    pub fn runs(&self) -> Vec<Run> {
        self.runs.all()
    }

    /// What relays asked for that no relay may ask for, one line each: a run while another one of the conversation is not
    /// over, a decision on another tree than the one reported, a second decision that differs from the first.
    pub fn violations(&self) -> Vec<String> {
        self.runs.violations()
    }

    /// How many requests were refused because a larger fence had been seen.
    pub fn stale(&self) -> usize {
        self.runs.stale()
    }
}

impl Drop for FakeVm {
    fn drop(&mut self) {
        self.runs.end();
    }
}

/// An answer that is not a success.
type Refused = (u16, RefusalReason, &'static str);

fn answer(runs: &Arc<Runs>, request: &Received) -> Response {
    let now = runs::now();
    match route(runs, request, now) {
        Ok((status, body)) => server::json(status, body),
        Err((status, refused, message)) => server::json(status, json!({ "refused": refused, "message": message })),
    }
}

fn route(runs: &Arc<Runs>, request: &Received, now: Timestamp) -> Result<(u16, Value), Refused> {
    let (method, path) = (&request.method, request.path.as_str());
    signature::verify(runs.secret(), now, method.as_str(), path, &request.body, request.header(HEADER))
        .map_err(|_| (401, RefusalReason::Signature, "The signature does not match."))?;
    match (method, path) {
        (&Method::POST, "/command") => {
            let CommandRequest { conversation, fence, command } = parse(request)?;
            runs.pass(&conversation, fence)?;
            match command {
                Command::Run { run, task } => runs.start(conversation, fence, run, task).map(|a| (202, value(&a))),
                Command::Ask { .. } => Ok((200, json!({ "text": "The fake VM has nothing to show." }))),
            }
        }
        (&Method::POST, "/approve") => {
            let ApproveRequest { conversation, fence, run, tree, decision } = parse(request)?;
            runs.pass(&conversation, fence)?;
            runs.decide(&run, &tree, decision).map(|accepted| (202, value(&accepted)))
        }
        (&Method::POST, "/cancel") => {
            let CancelRequest { conversation, fence, run } = parse(request)?;
            runs.pass(&conversation, fence)?;
            runs.cancel(conversation, fence, &run).map(|accepted| (202, value(&accepted)))
        }
        (&Method::POST, "/reply") => {
            let ReplyRequest { conversation, fence, run, number, reply } = parse(request)?;
            runs.pass(&conversation, fence)?;
            runs.reply(&run, number, reply).map(|accepted| (202, value(&accepted)))
        }
        (&Method::GET, path) => {
            let status = path.strip_prefix("/runs/").and_then(|run| runs.status(run)).map(|status| value(&status));
            let part = || path.strip_prefix("/reviews/").and_then(|part| runs.review(part));
            let body = status.or_else(part).ok_or((404, RefusalReason::NotFound, "There is no such thing."))?;
            Ok((200, body))
        }
        _ => Err((404, RefusalReason::NotFound, "There is no such thing.")),
    }
}

fn parse<T: DeserializeOwned>(request: &Received) -> Result<T, Refused> {
    serde_json::from_slice(&request.body).map_err(|_| (422, RefusalReason::Invalid, "That makes no sense."))
}

fn value(body: &impl Serialize) -> Value {
    serde_json::to_value(body).expect("plain data with text keys")
}
