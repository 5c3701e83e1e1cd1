//! Files on their way from the console to the agent.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use relay_core::store::Blob;
use serde::Serialize;

use super::Chosen;
use crate::app::{App, Kept};
use crate::channels::media::{Media, MediaError};
use crate::clock;
use crate::error::RequestError;
use crate::routes;

/// The only type a file comes with: its bytes say what it is, and no form of another site can send it.
const CONTENT_TYPE: &str = "application/octet-stream";

/// A file waits so long to be sent; from then on it is kept as those of other channels are.
const UNSENT_KEEP: Duration = Duration::from_secs(24 * 3600);

/// What the page is told of a file that was taken.
#[derive(Serialize)]
pub struct Taken {
    /// What a message names it by.
    id: String,
}

/// `POST /console/files`: 201 once the file is kept. No route shows it: it is for the agent alone.
pub async fn receive(
    State(app): State<Arc<App>>,
    chosen: Chosen,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Taken>), RequestError> {
    if headers.get(header::CONTENT_TYPE).is_none_or(|kind| kind != CONTENT_TYPE) {
        return Err(RequestError::Malformed("a file comes as application/octet-stream"));
    }
    let bytes = routes::body(body).map_err(|error| match error {
        RequestError::TooLarge => MediaError::TooLarge.into(),
        other => other,
    })?;
    let media = Media::of(bytes)?;
    let blob_id = app.blob_id(Kept::Upload { conversation: &chosen.conversation, upload: &clock::nonce() });
    let expires_at = clock::now() + UNSENT_KEEP;
    let voice = media.is_voice();
    let blob = Blob { content_type: CONTENT_TYPE.to_owned(), bytes: media.bytes.into() };
    app.store.put_blob(&blob_id, blob, expires_at).await?;
    Ok((StatusCode::CREATED, Json(Taken { id: app.console.ticket(&chosen.address, &blob_id, voice, expires_at) })))
}
