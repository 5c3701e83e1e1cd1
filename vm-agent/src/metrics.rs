//! What a VM counts and measures, of the whole process, as `tracing` is of the whole process; `docs/telemetry.md` lists it.

use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use opentelemetry::KeyValue;
use relay_core::telemetry::metrics::{
    CALLS, CONTENT_TYPE, Metrics, PATH, WAITS, WORK, counter, durations, plain_f64_counter, record,
};
use relay_core::telemetry::{Counter, Gauge, Histogram, Identity, UpDownCounter};
use tokio::net::TcpListener;

/// The instruments.
#[derive(Debug)]
pub struct VmMetrics {
    metrics: Metrics,
    http: Histogram<f64>,
    runs: Counter<u64>,
    run_durations: Histogram<f64>,
    active: UpDownCounter<i64>,
    tools: Histogram<f64>,
    tokens: Counter<u64>,
    cost: Counter<f64>,
    cancels: Histogram<f64>,
    refusals: Counter<u64>,
    reports: Counter<u64>,
    waiting: Gauge<u64>,
    free_bytes: Gauge<u64>,
}

/// What refused something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A request was not signed with the VM's secret.
    Signature,
    /// A relay had lost the conversation.
    Fence,
    /// A host that is not listed.
    Egress,
    /// A use of the API key that is not the run's.
    Key,
    /// A picture that is none, too large or one too many.
    Image,
}

const LAYERS: [&str; 5] = ["signature", "fence", "egress", "key", "image"];
const ENDS: [&str; 5] = ["changes", "answered", "failed", "cancelled", "interrupted"];
const REPORTS: [&str; 3] = ["delivered", "refused", "failed"];
const TOKENS: [&str; 4] = ["input", "output", "cache_read", "cache_write"];
/// Tools with a name of their own in metrics; a repository may bring any others.
const TOOLS: [&str; 12] = [
    "Bash",
    "Edit",
    "Glob",
    "Grep",
    "MultiEdit",
    "NotebookEdit",
    "Read",
    "Task",
    "TodoWrite",
    "WebFetch",
    "WebSearch",
    "Write",
];
const OTHER_TOOL: &str = "other";

/// A run at work.
#[derive(Debug)]
pub struct AtWork<'a>(&'a VmMetrics);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.active.add(-1, &[]);
    }
}

static METRICS: OnceLock<VmMetrics> = OnceLock::new();

/// The process's.
pub fn metrics() -> &'static VmMetrics {
    METRICS.get_or_init(|| VmMetrics::new(&Identity::default(), ""))
}

/// Begin to measure, in the name of this process. Called before anything is measured.
pub fn begin(identity: &Identity, driver: &'static str) {
    METRICS.get_or_init(|| VmMetrics::new(identity, driver));
}

/// Serve what is measured, and nothing else.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let told = async || ([(header::CONTENT_TYPE, CONTENT_TYPE)], metrics().metrics.text());
    axum::serve(listener, Router::new().route(PATH, get(told))).await
}

impl VmMetrics {
    fn new(identity: &Identity, driver: &'static str) -> Self {
        let metrics = Metrics::new(identity);
        let meter = metrics.meter();
        let gauge = |name: &'static str, description| meter.u64_gauge(name).with_description(description).build();
        let runs = counter(&meter, "textslash.vm.runs", "Runs that ended", "end", &[]);
        for end in ENDS {
            runs.add(0, &[KeyValue::new("driver", driver), KeyValue::new("end", end)]);
        }
        let active = meter.i64_up_down_counter("textslash.vm.runs.active").with_description("Runs at work").build();
        active.add(0, &[]);
        Self {
            http: durations(&meter, "http.server.request.duration", "Requests answered", CALLS),
            runs,
            run_durations: durations(&meter, "textslash.vm.run.duration", "From a run's start to its end", WORK),
            active,
            tools: durations(&meter, "textslash.vm.tool.duration", "Uses of tools by the agent", WAITS),
            tokens: counter(&meter, "textslash.vm.tokens", "Tokens", "type", &TOKENS),
            cost: plain_f64_counter(&meter, "textslash.vm.cost_dollars", "Cost"),
            cancels: durations(&meter, "textslash.vm.cancel.duration", "From a cancellation to its end", WAITS),
            refusals: counter(&meter, "textslash.vm.refusals", "What was refused", "layer", &LAYERS),
            reports: counter(&meter, "textslash.vm.reports", "Reports to relays", "result", &REPORTS),
            waiting: gauge("textslash.vm.reports.waiting", "Reports that no relay has taken yet"),
            free_bytes: gauge("textslash.vm.volume.free_bytes", "Room on the volume"),
            metrics,
        }
    }

    /// A request was answered.
    pub fn answered_request(&self, method: &'static str, route: String, status: u16, took: Duration) {
        let labels = [
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route),
            KeyValue::new("http.response.status_code", i64::from(status)),
        ];
        record(&self.http, took, &labels);
    }

    /// A run is at work, until what is returned is dropped.
    pub fn run_at_work(&self) -> AtWork<'_> {
        self.active.add(1, &[]);
        AtWork(self)
    }

    /// A run ended.
    pub fn run_ended(&self, driver: &'static str, end: &'static str, took: Duration) {
        self.runs.add(1, &[KeyValue::new("driver", driver), KeyValue::new("end", end)]);
        record(&self.run_durations, took, &[KeyValue::new("driver", driver)]);
    }

    /// The agent used a tool.
    pub fn tool_used(&self, name: &str, took: Duration) {
        let known = TOOLS.iter().find(|tool| **tool == name);
        record(&self.tools, took, &[KeyValue::new("tool", *known.unwrap_or(&OTHER_TOOL))]);
    }

    /// The model read and wrote tokens: new, written, read from its cache and written into it.
    pub fn tokens(&self, counts: [u64; 4]) {
        for (kind, count) in TOKENS.into_iter().zip(counts) {
            self.tokens.add(count, &[KeyValue::new("type", kind)]);
        }
    }

    /// The model cost so much, in millionths of a US dollar.
    pub fn cost(&self, microusd: u64) {
        self.cost.add(microusd as f64 / 1e6, &[]);
    }

    /// A run is stopped, as asked.
    pub fn cancelled(&self, took: Duration) {
        record(&self.cancels, took, &[]);
    }

    /// Something was refused.
    pub fn refused(&self, by: Layer) {
        self.refusals.add(1, &[KeyValue::new("layer", LAYERS[by as usize])]);
    }

    /// A report was taken.
    pub fn report_delivered(&self) {
        self.reports.add(1, &[KeyValue::new("result", REPORTS[0])]);
    }

    /// A report will never be taken.
    pub fn report_refused(&self) {
        self.reports.add(1, &[KeyValue::new("result", REPORTS[1])]);
    }

    /// A report was not taken, and is tried again.
    pub fn report_failed(&self) {
        self.reports.add(1, &[KeyValue::new("result", REPORTS[2])]);
    }

    /// How much waits to be reported, and how much room the volume has.
    pub fn stands(&self, waiting: usize, free_bytes: Option<u64>) {
        self.waiting.record(waiting as u64, &[]);
        if let Some(free_bytes) = free_bytes {
            self.free_bytes.record(free_bytes, &[]);
        }
    }
}
