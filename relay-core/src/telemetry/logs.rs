//! The log: one line an event. `RUST_LOG` chooses what is written; in a trace, a line names it.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::traces::{self, Exporter};
use crate::settings::Reader;

const DEFAULT: &str = "info";
/// The client of Redis.
const CLIENT: &str = "fred";
/// What exports spans: of it only troubles are news.
const EXPORTER: &str = "opentelemetry_sdk=warn";

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// `LOG_FORMAT`.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        match reader.value("LOG_FORMAT").as_deref() {
            None | Some("text") => Some(Self::Text),
            Some("json") => Some(Self::Json),
            Some(_) => reader.fault("LOG_FORMAT", "must be text or json"),
        }
    }
}

/// Start writing the log, to `writer`, and spans to `exporter` if there is one.
pub fn start<W>(format: LogFormat, asked: &str, writer: W, exporter: Option<&Exporter>)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(writer);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        // For people, what a line is part of is not worth its length.
        LogFormat::Text => {
            // As much as the filter beside it lets through: without a hint, whatever any library says is looked at.
            let is_event = filter_fn(|metadata| metadata.is_event()).with_max_level_hint(LevelFilter::TRACE);
            let events = filter(asked).and(is_event);
            Box::new(lines.with_ansi(std::io::stdout().is_terminal()).with_filter(events))
        }
        LogFormat::Json => {
            traces::are_logged();
            Box::new(lines.json().flatten_event(true).with_current_span(false).with_filter(filter(asked)))
        }
    };
    let spans = exporter.map(Exporter::layer);
    tracing_subscriber::registry().with(lines).with(spans).init();
}

/// What the client of Redis says of each of its connections, the store says once and in our own words; whoever wants all of
/// it names `fred`.
fn filter(asked: &str) -> EnvFilter {
    let asked = if EnvFilter::try_new(asked).is_ok() && !asked.is_empty() { asked } else { DEFAULT };
    let client = if asked.contains(CLIENT) { String::new() } else { format!(",{CLIENT}=off") };
    EnvFilter::new(format!("{EXPORTER},{asked}{client}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_of_redis_speaks_only_when_it_is_asked() {
        let text = |asked| filter(asked).to_string();
        assert_eq!(text(""), "opentelemetry_sdk=warn,fred=off,info");
        assert_eq!(text("no filter=="), "opentelemetry_sdk=warn,fred=off,info");
        assert_eq!(text("debug"), "opentelemetry_sdk=warn,fred=off,debug");
        assert_eq!(text("info,fred=trace"), "opentelemetry_sdk=warn,fred=trace,info");
    }
}
