//! `POST /callback/{run}`: a VM reports. Answered 204 once the report is durable; the VM sends it again until then.

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{OriginalUri, Path, State};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use relay_core::id::ConversationId;
use relay_core::machine::Event;
use relay_core::protocol::{Report, signature};
use relay_core::telemetry::traces;
use relay_core::trace::{self, TraceParent};
use secrecy::ExposeSecret;
use tracing::Span;

use crate::app::App;
use crate::clock;
use crate::error::RequestError;
use crate::routes;

/// Where VMs report.
pub const ROUTE: &str = "/callback/{run}";

/// Check, record, acknowledge.
pub async fn receive(
    State(app): State<Arc<App>>,
    Path(run): Path<String>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, RequestError> {
    let body = routes::body(body)?;
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let claimed = headers.get(signature::HEADER).and_then(|value| value.to_str().ok());
    // A run's name begins with its conversation's, and each conversation's VM may have a secret of its own: who may sign for
    // this one may not sign for another.
    let of = ConversationId::parse(run.split('-').next().unwrap_or_default());
    let of = of.map_err(|_| RequestError::Malformed("the address names no run"))?;
    let secret = app.vms.secret(&of);
    signature::verify(secret.expose_secret().as_bytes(), clock::machine(), "POST", path, &body, claimed)?;
    // Who reports is known from here on.
    let trace = headers.get(trace::HEADER).and_then(|value| TraceParent::parse(value.to_str().ok()?).ok());
    traces::link(&Span::current(), trace.as_ref());
    let report: Report =
        serde_json::from_slice(&body).map_err(|_| RequestError::Malformed("the body is not a report"))?;
    // A VM can't report into a conversation that the run is not of.
    if report.run.as_str() != run || report.conversation != of || !run.contains('-') {
        return Err(RequestError::Malformed("the report's run, conversation and address do not agree"));
    }
    let Report { conversation, run, seq, event } = report;
    app.accept(conversation, Event::Report { run, seq, event }).await?;
    Ok(StatusCode::NO_CONTENT)
}
