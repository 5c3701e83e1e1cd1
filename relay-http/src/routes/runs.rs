//! `GET /runs/{run}`: what happened in a run, from any relay, while it goes on and afterwards: as JSON, which may be waited for,
//! or as a stream of events. docs/web.md has the shapes.
//!
//! Whoever may not look gets the answer that there is no such run.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, TryStreamExt};
use relay_core::id::{ConversationId, RunId};
use relay_core::store::{Logged, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::{App, in_time};
use crate::clock;
use crate::error::RequestError;
use crate::links::Purpose;
use crate::routes::admin::{Denied, Operator};
use crate::routes::console::SignedIn;
use crate::viewers::{Seen, Viewer};

/// How long a request waits at most for something to happen: shorter than proxies let a silent request live.
const WAIT_MAX: Duration = Duration::from_secs(25);
const HEADERS: [(header::HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// What is asked for.
#[derive(Deserialize)]
pub struct Asked {
    /// A signed link's key.
    key: Option<String>,
    /// Entries after this place.
    after: Option<u64>,
    /// How long to wait for some.
    wait_ms: Option<u64>,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer {
    run: RunId,
    /// Whether the run is over and these are its last entries.
    over: bool,
    /// Where to go on.
    cursor: u64,
    entries: Vec<Logged>,
}

/// Either form, as the caller accepts.
pub async fn follow(
    State(app): State<Arc<App>>,
    Path(run): Path<String>,
    asked: Result<Query<Asked>, QueryRejection>,
    signed_in: Result<SignedIn, RequestError>,
    operator: Result<Operator, Denied>,
    headers: HeaderMap,
) -> Result<Response, RequestError> {
    let Query(asked) = asked.map_err(|_| RequestError::Malformed("the query is not understood"))?;
    let run = RunId::parse(run).map_err(|_| RequestError::NotFound)?;
    let conversation = run.conversation().ok_or(RequestError::NotFound)?;
    let is_own = signed_in.is_ok_and(|signed_in| signed_in.has(&app, &conversation));
    // That somebody is on this machine is not enough here: they have to have given the token.
    let is_operator = operator.is_ok() && headers.contains_key(header::AUTHORIZATION);
    if !is_own && !is_operator && !has_key(&app, &run, asked.key.as_deref()) {
        return Err(RequestError::NotFound);
    }
    let is_over = in_time(is_over(&app, &conversation, &run)).await?.ok_or(RequestError::NotFound)?;
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let streams = header("accept").is_some_and(|accepted| accepted.contains("text/event-stream"));
    let last = header("last-event-id").and_then(|id| id.parse().ok()).filter(|_| streams);
    let cursor = last.or(asked.after).unwrap_or(0);
    let viewer = app.viewers.view(conversation, run.clone(), cursor, is_over).ok_or(RequestError::TooManyViewers)?;
    if streams {
        let events = Sse::new(events(viewer)).keep_alive(KeepAlive::default());
        return Ok((HEADERS, events).into_response());
    }
    let wait = Duration::from_millis(asked.wait_ms.unwrap_or(0)).min(WAIT_MAX);
    Ok((HEADERS, Json(answer(viewer, run, wait).await?)).into_response())
}

/// Whether a signed link was for this run.
fn has_key(app: &App, run: &RunId, key: Option<&str>) -> bool {
    let subject = key.and_then(|key| app.links.verify(Purpose::Run, key, clock::now()).ok());
    subject.is_some_and(|subject| subject == run.as_str())
}

/// Whether a run is over; `None` when there was none of that name.
async fn is_over(app: &App, id: &ConversationId, run: &RunId) -> Result<Option<bool>, StoreError> {
    let Some(conversation) = app.store.conversation(id).await? else { return Ok(None) };
    let number = run.number().parse().ok().filter(|number| (1..=conversation.runs).contains(number));
    let is_known = number.is_some_and(|number| conversation.run_id(number) == *run);
    Ok(is_known.then(|| conversation.run() != Some(run)))
}

async fn answer(mut viewer: Viewer, run: RunId, wait: Duration) -> Result<Answer, RequestError> {
    let seen = match in_time(viewer.seen()).await? {
        Some(seen) => seen,
        // Whatever came in time; nothing, otherwise.
        None => tokio::time::timeout(wait, viewer.next()).await.unwrap_or(Ok(Seen::Gone))?,
    };
    let entries = match seen {
        Seen::Entries(entries) => entries,
        Seen::Over | Seen::Gone => Vec::new(),
    };
    Ok(Answer { run, over: viewer.is_done(), cursor: viewer.cursor(), entries })
}

/// Each entry, known by its place; in the end, that there is nothing more to come.
fn events(viewer: Viewer) -> impl Stream<Item = Result<SseEvent, RequestError>> {
    let batches = futures::stream::try_unfold(Some(viewer), |viewer| async move {
        let Some(mut viewer) = viewer else { return Ok::<_, RequestError>(None) };
        Ok(match viewer.next().await? {
            Seen::Entries(entries) => Some((entries.iter().map(to_sse).collect(), Some(viewer))),
            Seen::Over => {
                let end = SseEvent::default().event("end").data(json!({ "cursor": viewer.cursor() }).to_string());
                Some((vec![end], None))
            }
            Seen::Gone => None,
        })
    });
    batches.map_ok(|batch| futures::stream::iter(batch).map(Ok)).try_flatten()
}

fn to_sse(entry: &Logged) -> SseEvent {
    let data = serde_json::to_string(entry).expect("plain data with text keys");
    SseEvent::default().id(entry.cursor.to_string()).data(data)
}
