//! Traces: spans by `tracing`, exported over OTLP. What goes on in one process joins what went on in another by the
//! [`TraceParent`] that was carried between them.
//!
//! Whether a trace is kept is decided before its first span is made, and of one that is not, no span is: a relay that keeps
//! few of its traces pays for few.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator, RandomIdGenerator, Sampler, SdkTracer, SdkTracerProvider,
};
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, Targets, dynamic_filter_fn};
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;
use url::Url;

use super::Identity;
use crate::settings::Reader;
use crate::trace::TraceParent;

/// Under an OTLP endpoint, where traces go: <https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>.
const PATH: &str = "v1/traces";
/// One export waits for this long. What is not taken in time is lost, and said so in the log.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);
/// What is not exported yet when a process ends is waited for this long.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Spans of one export: of many small ones a busy relay would have more to do.
const BATCH_MAX: usize = 2_048;
/// Spans that wait for an export; those beyond are lost.
const WAITING_MAX: usize = 4 * BATCH_MAX;
const SCOPE: &str = "textslash";

/// The share of the traces beginning here that is kept; set once spans are exported.
static SHARE: OnceLock<f64> = OnceLock::new();

/// Makes spans that are no span of `tracing`.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Whether the lines of the log tell in which spans they were written: then all spans are made, exported or not.
static LOGGED: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// Whether the span that is being made is of a trace that is kept; where that is not said, it is if the span around it is.
    static DECIDED: Cell<Option<bool>> = const { Cell::new(None) };
}

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
        let batches =
            BatchConfigBuilder::default().with_max_queue_size(WAITING_MAX).with_max_export_batch_size(BATCH_MAX);
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(identity.resource())
            .build();
        SHARE.get_or_init(|| sampling.share);
        TRACER.get_or_init(|| provider.tracer(SCOPE));
        Ok(Self(provider))
    }

    /// Takes the spans of `tracing` that are of kept traces, except those of the exporter's own client.
    pub(super) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            // Neither is asked for by anybody, and both are paid for each time that a span's future is polled.
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(ours().and(of_kept_traces()))
    }

    /// Export what there is, within a bound.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH_TIMEOUT) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

/// Have spans made for the log as well.
pub(super) fn are_logged() {
    LOGGED.store(true, Ordering::Relaxed);
}

fn ours() -> Targets {
    let programs = ["relay_core", "relay_http", "vm_agent"];
    Targets::new().with_targets(programs.map(|program| (program, LevelFilter::INFO)))
}

fn of_kept_traces<S>() -> impl Filter<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let kept = dynamic_filter_fn(|metadata, context: &Context<'_, S>| {
        metadata.is_span() && DECIDED.get().unwrap_or_else(|| context.lookup_current().is_some())
    });
    // Without a hint whatever any library says at any level is looked at, for nothing.
    kept.with_max_level_hint(LevelFilter::INFO)
}

/// The trace that `span` is part of, for somebody else to go on with; `None` where spans are not exported.
pub fn of(span: &Span) -> Option<TraceParent> {
    SHARE.get().map(|_| kept(span).unwrap_or(TraceParent::NOT_KEPT))
}

/// The trace that is going on here.
pub fn current() -> Option<TraceParent> {
    of(&Span::current())
}

/// What makes spans, and what they are part of here; `None` where nothing of a kept trace is going on.
pub(super) fn here() -> Option<(&'static SdkTracer, opentelemetry::Context)> {
    let span = Span::current();
    let tracer = TRACER.get().filter(|_| !span.is_disabled())?;
    let context = span.context();
    context.span().span_context().is_sampled().then(|| (tracer, context.clone()))
}

/// Make a span that is part of no other here: it goes on in `parent`, or begins a trace.
pub fn begin(parent: Option<&TraceParent>, make: impl FnOnce() -> Span) -> Span {
    let is_kept = parent.map_or_else(is_to_be_kept, TraceParent::is_kept);
    if !is_kept && !LOGGED.load(Ordering::Relaxed) {
        return Span::none();
    }
    DECIDED.set(Some(is_kept));
    let span = make();
    DECIDED.set(None);
    if let (true, Some(parent)) = (is_kept, parent) {
        // A span that is not exported has no context to set.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote(parent)));
    }
    if let (true, Some(trace)) = (LOGGED.load(Ordering::Relaxed), kept(&span)) {
        span.record("trace_id", hex::encode(trace.trace()));
    }
    span
}

/// Make a span that is part of the one that is going on here, if that is of a kept trace.
pub fn inside(make: impl FnOnce() -> Span) -> Span {
    if LOGGED.load(Ordering::Relaxed) || !Span::current().is_none() { make() } else { Span::none() }
}

/// Make a span that goes on in `parent`, unless it has its place in that trace already.
pub fn go_on(parent: Option<&TraceParent>, make: impl FnOnce() -> Span) -> Span {
    let is_inside = |parent: &TraceParent| current().is_some_and(|current| current.trace() == parent.trace());
    match parent {
        Some(parent) if !is_inside(parent) => begin(Some(parent), make),
        _ => inside(make),
    }
}

/// Say that `span` has to do with another trace, which it is not part of.
pub fn link(span: &Span, other: Option<&TraceParent>) {
    if let Some(other) = other.filter(|other| other.is_kept() && !span.is_disabled()) {
        span.add_link(remote(other));
    }
}

/// Of the traces that begin here, as many as were asked for.
fn is_to_be_kept() -> bool {
    let share = SHARE.get().copied().unwrap_or(0.0);
    // The lower half of an id is as random as any number.
    let id = u128::from_be_bytes(RandomIdGenerator::default().new_trace_id().to_bytes()) as u64;
    share >= 1.0 || (id as f64) < share * u64::MAX as f64
}

fn kept(span: &Span) -> Option<TraceParent> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let known = span.span_context();
    TraceParent::kept(known.trace_id().to_bytes(), known.span_id().to_bytes())
}

fn remote(parent: &TraceParent) -> SpanContext {
    let (trace, span) = (TraceId::from_bytes(parent.trace()), SpanId::from_bytes(parent.span()));
    let flags = if parent.is_kept() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    SpanContext::new(trace, span, flags, true, TraceState::NONE)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing::span::{Attributes, Id};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    /// Which spans were made.
    #[derive(Clone, Default)]
    struct Made(Arc<Mutex<Vec<&'static str>>>);

    impl<S: Subscriber> Layer<S> for Made {
        fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
            self.0.lock().unwrap().push(attributes.metadata().name());
        }
    }

    #[test]
    fn of_a_trace_that_is_not_kept_no_span_is_made() {
        let made = Made::default();
        let subscriber = tracing_subscriber::registry().with(made.clone().with_filter(of_kept_traces()));
        let kept = TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        let not_kept = TraceParent::NOT_KEPT;
        tracing::subscriber::with_default(subscriber, || {
            let root = || tracing::info_span!(parent: None, "root");
            begin(Some(&kept), root).in_scope(|| {
                tracing::info_span!("inside").in_scope(|| {
                    begin(Some(&not_kept), || tracing::info_span!("another")).in_scope(|| {});
                });
            });
            begin(Some(&not_kept), root).in_scope(|| {
                tracing::info_span!("unseen").in_scope(|| {
                    begin(Some(&kept), || tracing::info_span!("its own")).in_scope(|| {});
                });
            });
            begin(None, root);
            tracing::info_span!("alone");
        });
        assert_eq!(*made.0.lock().unwrap(), ["root", "inside", "its own"]);
    }
}
