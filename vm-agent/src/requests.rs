//! What is measured of each request, and the span that a signed one is answered in.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, Method};
use axum::middleware::Next;
use axum::response::Response;
use relay_core::telemetry::calls;
use relay_core::trace::{self, TraceParent};
use tracing::Span;

use crate::metrics::metrics;

/// The route of what has none.
const UNKNOWN: &str = "none";
/// The method of what is not one that any route has: labels have few values.
const OTHER: &str = "_OTHER";

/// Around all routes: how many, and how long they take.
pub async fn watch(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (method, route) = (method(request.method()), route(request.extensions()));
    let response = next.run(request).await;
    metrics().answered_request(method, route, response.status().as_u16(), started.elapsed());
    response
}

/// The span of a signed request, in the trace of the relay that makes it: whoever has not signed chooses no trace.
pub fn span(parts: &Parts) -> Span {
    let parent = parts.headers.get(trace::HEADER).and_then(|value| TraceParent::parse(value.to_str().ok()?).ok());
    calls::server(method(&parts.method), &route(&parts.extensions), parent.as_ref())
}

fn route(extensions: &Extensions) -> String {
    extensions.get::<MatchedPath>().map_or(UNKNOWN, MatchedPath::as_str).to_owned()
}

fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        _ => OTHER,
    }
}
