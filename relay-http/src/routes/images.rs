//! `GET /images/{blob}` (and HEAD): a picture or a document, for whoever knows its name, until it expires. Served from the
//! store, so that any relay can serve it while the VM sleeps.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use relay_core::id::BlobId;

use crate::app::App;
use crate::clock;
use crate::error::RequestError;
use crate::vm::PDF;

/// What it names.
pub async fn serve(State(app): State<Arc<App>>, Path(blob): Path<String>) -> Result<Response, RequestError> {
    let id = BlobId::parse(blob).map_err(|_| RequestError::NotFound)?;
    let blob = app.store.blob(&id, clock::now()).await?;
    // Files that people sent are for their agent alone, whatever their names are.
    let is_shown = |content_type: &str| content_type.starts_with("image/") || content_type == PDF;
    let blob = blob.filter(|blob| is_shown(&blob.content_type)).ok_or(RequestError::NotFound)?;
    // Twilio names a document by this (Twilio docs, "Accepted content types for media").
    let disposition = if blob.content_type == PDF { "inline; filename=\"diff.pdf\"" } else { "inline" };
    let headers = [
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_TYPE, blob.content_type.as_str()),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    Ok((headers, blob.bytes.clone()).into_response())
}
