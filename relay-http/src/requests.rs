//! What is measured of each request, and the span that it is answered in.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use relay_core::telemetry::calls;
use tracing::Instrument;

use crate::app::App;

/// The route of what has none.
const UNKNOWN: &str = "none";
/// The method of what is not one that any route has: labels have few values.
const OTHER: &str = "_OTHER";

/// Around all routes.
pub async fn watch(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or(UNKNOWN, MatchedPath::as_str);
    let method = method(request.method());
    // Nobody chooses the trace of what they ask: who they are is not known yet.
    let span = calls::server(method, route, None);
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    calls::answered(&span, status);
    app.metrics.answered_request(method, route, status, started.elapsed());
    response
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        _ => OTHER,
    }
}
