//! A collector of traces: takes what is exported over OTLP/HTTP, as <https://opentelemetry.io/docs/specs/otlp/> has it, and tells
//! it as trees.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

use crate::server::{Received, Server, empty};

/// Listens until it is dropped.
#[derive(Debug)]
pub struct OtlpSink {
    server: Server,
    spans: Spans,
}

type Spans = Arc<Mutex<Vec<SpanSeen>>>;

/// One span, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanSeen {
    /// Its trace, in hexadecimal digits.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The span that it is part of; empty for a root.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// Which program told of it.
    pub service: String,
    /// Which process of it.
    pub instance: String,
    /// When it began, in nanoseconds since 1970.
    pub began: u64,
    /// What is said of it.
    pub attributes: BTreeMap<String, String>,
    /// Whether its status says that it failed.
    pub is_error: bool,
    /// Traces that it links to.
    pub links: Vec<String>,
}

impl OtlpSink {
    /// Listen on a free port.
    pub async fn start() -> Self {
        let spans = Spans::default();
        let taken = Arc::clone(&spans);
        let server = Server::start(move |request: Received| {
            let answer = if request.path == "/v1/traces" { take(&taken, request.body) } else { empty(404) };
            std::future::ready(answer)
        });
        Self { server: server.await, spans }
    }

    /// What OTEL_EXPORTER_OTLP_ENDPOINT is to be.
    pub fn endpoint(&self) -> String {
        self.server.url()
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<SpanSeen> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The spans of one trace as an indented tree, the earliest first; what runs where is told beside it.
    pub fn tree(&self, trace: &str) -> String {
        let mut spans: Vec<SpanSeen> = self.spans().into_iter().filter(|span| span.trace == trace).collect();
        spans.sort_by_key(|span| span.began);
        let is_root = |span: &SpanSeen| spans.iter().all(|other| other.id != span.parent);
        let mut text = String::new();
        for root in spans.iter().filter(|span| is_root(span)) {
            write_below(&spans, root, 0, &mut text);
        }
        text
    }
}

fn write_below(spans: &[SpanSeen], span: &SpanSeen, depth: usize, text: &mut String) {
    let place = format!("{}{}", "  ".repeat(depth), span.name);
    text.push_str(&format!("{place:<52} {} {}\n", span.service, span.instance));
    for child in spans.iter().filter(|child| child.parent == span.id) {
        write_below(spans, child, depth + 1, text);
    }
}

fn take(spans: &Spans, body: Bytes) -> Response {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return empty(400) };
    let mut spans = spans.lock().unwrap_or_else(PoisonError::into_inner);
    for resource in request.resource_spans {
        let of = attributes(&resource.resource.unwrap_or_default().attributes);
        let told = |name: &str| of.get(name).cloned().unwrap_or_default();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(SpanSeen {
                trace: hex::encode(span.trace_id),
                id: hex::encode(span.span_id),
                parent: hex::encode(span.parent_span_id),
                name: span.name,
                service: told("service.name"),
                instance: told("service.instance.id"),
                began: span.start_time_unix_nano,
                attributes: attributes(&span.attributes),
                is_error: span.status.is_some_and(|status| status.code() == StatusCode::Error),
                links: span.links.iter().map(|link| hex::encode(&link.trace_id)).collect(),
            });
        }
    }
    let answer = ExportTraceServiceResponse::default().encode_to_vec();
    ([(header::CONTENT_TYPE, "application/x-protobuf")], answer).into_response()
}

fn attributes(pairs: &[KeyValue]) -> BTreeMap<String, String> {
    pairs.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref()))).collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(is)) => is.to_string(),
        Some(any_value::Value::DoubleValue(number)) => number.to_string(),
        _ => String::new(),
    }
}
