//! `POST /webhook`: Twilio tells of a message.
//!
//! Answered `200 text/xml <Response/>` once the message is durable; 403 for a wrong signature, 413 for a body over the cap,
//! 400 for a form without what a message needs, 503 when the store is unwell (Twilio then uses its fallback).

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use relay_core::machine::Event;
use secrecy::ExposeSecret;

use crate::app::App;
use crate::channels::twilio::inbound::{self, Inbound};
use crate::channels::twilio::signature;
use crate::error::RequestError;
use crate::routes;

/// Nothing to say at once; the answer is sent as a message of its own.
const NO_REPLY: &str = r#"<?xml version="1.0" encoding="UTF-8"?><Response/>"#;

/// Check, record, acknowledge.
pub async fn receive(
    State(app): State<Arc<App>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, RequestError> {
    let twilio = app.config.twilio.as_ref().ok_or(RequestError::NotFound)?;
    let body = routes::body(body)?;
    let params: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let mut url = app.config.public_url.given.clone();
    url.push_str(uri.path_and_query().map_or("/webhook", |path| path.as_str()));
    let keys: Vec<&str> = twilio.auth_tokens.iter().map(ExposeSecret::expose_secret).collect();
    let claimed = headers.get(signature::HEADER).and_then(|value| value.to_str().ok());
    if !signature::verify(&keys, &url, &params, claimed) {
        return Err(RequestError::WebhookSignature);
    }
    if params.iter().any(|(name, value)| name == "AccountSid" && *value != twilio.account_sid) {
        return Err(RequestError::WebhookSignature);
    }
    match inbound::parse(&params, &twilio.allowed).map_err(RequestError::Malformed)? {
        Inbound::Message(message) => {
            let conversation = app.conversation(&message.from);
            app.accept(conversation, Event::Message(message)).await?;
        }
        Inbound::UnknownSender => app.count_unknown_sender(),
        Inbound::NotAMessage => {}
    }
    Ok(([(header::CONTENT_TYPE, "text/xml")], NO_REPLY).into_response())
}
