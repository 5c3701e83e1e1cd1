//! A relay that takes reports and remembers them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use relay_core::id::RunId;
use relay_core::protocol::{Report, RunOutcome, VmEvent, signature};
use tokio::net::TcpListener;
use vm_agent::clock;

use super::eventually;
use super::vm::SECRET;

/// A relay at an address of its own.
#[derive(Clone)]
pub(crate) struct FakeRelay {
    pub(crate) url: String,
    state: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    reports: Vec<Report>,
    /// Answered before anything is taken.
    answers: Vec<StatusCode>,
}

impl FakeRelay {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let relay = Self { url, state: Arc::default() };
        let app = Router::new().fallback(take).with_state(relay.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        relay
    }

    /// Answer the next calls like this instead of taking them; the last of `statuses` first.
    pub(crate) fn refuse(&self, statuses: &[u16]) {
        let statuses = statuses.iter().map(|code| StatusCode::from_u16(*code).unwrap());
        self.state.lock().unwrap().answers.extend(statuses);
    }

    /// Take everything from now on.
    pub(crate) fn accept(&self) {
        self.state.lock().unwrap().answers.clear();
    }

    /// What was taken of a run, each report once, in order of their numbers.
    pub(crate) fn reports(&self, run: &RunId) -> Vec<Report> {
        let mut reports: Vec<Report> =
            self.state.lock().unwrap().reports.iter().filter(|report| report.run == *run).cloned().collect();
        reports.sort_by_key(|report| report.seq);
        reports.dedup_by_key(|report| report.seq);
        reports
    }

    /// The numbers in the order in which they came.
    pub(crate) fn arrivals(&self, run: &RunId) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        state.reports.iter().filter(|report| report.run == *run).map(|report| report.seq).collect()
    }

    /// How a run ended, and every other end that was reported, which is one too many.
    pub(crate) fn outcomes(&self, run: &RunId) -> Vec<RunOutcome> {
        let finished = |report: Report| match report.event {
            VmEvent::Finished { outcome, .. } => Some(outcome),
            _ => None,
        };
        self.reports(run).into_iter().filter_map(finished).collect()
    }

    pub(crate) async fn outcome(&self, run: &RunId) -> RunOutcome {
        eventually("the run's outcome", async || self.outcomes(run).pop()).await
    }

    /// The `nth` event, from 0, that `pick` takes.
    pub(crate) async fn event<T>(&self, run: &RunId, nth: usize, pick: impl Fn(VmEvent) -> Option<T>) -> T {
        let find = async || self.reports(run).into_iter().filter_map(|report| pick(report.event)).nth(nth);
        eventually("an event of the run", find).await
    }
}

async fn take(State(relay): State<FakeRelay>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let mut state = relay.state.lock().unwrap();
    if let Some(status) = state.answers.pop() {
        return status;
    }
    let signed = headers.get(signature::HEADER).and_then(|value| value.to_str().ok());
    let verified = signature::verify(SECRET.as_bytes(), clock::now(), method.as_str(), uri.path(), &body, signed);
    verified.expect("every report is signed");
    let report: Report = serde_json::from_slice(&body).expect("a report");
    assert_eq!(uri.path(), format!("/base/callback/{}", report.run));
    state.reports.push(report);
    StatusCode::NO_CONTENT
}
