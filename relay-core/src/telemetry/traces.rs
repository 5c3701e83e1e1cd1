//! Traces: spans by `tracing`, exported over OTLP. What goes on in one process joins what went on in another by the
//! [`TraceParent`] that was carried between them.

use std::time::Duration;

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, filter};
use url::Url;

use super::Identity;
use crate::settings::Reader;
use crate::trace::{self, TraceParent};

/// Under an OTLP endpoint, where traces go: <https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>.
const PATH: &str = "v1/traces";
/// One export waits for this long. What is not taken in time is lost, and said so in the log.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// What is not exported yet when a process ends is waited for this long.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const SCOPE: &str = "textslash";

/// Where traces go, and how many of them.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: Url,
    /// `OTEL_TRACES_SAMPLER_ARG`: of the traces that begin here, this share is kept. Whoever takes part in a trace keeps it
    /// if the one that began it did.
    pub share: f64,
}

impl Sampling {
    /// What the settings say; `None` without an endpoint. Faults are the reader's.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let share = reader.parsed::<f64>("OTEL_TRACES_SAMPLER_ARG", "1")?;
        if !(0.0..=1.0).contains(&share) {
            return reader.fault("OTEL_TRACES_SAMPLER_ARG", "must be from 0 to 1");
        }
        reader.value("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        Some(Self { endpoint: reader.url("OTEL_EXPORTER_OTLP_ENDPOINT", None)?, share })
    }
}

/// Takes spans and exports them.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Must be called, and ended, where no runtime is: the exporter has threads of its own and blocks them.
    pub fn start(identity: &Identity, sampling: &Sampling) -> Result<Self, ExporterBuildError> {
        let endpoint = format!("{}/{PATH}", sampling.endpoint.as_str().trim_end_matches('/'));
        let exporter =
            SpanExporter::builder().with_http().with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sampling.share)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(identity.resource())
            .build();
        Ok(Self(provider))
    }

    /// Takes the spans of `tracing`, except those of the exporter's own client.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let ours = filter::Targets::new()
            .with_target("relay_core", LevelFilter::INFO)
            .with_target("relay_http", LevelFilter::INFO)
            .with_target("vm_agent", LevelFilter::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_filter(filter::filter_fn(|metadata| metadata.is_span()))
            .with_filter(ours)
    }

    /// Export what there is, within a bound.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// The trace that `span` is part of, for somebody else to go on with; `None` where spans are not exported.
pub fn of(span: &Span) -> Option<TraceParent> {
    struct Carrier(Option<TraceParent>);
    impl Injector for Carrier {
        fn set(&mut self, key: &str, value: String) {
            if key == trace::HEADER {
                self.0 = TraceParent::parse(&value).ok();
            }
        }
    }
    let mut carrier = Carrier(None);
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    carrier.0
}

/// The trace that is going on here.
pub fn current() -> Option<TraceParent> {
    of(&Span::current())
}

/// Make `span` part of a trace. Before anything else is done with it.
pub fn join(span: &Span, parent: Option<&TraceParent>) {
    if let Some(parent) = parent {
        // A span that is not exported has no context to set.
        let _ = span.set_parent(context(parent));
    }
    if let Some(trace) = of(span) {
        span.record("trace_id", trace.trace());
    }
}

/// As [`join`], but a span that has its place in the trace already keeps it.
pub fn join_unless_inside(span: &Span, parent: Option<&TraceParent>) {
    let is_inside = |parent: &TraceParent| current().is_some_and(|current| current.trace() == parent.trace());
    join(span, parent.filter(|parent| !is_inside(parent)));
}

/// Say that `span` has to do with another trace, which it is not part of.
pub fn link(span: &Span, other: Option<&TraceParent>) {
    use opentelemetry::trace::TraceContextExt;
    if let Some(other) = other {
        span.add_link(context(other).span().span_context().clone());
    }
}

fn context(parent: &TraceParent) -> opentelemetry::Context {
    struct Carrier<'a>(&'a TraceParent);
    impl Extractor for Carrier<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            (key == trace::HEADER).then(|| self.0.as_str())
        }

        fn keys(&self) -> Vec<&str> {
            vec![trace::HEADER]
        }
    }
    TraceContextPropagator::new().extract_with_context(&opentelemetry::Context::new(), &Carrier(parent))
}
