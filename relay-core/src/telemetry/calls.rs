//! Spans of requests and of calls, as OpenTelemetry's conventions name them. For HTTP:
//! <https://opentelemetry.io/docs/specs/semconv/http/http-spans/>.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Span as _, SpanKind, Status, Tracer};
use tracing::Span;
use tracing::field::Empty;
use url::Url;

use super::traces;
use crate::trace::TraceParent;

/// A request that is made, and its span. It ends with an answer or with why there is none; one that is dropped before that was
/// given up by whoever made it.
#[derive(Debug)]
pub struct Call {
    span: Span,
    has_ended: bool,
}

/// Why there is no answer, or not all of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Nobody could be reached.
    Connect,
    /// Nothing came in time.
    Timeout,
    /// The connection broke.
    Broken,
}

impl Unanswered {
    /// As a client tells of its error. Who could not be reached in time was not reached.
    pub fn told(is_connect: bool, is_timeout: bool) -> Self {
        match (is_connect, is_timeout) {
            (true, _) => Self::Connect,
            (false, true) => Self::Timeout,
            (false, false) => Self::Broken,
        }
    }
}

impl Call {
    /// To be made. `template` is its path without whatever is somebody's.
    pub fn new(method: &str, url: &Url, template: &str) -> Self {
        let span = tracing::info_span!(
            "call",
            otel.name = format!("{method} {template}"),
            otel.kind = "client",
            otel.status_code = Empty,
            error.r#type = Empty,
            http.request.method = method,
            http.response.status_code = Empty,
            server.address = url.host_str(),
            server.port = url.port_or_known_default(),
            url.template = template,
        );
        Self { span, has_ended: false }
    }

    /// What it is made in.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// What the answer is.
    pub fn answered(&mut self, status: u16) {
        self.has_ended = true;
        ended(&self.span, status, 400);
    }

    /// There is none, or its body can't be read.
    pub fn unanswered(&mut self, why: Unanswered) {
        self.has_ended = true;
        let kind = match why {
            Unanswered::Connect => "connect",
            Unanswered::Timeout => "timeout",
            Unanswered::Broken => "broken",
        };
        failed(&self.span, kind);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.has_ended {
            failed(&self.span, "given_up");
        }
    }
}

/// A call of a database that is over, and why it failed, if it did: it is part of what is going on here. The attributes are those of
/// <https://opentelemetry.io/docs/specs/semconv/database/database-spans/>.
pub fn over(name: &'static str, took: Duration, attributes: Vec<KeyValue>, failure: Option<&'static str>) {
    let Some((tracer, here)) = traces::here() else { return };
    let now = opentelemetry::time::now();
    let began = now.checked_sub(took).unwrap_or(now);
    let span = tracer.span_builder(name).with_kind(SpanKind::Client).with_start_time(began).with_attributes(attributes);
    let mut span = tracer.build_with_context(span, &here);
    if let Some(kind) = failure {
        span.set_attribute(KeyValue::new("error.type", kind));
        span.set_status(Status::error(""));
    }
    span.end_with_timestamp(now);
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
            error.r#type = Empty,
            http.request.method = method,
            http.response.status_code = Empty,
            http.route = route,
            trace_id = Empty,
        )
    })
}

/// What a request was answered. That its caller is at fault is no error of whoever answers.
pub fn answered(span: &Span, status: u16) {
    ended(span, status, 500);
}

fn ended(span: &Span, status: u16, errors_from: u16) {
    span.record("http.response.status_code", status);
    if status >= errors_from {
        failed(span, &status.to_string());
    }
}

fn failed(span: &Span, kind: &str) {
    span.record("error.type", kind);
    span.record("otel.status_code", "error");
}
