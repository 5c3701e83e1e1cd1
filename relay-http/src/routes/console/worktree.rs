//! The worktree of the conversation's VM, to be looked into and read. Nothing can be changed here.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use relay_core::protocol::RefusalReason;
use serde::Deserialize;

use super::Chosen;
use crate::app::App;
use crate::directory::Asking;
use crate::error::RequestError;
use crate::vm::{CallError, Found};
use crate::web::worktree::{self, Shown};

/// A VM that sleeps does not answer; whoever looks is told so before they think that it is the page.
const VM_TIMEOUT: Duration = Duration::from_secs(4);

/// What is asked for beside the path.
#[derive(Deserialize)]
pub struct Wanted {
    /// Whether a file is to be kept and not shown.
    download: Option<String>,
}

/// `GET /console/files`: what is at the top.
pub async fn top(app: State<Arc<App>>, chosen: Chosen, wanted: Query<Wanted>) -> Result<Response, RequestError> {
    look(app, chosen, Path(String::new()), wanted).await
}

/// `GET /console/files/{path}`: a directory, or a file as text; with `?download`, its bytes.
pub async fn look(
    State(app): State<Arc<App>>,
    chosen: Chosen,
    Path(path): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, RequestError> {
    let path = path.trim_matches('/');
    let vm = app.vm(Asking::to_look(chosen.conversation));
    let found = tokio::time::timeout(VM_TIMEOUT, vm.worktree(path)).await.unwrap_or(Err(CallError::NoAnswer));
    let (status, shown) = match &found {
        Ok(Found::File(bytes)) if wanted.download.is_some() => return Ok(download(path, bytes.to_vec())),
        Ok(Found::File(bytes)) => (StatusCode::OK, Shown::File(bytes)),
        Ok(Found::Directory(directory)) => (StatusCode::OK, Shown::Directory(directory)),
        Err(error) => refusal(error),
    };
    Ok((status, worktree::page(chosen.number, path, &shown)).into_response())
}

/// Never opened by the browser, whatever it holds.
fn download(path: &str, bytes: Vec<u8>) -> Response {
    let name = path.rsplit('/').next().unwrap_or_default();
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename*=UTF-8''{}", name.replace('*', "%2A"))),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox".to_owned()),
    ];
    (headers, bytes).into_response()
}

fn refusal(error: &CallError) -> (StatusCode, Shown<'_>) {
    const ASLEEP: &str = "Your VM does not answer. If it is asleep, a message to your agent wakes it.";
    match error {
        CallError::NoAnswer | CallError::Fenced => (StatusCode::SERVICE_UNAVAILABLE, Shown::Wait(ASLEEP)),
        CallError::Busy { message, .. } => {
            let busy = "Your VM is busy. Try again in a moment.";
            (StatusCode::SERVICE_UNAVAILABLE, Shown::Wait(message.as_deref().unwrap_or(busy)))
        }
        CallError::Refused { reason: RefusalReason::NotFound, message } => (StatusCode::NOT_FOUND, Shown::No(message)),
        CallError::Refused { message, .. } => (StatusCode::OK, Shown::No(message)),
    }
}
