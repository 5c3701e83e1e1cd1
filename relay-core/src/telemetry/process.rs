//! What a process uses, as Linux and its runtime tell.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::metrics::Meter;
use tokio::runtime::Handle;

/// Where Linux tells of this process.
const STATUS: &str = "/proc/self/statm";
const TIMES: &str = "/proc/self/stat";
const FDS: &str = "/proc/self/fd";
const UPTIME: &str = "/proc/uptime";

/// The fields of `/proc/self/stat` after the name in parentheses, from zero: see proc(5).
const UTIME: usize = 11;
const STIME: usize = 12;
const START_TIME: usize = 19;

/// Measure this process whenever somebody asks. Called where its runtime is.
pub(super) fn watch(meter: &Meter) {
    let gauge = |name: &'static str, description: &'static str, read: fn() -> Option<f64>| {
        meter
            .f64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |observer| {
                if let Some(value) = read() {
                    observer.observe(value, &[]);
                }
            })
            .build();
    };
    gauge("process_resident_memory_bytes", "Memory of the process", resident_bytes);
    gauge("process_open_fds", "Open files and sockets", open_fds);
    gauge("process_start_time_seconds", "When the process started, since 1970", started_at);
    meter
        .f64_observable_counter("process_cpu_seconds")
        .with_description("Time of the process on processors")
        .with_callback(|observer| {
            if let Some(seconds) = cpu_seconds() {
                observer.observe(seconds, &[]);
            }
        })
        .build();
    if let Ok(runtime) = Handle::try_current() {
        watch_runtime(meter, runtime.metrics());
    }
}

fn watch_runtime(meter: &Meter, runtime: tokio::runtime::RuntimeMetrics) {
    let tasks = runtime.clone();
    meter
        .u64_observable_gauge("textslash.tasks.active")
        .with_description("Tasks of the runtime")
        .with_callback(move |observer| observer.observe(tasks.num_alive_tasks() as u64, &[]))
        .build();
    meter
        .f64_observable_counter("textslash.runtime.busy")
        .with_unit("s")
        .with_description("Time that the workers of the runtime were busy")
        .with_callback(move |observer| {
            let busy: Duration =
                (0..runtime.num_workers()).map(|worker| runtime.worker_total_busy_duration(worker)).sum();
            observer.observe(busy.as_secs_f64(), &[]);
        })
        .build();
}

#[expect(clippy::disallowed_methods, reason = "Linux tells of a process by files")]
fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn resident_bytes() -> Option<f64> {
    let pages: f64 = read(STATUS)?.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as f64)
}

fn open_fds() -> Option<f64> {
    Some(std::fs::read_dir(FDS).ok()?.count() as f64)
}

/// The number in the field after the process's name, which may hold anything, in seconds.
fn ticks(field: usize) -> Option<f64> {
    let stat = read(TIMES)?;
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: f64 = fields.split_whitespace().nth(field)?.parse().ok()?;
    Some(ticks / rustix::param::clock_ticks_per_second() as f64)
}

fn cpu_seconds() -> Option<f64> {
    Some(ticks(UTIME)? + ticks(STIME)?)
}

/// The start of a process is told since the machine's; the machine's is computed once, so that the answer stays the same.
fn started_at() -> Option<f64> {
    static STARTED_AT: OnceLock<Option<f64>> = OnceLock::new();
    #[expect(clippy::disallowed_types, reason = "what is asked for is the time of day")]
    *STARTED_AT.get_or_init(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64();
        let uptime: f64 = read(UPTIME)?.split_whitespace().next()?.parse().ok()?;
        Some(now - uptime + ticks(START_TIME)?)
    })
}
