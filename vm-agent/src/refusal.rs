//! Every answer that is not a success: what the caller's program reads, what its person reads, and the HTTP status. The
//! only place that maps the one to the other.

use std::io;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use relay_core::protocol::{Refusal, RefusalReason};

use crate::volume::Trouble;

/// A request that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// For the caller's program.
    pub reason: RefusalReason,
    /// For people: what happened and what to do. Never a secret.
    pub message: String,
    status: StatusCode,
}

impl Refused {
    /// Refused for `reason`, with the status that belongs to it.
    pub fn new(reason: RefusalReason, message: impl Into<String>) -> Self {
        let status = match reason {
            RefusalReason::Signature => StatusCode::UNAUTHORIZED,
            RefusalReason::StaleFence | RefusalReason::StaleTree => StatusCode::CONFLICT,
            RefusalReason::NotFound => StatusCode::NOT_FOUND,
            RefusalReason::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalReason::Busy | RefusalReason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self { reason, message: message.into(), status }
    }

    /// The person's words, or the request, cannot be followed.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(RefusalReason::Invalid, message)
    }

    /// There is no such thing here.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(RefusalReason::NotFound, message)
    }

    /// The body is larger than any request may be.
    pub fn too_large() -> Self {
        let refused = Self::invalid("The request is too large.");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, ..refused }
    }

    /// The VM's disk does not do what it should. Logged here, where the cause is still known.
    pub fn disk(error: &io::Error) -> Self {
        tracing::error!(%error, "the volume cannot be written or read");
        Self::volume(Trouble::of(error))
    }

    /// Nothing can be done without a volume in order.
    pub fn volume(trouble: Trouble) -> Self {
        Self::new(RefusalReason::Unavailable, trouble.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(Refusal { refused: self.reason, message: self.message })).into_response()
    }
}
