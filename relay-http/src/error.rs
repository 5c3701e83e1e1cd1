//! The only place where a failure becomes an HTTP status. Why a request was refused is logged here, once; the caller is told
//! what it can act on.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use relay_core::protocol::signature::SignatureError;
use relay_core::store::StoreError;

use crate::channels::media::MediaError;

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The signature of a webhook does not verify.
    #[error("the signature does not match")]
    WebhookSignature,
    /// The signature of a VM does not verify.
    #[error(transparent)]
    VmSignature(#[from] SignatureError),
    /// The request is not what this route takes.
    #[error("{0}")]
    Malformed(&'static str),
    /// The body is over the route's cap.
    #[error("the body is too large")]
    TooLarge,
    /// The file is none that can be used.
    #[error(transparent)]
    File(#[from] MediaError),
    /// Nobody is signed in to the console.
    #[error("sign in first")]
    SignInFirst,
    /// There is nothing at this address.
    #[error("not found")]
    NotFound,
    /// The conversation's inbox is full.
    #[error("too many messages are waiting; try again later")]
    InboxFull,
    /// So many files came that another one is taken only in so long.
    #[error("Too many files came in a short time. Try again in {} s.", .0.as_secs() + 1)]
    TooManyFiles(Duration),
    /// So many look on that one more has no place.
    #[error("too many are looking on; try again later")]
    TooManyViewers,
    /// The store is unwell; nothing was kept that was not acknowledged.
    #[error("the store is unavailable; try again")]
    Store(#[from] StoreError),
}

impl IntoResponse for RequestError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::WebhookSignature => StatusCode::FORBIDDEN,
            Self::VmSignature(_) | Self::SignInFirst => StatusCode::UNAUTHORIZED,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge | Self::File(MediaError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::File(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::TooManyFiles(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::InboxFull | Self::TooManyViewers | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        match &self {
            // What ails the store is logged where it is called, once and not for each request.
            Self::Store(error) => tracing::debug!(%error, "request failed: the store is unwell"),
            Self::NotFound | Self::SignInFirst => {}
            other => tracing::warn!(status = status.as_u16(), reason = %other, "request refused"),
        }
        let mut response = (status, format!("{self}\n")).into_response();
        let retry_s = match &self {
            Self::TooManyFiles(wait) => Some(wait.as_secs() + 1),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        };
        if let Some(retry_s) = retry_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_s));
        }
        response
    }
}
