//! Spans of HTTP requests, made and answered, as OpenTelemetry's conventions name them:
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.

use tracing::Span;
use tracing::field::Empty;
use url::Url;

use super::traces;
use crate::trace::TraceParent;

/// A request that is made. `template` is its path without whatever is somebody's.
pub fn client(method: &str, url: &Url, template: &str) -> Span {
    tracing::info_span!(
        "call",
        otel.name = format!("{method} {template}"),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = method,
        http.response.status_code = Empty,
        server.address = url.host_str(),
        server.port = url.port_or_known_default(),
        url.template = template,
    )
}

/// A request that is answered, in the trace of whoever made it.
pub fn server(method: &str, route: &str, parent: Option<&TraceParent>) -> Span {
    traces::begin(parent, || {
        tracing::info_span!(
            parent: None,
            "request",
            otel.name = format!("{method} {route}"),
            otel.kind = "server",
            otel.status_code = Empty,
            http.request.method = method,
            http.response.status_code = Empty,
            http.route = route,
            trace_id = Empty,
        )
    })
}

/// What the answer was.
pub fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "error");
    }
}
