//! Files: of people, behind a redirect to another place as Twilio's are; and ours, which Twilio fetches.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use reqwest::Client;

use super::Account;
use super::rest::refuse;
use crate::server::Received;

/// Types that WhatsApp shows (Twilio docs, "Accepted content types for media").
const SHOWN: [&str; 4] = ["image/jpeg", "image/png", "image/webp", "application/pdf"];
/// Where files really are; it needs no credentials, and must not be given any.
const CDN: &str = "/cdn/";

/// A file.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) content_type: String,
    bytes: Vec<u8>,
    /// Where it leads, if not to us.
    pub(super) location: Option<String>,
}

impl Stored {
    pub(super) fn new(content_type: &str, bytes: Vec<u8>) -> Self {
        Self { content_type: content_type.to_owned(), bytes, location: None }
    }
}

/// The first step: 307 to where the file is.
pub(super) fn redirect(account: &Account, request: &Received, name: &str) -> Response {
    let Some(file) = account.books().files.get(name).cloned() else {
        return refuse(404, 20404, "The requested resource was not found");
    };
    let host = request.header("host").unwrap_or_default();
    let location = file.location.unwrap_or_else(|| format!("http://{host}{CDN}{name}?Expires=1&Signature=x"));
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, location)]).into_response()
}

/// The second step: the file, for whoever brings no credentials.
pub(super) fn cdn(account: &Account, request: &Received) -> Option<Response> {
    let name = request.path.strip_prefix(CDN)?;
    if request.header("authorization").is_some() {
        return Some(refuse(400, 20001, "Credentials went to a host that they are not for"));
    }
    let Some(file) = account.books().files.get(name).cloned() else {
        return Some(refuse(404, 20404, "The requested resource was not found"));
    };
    Some(([(header::CONTENT_TYPE, file.content_type)], Body::from(file.bytes)).into_response())
}

/// Whether Twilio can show what is at this address: it asks twice, and goes by the type that it is told.
pub(super) async fn is_shown(client: &Client, url: &str) -> bool {
    let kind = |answer: Result<reqwest::Response, reqwest::Error>| {
        let answer = answer.ok().filter(|answer| answer.status().is_success())?;
        Some(answer.headers().get(header::CONTENT_TYPE)?.to_str().ok()?.to_owned())
    };
    let (head, got) = (kind(client.head(url).send().await), kind(client.get(url).send().await));
    head == got && head.is_some_and(|kind| SHOWN.contains(&kind.as_str()))
}
