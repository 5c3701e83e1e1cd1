//! Metrics by OpenTelemetry's API, told in Prometheus' text format.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram, Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder, Registry, TextEncoder};

use super::{Identity, process};

/// The content type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4";
/// Where scrapers look.
pub const PATH: &str = "/metrics";
const SCOPE: &str = "textslash";

/// For calls between machines: from what a local one takes to fifteen seconds, when Twilio gives up.
pub const CALLS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0];
/// For what people wait for, and what machines take to wake.
pub const WAITS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];
/// For an agent's work.
pub const WORK: &[f64] = &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0];

/// Everything that a process measures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    provider: SdkMeterProvider,
}

impl Metrics {
    /// With the process's own measures, and nothing else yet.
    pub fn new(identity: &Identity) -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .expect("a registry of its own has no other exporter");
        let provider = SdkMeterProvider::builder().with_reader(exporter).with_resource(identity.resource()).build();
        let metrics = Self { registry, provider };
        process::watch(&metrics.meter());
        metrics
    }

    /// Nothing is measured: nobody asks.
    pub fn off() -> Self {
        Self { registry: Registry::new(), provider: SdkMeterProvider::builder().build() }
    }

    /// Makes instruments.
    pub fn meter(&self) -> Meter {
        self.provider.meter(SCOPE)
    }

    /// All of it, as it is now.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("memory takes it");
        text
    }
}

/// A counter that begins at zero for each value of its label, so that the first increase is seen as one.
pub fn counter(
    meter: &Meter,
    name: &'static str,
    description: &'static str,
    label: &'static str,
    values: &[&'static str],
) -> Counter<u64> {
    let counter = meter.u64_counter(name).with_description(description).build();
    for value in values {
        counter.add(0, &[KeyValue::new(label, *value)]);
    }
    counter
}

/// A counter for each value of a label: what is counted with each message is not looked up each time.
#[derive(Debug)]
pub struct Counts<const N: usize>([BoundCounter<u64>; N]);

impl<const N: usize> Counts<N> {
    /// All at zero.
    pub fn new(
        meter: &Meter,
        name: &'static str,
        description: &'static str,
        label: &'static str,
        values: &[&'static str; N],
    ) -> Self {
        let counter = counter(meter, name, description, label, values);
        Self(values.map(|value| counter.bind(&[KeyValue::new(label, value)])))
    }

    /// One more of the value in this place.
    pub fn add(&self, place: usize) {
        self.0[place].add(1);
    }
}

/// A histogram of durations by labels of which few come again and again: those are found among the few, by a key.
#[derive(Debug)]
pub struct DurationsBy<K> {
    durations: Histogram<f64>,
    known: RwLock<Vec<(K, BoundHistogram<f64>)>>,
}

impl<K> DurationsBy<K> {
    /// Empty.
    pub fn new(durations: Histogram<f64>) -> Self {
        Self { durations, known: RwLock::default() }
    }

    /// Record a duration under the key that is `wanted`; if it is not known yet, `new` tells it, and its labels.
    pub fn record(&self, took: Duration, wanted: impl Fn(&K) -> bool, new: impl FnOnce() -> (K, Vec<KeyValue>)) {
        let record = |known: &[(K, BoundHistogram<f64>)]| {
            let found = known.iter().find(|(key, _)| wanted(key));
            found.map(|(_, durations)| durations.record(took.as_secs_f64())).is_some()
        };
        if record(&self.known.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have been faster.
        if !record(&known) {
            let (key, labels) = new();
            let durations = self.durations.bind(&labels);
            durations.record(took.as_secs_f64());
            known.push((key, durations));
        }
    }
}

/// A counter without labels, at zero.
pub fn plain_counter(meter: &Meter, name: &'static str, description: &'static str) -> Counter<u64> {
    let counter = meter.u64_counter(name).with_description(description).build();
    counter.add(0, &[]);
    counter
}

/// The same, of what is not whole.
pub fn plain_f64_counter(meter: &Meter, name: &'static str, description: &'static str) -> Counter<f64> {
    let counter = meter.f64_counter(name).with_description(description).build();
    counter.add(0.0, &[]);
    counter
}

/// A histogram of durations.
pub fn durations(
    meter: &Meter,
    name: &'static str,
    description: &'static str,
    buckets: &'static [f64],
) -> Histogram<f64> {
    let histogram = meter.f64_histogram(name).with_description(description).with_unit("s");
    histogram.with_boundaries(buckets.to_vec()).build()
}

/// Record a duration.
pub fn record(histogram: &Histogram<f64>, took: Duration, labels: &[KeyValue]) {
    histogram.record(took.as_secs_f64(), labels);
}
