//! `POST /webhook`: Twilio tells of a message. `POST /receipt/{conversation}/{effect}`: it tells what became of one of ours.
//!
//! Answered `200 text/xml <Response/>` once it is durable; 403 for a wrong signature, 413 for a body over the cap, 400 for a form
//! without what it needs, 503 when the store is unwell (Twilio then uses its fallback).

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use relay_core::id::ConversationId;
use relay_core::machine::{Event, Message};

use crate::app::App;
use crate::channels::{Channel, Inbound, Incoming};
use crate::error::RequestError;
use crate::metrics::Webhook;
use crate::routes;

/// Nothing to say at once; the answer is sent as a message of its own.
const NO_REPLY: &str = r#"<?xml version="1.0" encoding="UTF-8"?><Response/>"#;

/// A message: check, record, acknowledge.
pub async fn receive(
    State(app): State<Arc<App>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, RequestError> {
    let told = async {
        match read(&app, &uri, &headers, body)? {
            Inbound::Message(message) => take_in(&app, *message, true).await,
            Inbound::Unnamed(message) => take_in(&app, *message, false).await,
            Inbound::UnknownSender => Ok(Webhook::UnknownSender),
            Inbound::Receipt { .. } | Inbound::Nothing => Ok(Webhook::Accepted),
        }
    };
    answer(&app, told.await)
}

async fn take_in(app: &App, message: Message, is_named: bool) -> Result<Webhook, RequestError> {
    let taken = async {
        match app.conversation_of(&message.from, message.alias.as_ref(), is_named).await? {
            Some(conversation) => app.take_in(conversation, Event::Message(message)).await.map(taken),
            None => Ok(Webhook::UnknownSender),
        }
    };
    taken.await.inspect_err(|_: &RequestError| app.refused_webhook())
}

/// A receipt: the same. The signature covers the address, so nobody else has chosen the conversation.
pub async fn receipt(
    State(app): State<Arc<App>>,
    Path((conversation, _)): Path<(String, String)>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, RequestError> {
    let told = async {
        let Inbound::Receipt { effect, message, receipt } = read(&app, &uri, &headers, body)? else {
            return Ok(Webhook::Accepted);
        };
        let conversation = ConversationId::parse(conversation)
            .map_err(|_| RequestError::Malformed("the address names no conversation"))?;
        let receipt = Event::Receipt { effect: Some(effect), message, receipt };
        app.take_in(conversation, receipt).await.map(taken).inspect_err(|_| app.refused_webhook())
    };
    answer(&app, told.await)
}

fn taken(is_new: bool) -> Webhook {
    if is_new { Webhook::Accepted } else { Webhook::Repeated }
}

/// Each request is counted once, by what became of it.
fn answer(app: &App, told: Result<Webhook, RequestError>) -> Result<Response, RequestError> {
    let webhook = match &told {
        Ok(webhook) => *webhook,
        Err(RequestError::WebhookSignature) => Webhook::Unsigned,
        Err(RequestError::InboxFull) => Webhook::Full,
        Err(RequestError::Store(_)) => Webhook::Unavailable,
        Err(_) => Webhook::Malformed,
    };
    app.metrics.webhook(webhook);
    if webhook == Webhook::UnknownSender {
        // Never who.
        tracing::warn!("ignored a message from a sender who is not in ALLOWED_PHONE_NUMBERS");
    }
    told.map(|_| no_reply())
}

fn read(
    app: &App,
    uri: &axum::http::Uri,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Inbound, RequestError> {
    let twilio = app.twilio.as_ref().ok_or(RequestError::NotFound)?;
    let body = routes::body(body)?;
    let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str());
    twilio.receive(&Incoming { path, headers, body: &body, caller: None })
}

fn no_reply() -> Response {
    ([(header::CONTENT_TYPE, "text/xml")], NO_REPLY).into_response()
}
