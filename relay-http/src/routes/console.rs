//! The web console: the page, its stream of events, and what is typed into it.
//!
//! Without `CONSOLE_TOKEN` it is there only on a relay that is for this machine alone (a local `PUBLIC_URL`, no Twilio), and
//! answers only callers on this machine who call it by a local name, so that neither another machine nor a web page that
//! has rebound its own name can use it. With a token, a signed-in browser holds a cookie that
//! proves the token without containing it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{Form, FromRequestParts, OriginalUri, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use hmac::{Hmac, KeyInit, Mac};
use relay_core::machine::Event;
use relay_core::store::FeedEntry;
use secrecy::ExposeSecret;
use serde::Deserialize;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::channels::console::ConsoleChannel;
use crate::channels::{Channel, Inbound, Incoming};
use crate::error::RequestError;
use crate::routes::{self, access};
use crate::web::console;

pub mod files;
pub mod worktree;

/// Another name than when it was for the console alone: of two of one name the browser sends the older path first.
const COOKIE: &str = "textslash_person";
/// What this relay appended is seen at once, and so is what another one did: the store tells. This often it is looked for in
/// case that was lost; seldom, because each look of each viewer is a call to the store, and hosted Redis bills calls.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Entries sent in one go.
const BATCH: usize = 200;

/// Proof that the caller may use the console.
pub struct SignedIn;

impl FromRequestParts<Arc<App>> for SignedIn {
    type Rejection = RequestError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, RequestError> {
        match session(app) {
            Some(session) => {
                let held = access::cookie(&parts.headers, COOKIE).unwrap_or_default();
                let same: bool = session.as_bytes().ct_eq(held.as_bytes()).into();
                if same { Ok(Self) } else { Err(RequestError::SignInFirst) }
            }
            None if access::is_for_this_machine(app) && access::is_local(parts) => Ok(Self),
            None => Err(RequestError::NotFound),
        }
    }
}

/// What a signed-in browser's cookie holds; `None` when no token is configured.
fn session(app: &App) -> Option<String> {
    let token = app.config.console_token.as_ref()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(app.config.relay_secret.expose_secret().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(b"console\0");
    mac.update(token.expose_secret().as_bytes());
    Some(hex::encode(mac.finalize().into_bytes()))
}

/// `GET /console`: the page, or the form that asks for the token.
pub async fn page(State(app): State<Arc<App>>, signed_in: Result<SignedIn, RequestError>) -> Response {
    match signed_in {
        Ok(SignedIn) => console::page(),
        Err(RequestError::SignInFirst) if app.config.console_token.is_some() => {
            (StatusCode::UNAUTHORIZED, console::sign_in(None)).into_response()
        }
        Err(error) => error.into_response(),
    }
}

/// What the sign-in form sends.
#[derive(Deserialize)]
pub struct SignIn {
    token: String,
}

/// `POST /console/session`: a right token gets the cookie, a wrong one the form again.
pub async fn sign_in(State(app): State<Arc<App>>, Form(form): Form<SignIn>) -> Result<Response, RequestError> {
    let (Some(token), Some(session)) = (&app.config.console_token, session(&app)) else {
        return Err(RequestError::NotFound);
    };
    let right: bool = token.expose_secret().as_bytes().ct_eq(form.token.as_bytes()).into();
    if !right {
        // A guess costs a second; the token itself is what makes guessing hopeless.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let again = console::sign_in(Some("That is not the token."));
        return Ok((StatusCode::UNAUTHORIZED, again).into_response());
    }
    let secure = if app.config.public_url.url.scheme() == "https" { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000{secure}");
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/console")).into_response())
}

/// `POST /console/send`: 202 once the message is durable. The same id again changes nothing. JSON, which another site's page
/// can't send without being allowed to.
pub async fn send(
    State(app): State<Arc<App>>,
    _: SignedIn,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, RequestError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Err(RequestError::Malformed("the body is not JSON"));
    }
    let body = routes::body(body)?;
    let Inbound::Message(message) =
        app.console.receive(&Incoming { path: uri.path(), headers: &headers, body: &body })?
    else {
        return Err(RequestError::Malformed("the body is not a message"));
    };
    let conversation = app.conversation(&message.from);
    // Recorded before it is shown, shown before it is answered: the page may take what it sees for accepted.
    let held = app.record(conversation.clone(), Event::Message((*message).clone())).await?;
    let echoed = app.console.echo(&conversation, &message).await;
    if let Some(held) = held {
        app.take_turn(held);
    }
    echoed?;
    Ok(StatusCode::ACCEPTED)
}

/// `GET /console/events`: the conversation's feed, from the start or from after `Last-Event-ID`, and then as it grows.
pub async fn events(
    State(app): State<Arc<App>>,
    _: SignedIn,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<SseEvent, RequestError>>> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    let follow = Follow::new(app, last);
    let batches = futures::stream::try_unfold(follow, |mut follow| async move {
        let batch = follow.next().await?;
        Ok::<_, RequestError>(batch.map(|batch| (futures::stream::iter(batch).map(Ok), follow)))
    });
    Sse::new(batches.try_flatten()).keep_alive(KeepAlive::default())
}

/// A viewer's place in the feed.
struct Follow {
    app: Arc<App>,
    cursor: u64,
    appended: tokio::sync::watch::Receiver<u64>,
}

impl Follow {
    fn new(app: Arc<App>, cursor: u64) -> Self {
        let appended = app.console.appended();
        Self { app, cursor, appended }
    }

    /// The next entries; waits until there are some. `None` when this relay is stopping: the page goes on with another.
    async fn next(&mut self) -> Result<Option<Vec<SseEvent>>, RequestError> {
        let conversation = self.app.conversation(&ConsoleChannel::address());
        loop {
            self.appended.mark_unchanged();
            let entries = self.app.store.feed(&conversation, self.cursor, BATCH).await?;
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
