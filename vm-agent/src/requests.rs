//! What is measured of each request, and the span that it is answered in.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use relay_core::telemetry::calls;
use relay_core::trace::{self, TraceParent};
use tracing::Instrument;

use crate::metrics::metrics;

/// The route of what has none.
const UNKNOWN: &str = "none";
/// The method of what is not one that any route has: labels have few values.
const OTHER: &str = "_OTHER";

/// Around all routes. All who call are relays, which say in which trace they do.
pub async fn watch(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or(UNKNOWN, MatchedPath::as_str).to_owned();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => OTHER,
    };
    let parent = request.headers().get(trace::HEADER).and_then(|value| TraceParent::parse(value.to_str().ok()?).ok());
    let span = calls::server(method, &route, parent.as_ref());
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    calls::answered(&span, status);
    metrics().answered_request(method, route, status, started.elapsed());
    response
}
