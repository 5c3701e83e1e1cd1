//! The web console: the page, its stream of events, and what is typed into it.
//!
//! Without `CONSOLE_TOKEN` it is there only on a relay that is for this machine alone (a local `PUBLIC_URL`, no Twilio), and
//! answers only callers on this machine who call it by a local name, so that neither another machine nor a web page that
//! has rebound its own name can use it. With a token, a signed-in browser holds a cookie that
//! proves the token without containing it. Guests come by invitation, with or without a token.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{Form, OriginalUri, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use relay_core::machine::{Content, Event};
use relay_core::store::FeedEntry;
use serde::Deserialize;

use crate::app::{App, in_time};
use crate::channels::console::conversations as titles;
use crate::channels::console::person::{FIRST, Person};
use crate::channels::{Channel, Inbound, Incoming};
use crate::config::VmsConfig;
use crate::error::RequestError;
use crate::routes::{self, access, guesses};
use crate::streams::Place;
use crate::web::{console, invited as invitation};

pub mod conversations;
pub mod files;
pub mod invited;
pub mod person;
pub mod worktree;

pub use person::{Chosen, SignedIn};

/// What this relay appended is seen at once, and so is what another one did: the store tells. This often it is looked for in
/// case that was lost; seldom, because each look of each viewer is a call to the store, and hosted Redis bills calls.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Entries sent in one go.
const BATCH: usize = 200;

/// `GET /console`: the page, or the form that asks for the token.
pub async fn page(
    State(app): State<Arc<App>>,
    chosen: Result<Chosen, RequestError>,
    headers: HeaderMap,
) -> Result<Response, RequestError> {
    match chosen {
        Ok(chosen) => {
            let person = chosen.signed_in.person();
            let list = titles::of(&*app.store, &app.config.relay_secret, &person);
            let view = console::View {
                shown: chosen.number,
                conversations: in_time(list).await?,
                may_leave: matches!(person, Person::Guest(_)) || app.config.console_token.is_some(),
                person,
                shares_vm: !matches!(app.config.vms, VmsConfig::Fly(_)),
            };
            Ok(console::page(&view))
        }
        Err(RequestError::SignInFirst) if person::was_guest(&headers) => {
            Ok((StatusCode::UNAUTHORIZED, invitation::page(&invitation::Shown::Left)).into_response())
        }
        Err(RequestError::SignInFirst) if app.config.console_token.is_some() => {
            Ok((StatusCode::UNAUTHORIZED, console::sign_in(None)).into_response())
        }
        Err(error) => Err(error),
    }
}

/// What the sign-in form sends.
#[derive(Deserialize)]
pub struct SignIn {
    token: String,
}

/// `POST /console/session`: a right token gets the cookie, a wrong one the form again.
pub async fn sign_in(
    State(app): State<Arc<App>>,
    parts: Parts,
    Form(form): Form<SignIn>,
) -> Result<Response, RequestError> {
    let token = app.config.console_token.as_ref().ok_or(RequestError::NotFound)?;
    // Otherwise any page could have its reader's guesses used up.
    if access::is_from_elsewhere(&app, &parts.headers) {
        return Ok((StatusCode::FORBIDDEN, console::sign_in(Some("That did not come from this page."))).into_response());
    }
    if let Err(refused) = guesses::weigh(&app, access::caller(&app, &parts), token, &form.token).await? {
        let (status, told) = refused.answer();
        return Ok((status, told, console::sign_in(Some(&refused.to_string()))).into_response());
    }
    let session = person::session(&app, token);
    Ok(([(header::SET_COOKIE, person::cookie(&app, &session))], Redirect::to("/console")).into_response())
}

/// `POST /console/send`: 202 once the message is durable. The same id again changes nothing. JSON, which another site's page
/// can't send without being allowed to.
pub async fn send(
    State(app): State<Arc<App>>,
    chosen: Chosen,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, RequestError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Err(RequestError::Malformed("the body is not JSON"));
    }
    let body = routes::body(body)?;
    let incoming = Incoming { path: uri.path(), headers: &headers, body: &body, caller: Some(&chosen.address) };
    let Inbound::Message(message) = app.console.receive(&incoming)? else {
        return Err(RequestError::Malformed("the body is not a message"));
    };
    let conversation = &chosen.conversation;
    // Recorded before it is shown, shown before it is answered: the page may take what it sees for accepted.
    let held = app.record(conversation.clone(), Event::Message((*message).clone())).await?;
    let echoed = app.console.echo(conversation, &message).await;
    if let Some(held) = held {
        app.take_turn(held);
    }
    echoed?;
    if let Content::Text { text } | Content::Files { text, .. } = &message.content {
        let (secret, whose) = (&app.config.relay_secret, (&chosen.signed_in.person(), chosen.number));
        // The message is accepted all the same; the next one gives the name.
        let _ = in_time(titles::name(&*app.store, secret, whose, text)).await;
    }
    Ok(StatusCode::ACCEPTED)
}

/// `GET /console/events`: the conversation's feed, from the start or from after `Last-Event-ID`, and then as it grows.
pub async fn events(
    State(app): State<Arc<App>>,
    chosen: Chosen,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, RequestError>>>, RequestError> {
    let person = app.conversation(&chosen.signed_in.person().address(FIRST));
    let place = app.streams.open(person).ok_or(RequestError::TooManyViewers)?;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    let follow = Follow::new(app, chosen, last, place);
    let batches = futures::stream::try_unfold(follow, |mut follow| async move {
        let batch = follow.next().await?;
        Ok::<_, RequestError>(batch.map(|batch| (futures::stream::iter(batch).map(Ok), follow)))
    });
    Ok(Sse::new(batches.try_flatten()).keep_alive(KeepAlive::default()))
}

/// A viewer's place in the feed.
struct Follow {
    app: Arc<App>,
    chosen: Chosen,
    cursor: u64,
    appended: tokio::sync::watch::Receiver<u64>,
    _place: Place,
}

impl Follow {
    fn new(app: Arc<App>, chosen: Chosen, cursor: u64, place: Place) -> Self {
        let appended = app.console.appended();
        Self { app, chosen, cursor, appended, _place: place }
    }

    /// The next entries; waits until there are some. `None` when this relay is stopping, and the page goes on with another, or
    /// when the guest who looks was uninvited.
    async fn next(&mut self) -> Result<Option<Vec<SseEvent>>, RequestError> {
        loop {
            self.appended.mark_unchanged();
            if !self.chosen.signed_in.is_welcome(&self.app).await? {
                return Ok(None);
            }
            let entries = self.app.store.feed(&self.chosen.conversation, self.cursor, BATCH).await?;
            if let Some(last) = entries.last() {
                self.cursor = last.cursor;
                return Ok(Some(entries.into_iter().map(to_sse).collect()));
            }
            tokio::select! {
                _ = tokio::time::timeout(LOOK_INTERVAL, self.appended.changed()) => {}
                () = self.app.stopping.cancelled() => return Ok(None),
            }
        }
    }
}

fn to_sse(entry: FeedEntry) -> SseEvent {
    SseEvent::default().id(entry.cursor.to_string()).data(entry.entry)
}

#[cfg(test)]
mod tests;
