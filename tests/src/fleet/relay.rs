//! One relay of a fleet: what it needs to be started again just as it was.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::TOKEN;
use crate::process::{Process, binary};
use crate::stack::{START_TIMEOUT, free_address};

/// Longer than the grace period that a relay has by default.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// How many lines of processes that are gone are kept.
const EARLIER_MAX: usize = 50_000;

/// A relay process, or the place where one was.
#[derive(Debug)]
pub struct Relay {
    number: usize,
    address: SocketAddr,
    metrics: SocketAddr,
    api_key: String,
    vars: Vec<(String, String)>,
    process: Option<Process>,
    /// What the processes before this one have logged.
    earlier: Vec<String>,
}

impl Relay {
    pub(super) fn new(
        number: usize,
        address: SocketAddr,
        clock_offset_s: i64,
        common: &[(String, String)],
        settings: &[(String, String)],
    ) -> Self {
        let api_key = format!("SK{number:032}");
        let mut vars = common.to_vec();
        let mut var = |name: &str, value: String| vars.push((name.to_owned(), value));
        let metrics = free_address();
        var("RELAY_BIND", address.to_string());
        var("METRICS_BIND", metrics.to_string());
        var("TWILIO_API_KEY", api_key.clone());
        var("TWILIO_API_SECRET", TOKEN.to_owned());
        if clock_offset_s != 0 {
            var("LD_PRELOAD", libfaketime().display().to_string());
            var("FAKETIME", format!("{clock_offset_s:+}s"));
            var("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned());
        }
        vars.extend_from_slice(settings);
        Self { number, address, metrics, api_key, vars, process: None, earlier: Vec::new() }
    }

    /// Its place in the fleet, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its own address, past the edge.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where its metrics are.
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// What it names itself by at Twilio: shows who sent a message.
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// The process, while it is up.
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Whether it has neither been killed nor stopped.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// What it has logged, also before it was killed.
    pub fn lines(&self) -> Vec<String> {
        let now = self.process.as_ref().map(Process::lines).unwrap_or_default();
        self.earlier.iter().cloned().chain(now).collect()
    }

    pub(super) async fn start(&mut self) {
        assert!(!self.is_up(), "relay {} is up", self.number);
        let vars: Vec<(&str, &str)> = self.vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut process = Process::start(&binary("relay"), &[], &vars);
        process.wait_for_line("listening on", START_TIMEOUT).await;
        forget_shared_time(&process);
        self.process = Some(process);
    }

    pub(super) async fn kill(&mut self) {
        let mut process = self.process.take().expect("the relay is up");
        process.kill().await;
        self.keep(&process, "killed");
    }

    pub(super) async fn stop(&mut self) {
        let mut process = self.process.take().expect("the relay is up");
        let status = process.terminate(STOP_TIMEOUT).await;
        self.keep(&process, "stopped");
        assert!(status.success(), "relay {} ended with {status}:\n{}", self.number, process.lines().join("\n"));
    }

    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    fn keep(&mut self, process: &Process, how: &str) {
        self.earlier.extend(process.lines());
        self.earlier.push(format!("--- {how}"));
        let surplus = self.earlier.len().saturating_sub(EARLIER_MAX);
        self.earlier.drain(..surplus);
    }
}

/// libfaketime shares the time with children by way of files that a killed process would leave behind; a relay has none.
fn forget_shared_time(process: &Process) {
    for file in process.id().iter().flat_map(|id| [format!("faketime_shm_{id}"), format!("sem.faketime_sem_{id}")]) {
        // A relay with the right time has none.
        let _ = std::fs::remove_file(Path::new("/dev/shm").join(file));
    }
}

/// Debian's package `libfaketime`.
fn libfaketime() -> PathBuf {
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1", std::env::consts::ARCH);
    let library = Path::new(&library);
    assert!(library.exists(), "{} is missing: run ./dev test, which installs it", library.display());
    library.to_owned()
}
