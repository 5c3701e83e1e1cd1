//! One file per kind of caller.

use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bytes::Bytes;

use crate::error::RequestError;

pub mod access;
pub mod admin;
pub mod callback;
pub mod clear_text;
pub mod console;
pub mod guesses;
pub mod images;
pub mod ops;
pub mod pages;
pub mod review;
pub mod runs;
pub mod webhook;

/// The raw body, or why it was not read.
fn body(body: Result<Bytes, BytesRejection>) -> Result<Bytes, RequestError> {
    body.map_err(|rejection| match rejection.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => RequestError::TooLarge,
        _ => RequestError::Malformed("the body could not be read"),
    })
}
