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
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Redirect, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use relay_core::machine::{Content, Event};
use relay_core::store::FeedEntry;
use secrecy::ExposeSecret;
use serde::Deserialize;
use subtle::ConstantTimeEq;

use crate::app::{App, in_time};
use crate::channels::console::conversations as titles;
use crate::channels::{Channel, Inbound, Incoming};
use crate::error::RequestError;
use crate::routes;
use crate::web::invited as invitation;

pub mod conversations;
pub mod files;
pub mod invited;
pub mod person;
pub mod worktree;

pub use person::{Chosen, SignedIn};

const PAGE: &str = include_str!("../../static/console.html");
const CSS: &str = include_str!("../../static/console.css");
const JS: &str = include_str!("../../static/console.js");
const FILES_JS: &str = include_str!("../../static/console-files.js");
const SIGN_IN: &str = include_str!("../../static/sign-in.html");

/// Where the form says that it was not the token.
const FAULT: (&str, &str) = ("<!-- fault -->", "<p class=\"fault\" role=\"alert\">That is not the token.</p>");

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const HEADERS: [(header::HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];
/// What this relay appended is seen at once, and so is what another one did: the store tells. This often it is looked for in
/// case that was lost; seldom, because each look of each viewer is a call to the store, and hosted Redis bills calls.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Entries sent in one go.
const BATCH: usize = 200;

/// `GET /console`: the page, or the form that asks for the token.
pub async fn page(State(app): State<Arc<App>>, chosen: Result<Chosen, RequestError>, headers: HeaderMap) -> Response {
    match chosen {
        Ok(_) => (HEADERS, Html(PAGE)).into_response(),
        Err(RequestError::SignInFirst) if person::was_guest(&headers) => {
            (StatusCode::UNAUTHORIZED, invitation::page(&invitation::Shown::Left)).into_response()
        }
        Err(RequestError::SignInFirst) if app.config.console_token.is_some() => {
            (StatusCode::UNAUTHORIZED, HEADERS, Html(SIGN_IN)).into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// `GET /console/app.css`
pub async fn css() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], CSS)
}

/// `GET /console/app.js`
pub async fn js() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], JS)
}

/// `GET /console/files.js`
pub async fn files_js() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], FILES_JS)
}

/// What the sign-in form sends.
#[derive(Deserialize)]
pub struct SignIn {
    token: String,
}

/// `POST /console/session`: a right token gets the cookie, a wrong one the form again.
pub async fn sign_in(State(app): State<Arc<App>>, Form(form): Form<SignIn>) -> Result<Response, RequestError> {
    let (Some(token), Some(session)) = (&app.config.console_token, person::session(&app)) else {
        return Err(RequestError::NotFound);
    };
    let right: bool = token.expose_secret().as_bytes().ct_eq(form.token.as_bytes()).into();
    if !right {
        // A guess costs a second; the token itself is what makes guessing hopeless.
        tokio::time::sleep(Duration::from_secs(1)).await;
        return Ok((StatusCode::UNAUTHORIZED, HEADERS, Html(SIGN_IN.replace(FAULT.0, FAULT.1))).into_response());
    }
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
) -> Sse<impl Stream<Item = Result<SseEvent, RequestError>>> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    let follow = Follow::new(app, chosen, last);
    let batches = futures::stream::try_unfold(follow, |mut follow| async move {
        let batch = follow.next().await?;
        Ok::<_, RequestError>(batch.map(|batch| (futures::stream::iter(batch).map(Ok), follow)))
    });
    Sse::new(batches.try_flatten()).keep_alive(KeepAlive::default())
}

/// A viewer's place in the feed.
struct Follow {
    app: Arc<App>,
    chosen: Chosen,
    cursor: u64,
    appended: tokio::sync::watch::Receiver<u64>,
}

impl Follow {
    fn new(app: Arc<App>, chosen: Chosen, cursor: u64) -> Self {
        let appended = app.console.appended();
        Self { app, chosen, cursor, appended }
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
