//! `GET /runs/{run}`: what happened in a run, from any relay, while it goes on and afterwards: as a page, as JSON, which may be
//! waited for, or as a stream of events. `GET /runs/{run}/rows` is the stream of what the page adds. docs/web.md has the shapes.
//!
//! Whoever may not look gets the answer that there is no such run; a browser, a page that says what to do.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, TryStreamExt};
use relay_core::id::{Address, ConversationId, RunId};
use relay_core::machine::Conversation;
use relay_core::store::{Logged, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::{App, in_time};
use crate::clock;
use crate::error::RequestError;
use crate::guests;
use crate::links::{LinkError, Purpose};
use crate::routes::admin::Operator;
use crate::routes::console::SignedIn;
use crate::viewers::{Seen, Viewer};
use crate::web::run::fragment;

mod page;

/// How long a request waits at most for something to happen: shorter than proxies let a silent request live.
const WAIT_MAX: Duration = Duration::from_secs(25);
const HEADERS: [(header::HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// What is asked for.
#[derive(Default, Deserialize)]
pub struct Asked {
    /// A signed link's key.
    key: Option<String>,
    /// Entries after this place.
    after: Option<u64>,
    /// How long to wait for some.
    wait_ms: Option<u64>,
    /// Of a page, the entries before this place.
    before: Option<u64>,
}

/// In what form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Stream,
    Page,
}

impl Form {
    fn of(headers: &HeaderMap) -> Self {
        let accepted = text(headers, "accept").unwrap_or_default();
        match (accepted.contains("text/event-stream"), accepted.contains("text/html")) {
            (true, _) => Self::Stream,
            (false, true) => Self::Page,
            (false, false) => Self::Json,
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Somebody who may look at a run.
pub struct Onlooker {
    run: RunId,
    conversation: ConversationId,
    address: Option<Address>,
    is_over: bool,
    asked: Asked,
    form: Form,
    /// The place that a stream has come to which broke off.
    last: Option<u64>,
}

/// Why there is nothing to be seen, and for whom that is said.
pub struct Refused {
    form: Form,
    why: Why,
}

enum Why {
    /// The link is not good for this run.
    Link(LinkError),
    /// There is no such run any more.
    Gone,
    /// Something else.
    Request(RequestError),
}

impl FromRequestParts<Arc<App>> for Onlooker {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refused> {
        let form = Form::of(&parts.headers);
        let refused = |why| Refused { form, why };
        let Ok(Query(asked)) = Query::<Asked>::from_request_parts(parts, app).await else {
            return Err(refused(Why::Request(RequestError::Malformed("the query is not understood"))));
        };
        let run =
            Path::<String>::from_request_parts(parts, app).await.ok().and_then(|Path(run)| RunId::parse(run).ok());
        let Some((conversation, run)) = run.and_then(|run| Some((run.conversation()?, run))) else {
            return Err(refused(Why::Link(LinkError::Malformed)));
        };
        let signed_in = SignedIn::from_request_parts(parts, app).await;
        let operator = Operator::from_request_parts(parts, app).await;
        let is_own = signed_in.is_ok_and(|signed_in| signed_in.has(app, &conversation));
        // That somebody is on this machine is not enough here: they have to have given the token.
        let is_operator = operator.is_ok() && parts.headers.contains_key(header::AUTHORIZATION);
        if !is_own && !is_operator {
            verify(app, &run, asked.key.as_deref()).map_err(|error| refused(Why::Link(error)))?;
        }
        let stored = in_time(app.store.conversation(&conversation)).await;
        let stored = stored.map_err(|error| refused(Why::Request(error.into())))?.ok_or_else(|| refused(Why::Gone))?;
        let is_over = is_over(&stored, &run).ok_or_else(|| refused(Why::Gone))?;
        let address = stored.address;
        let may_look = in_time(may_look(app, address.as_ref())).await;
        if !may_look.map_err(|error| refused(Why::Request(error.into())))? {
            return Err(refused(Why::Gone));
        }
        let last = text(&parts.headers, "last-event-id").and_then(|id| id.parse().ok());
        Ok(Self { run, conversation, address, is_over, asked, form, last })
    }
}

impl Onlooker {
    /// What this caller, who takes a stream or JSON, is to see.
    fn viewer(&self, app: &App) -> Result<Viewer, Refused> {
        let last = self.last.filter(|_| self.form == Form::Stream);
        let cursor = last.or(self.asked.after).unwrap_or(0);
        let viewer = app.viewers.view(self.conversation.clone(), self.run.clone(), cursor, self.is_over);
        viewer.ok_or_else(|| self.refused(RequestError::TooManyViewers))
    }

    fn refused(&self, error: impl Into<RequestError>) -> Refused {
        Refused { form: self.form, why: Why::Request(error.into()) }
    }
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

/// Any form, as the caller accepts.
pub async fn follow(State(app): State<Arc<App>>, onlooker: Onlooker) -> Result<Response, Refused> {
    match onlooker.form {
        Form::Page => page::page(&app, &onlooker).await.map_err(|error| onlooker.refused(error)),
        Form::Stream => stream(app, onlooker, as_json),
        Form::Json => {
            let wait = Duration::from_millis(onlooker.asked.wait_ms.unwrap_or(0)).min(WAIT_MAX);
            let answer = answer(onlooker.viewer(&app)?, onlooker.run.clone(), wait).await;
            Ok((HEADERS, Json(answer.map_err(|error| onlooker.refused(error))?)).into_response())
        }
    }
}

/// What a page adds, as it is to be shown.
pub async fn rows(State(app): State<Arc<App>>, onlooker: Onlooker) -> Result<Response, Refused> {
    stream(app, onlooker, as_row)
}

fn stream(app: Arc<App>, onlooker: Onlooker, shown: fn(&Logged) -> SseEvent) -> Result<Response, Refused> {
    let viewer = onlooker.viewer(&app)?;
    let events = events(app, onlooker.address, viewer, shown);
    Ok((HEADERS, Sse::new(events).keep_alive(KeepAlive::default())).into_response())
}

/// That a signed link was for this run.
fn verify(app: &App, run: &RunId, key: Option<&str>) -> Result<(), LinkError> {
    let subject = app.links.verify(Purpose::Run, key.ok_or(LinkError::Malformed)?, clock::now())?;
    if subject == run.as_str() { Ok(()) } else { Err(LinkError::Mismatch) }
}

/// Whether its person may still have it looked at.
async fn may_look(app: &App, address: Option<&Address>) -> Result<bool, StoreError> {
    guests::may_look(&*app.store, &app.config.relay_secret, address).await
}

/// Whether a run is over; `None` when there was none of that name.
fn is_over(conversation: &Conversation, run: &RunId) -> Option<bool> {
    let number = run.number().parse().ok().filter(|number| (1..=conversation.runs).contains(number));
    let is_known = number.is_some_and(|number| conversation.run_id(number) == *run);
    is_known.then(|| conversation.run() != Some(run))
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

/// Each entry, known by its place; in the end, that there is nothing more to come. It breaks off when the guest whose run it is was
/// uninvited.
fn events(
    app: Arc<App>,
    address: Option<Address>,
    viewer: Viewer,
    shown: fn(&Logged) -> SseEvent,
) -> impl Stream<Item = Result<SseEvent, RequestError>> {
    let batches = futures::stream::try_unfold(Some((viewer, app, address)), move |looking| async move {
        let Some((mut viewer, app, address)) = looking else { return Ok::<_, RequestError>(None) };
        Ok(match viewer.next().await? {
            Seen::Entries(_) if !may_look(&app, address.as_ref()).await? => None,
            Seen::Entries(entries) => Some((entries.iter().map(shown).collect(), Some((viewer, app, address)))),
            Seen::Over => {
                let end = SseEvent::default().event("end").data(json!({ "cursor": viewer.cursor() }).to_string());
                Some((vec![end], None))
            }
            Seen::Gone => None,
        })
    });
    batches.map_ok(|batch| futures::stream::iter(batch).map(Ok)).try_flatten()
}

fn as_json(entry: &Logged) -> SseEvent {
    let data = serde_json::to_string(entry).expect("plain data with text keys");
    SseEvent::default().id(entry.cursor.to_string()).data(data)
}

fn as_row(entry: &Logged) -> SseEvent {
    SseEvent::default().id(entry.cursor.to_string()).data(fragment(entry, clock::now()))
}

#[cfg(test)]
mod tests;
