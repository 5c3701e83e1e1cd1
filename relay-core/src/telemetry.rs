//! What both programs tell of themselves: metrics for whoever scrapes them, spans for whoever collects traces, lines of a log.
//! `docs/telemetry.md` lists all of it. Nothing here ever sees a message, a number or a secret.

use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;

pub mod calls;
pub mod logs;
pub mod metrics;
mod process;
pub mod traces;

pub use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};
pub use traces::{Exporter, Sampling};

/// Who tells.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Which program.
    pub service: &'static str,
    /// Its version.
    pub version: &'static str,
    /// This process of it.
    pub instance: String,
}

impl Identity {
    fn resource(&self) -> Resource {
        // Also what OTEL_RESOURCE_ATTRIBUTES says.
        Resource::builder()
            .with_service_name(self.service)
            .with_attribute(KeyValue::new("service.version", self.version))
            .with_attribute(KeyValue::new("service.instance.id", self.instance.clone()))
            .build()
    }
}
