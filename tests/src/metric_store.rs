//! Prometheus and VictoriaMetrics as Debian has them, each scraping every second and keeping what it got until dropped.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;

use crate::peers::debian;
use crate::process::Process;
use crate::stack::{START_TIMEOUT, free_address};
use crate::wait::wait_for;

/// An answer takes milliseconds; this is for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Prometheus, as compose has it.
    Prometheus,
    /// VictoriaMetrics, as Fly.io has it.
    VictoriaMetrics,
}

/// Who is scraped, and how the scraper names it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where `/metrics` is.
    pub address: SocketAddr,
    /// The label `app`.
    pub app: String,
    /// The label `instance`.
    pub instance: String,
}

/// The server, until dropped.
#[derive(Debug)]
pub struct MetricStore {
    kind: Kind,
    address: SocketAddr,
    client: Client,
    _process: Process,
    _folder: TempDir,
}

impl MetricStore {
    /// Start one that scrapes `targets`, which need not be there yet, with the labels that Fly.io adds.
    ///
    /// # Panics
    /// When the program is missing or does not start.
    pub async fn start(kind: Kind, targets: &[Target]) -> Self {
        let folder = tempfile::Builder::new().prefix("textslash-metrics-").tempdir().expect("a temporary directory");
        let config = folder.path().join("scrape.yml");
        std::fs::write(&config, configuration(targets)).expect("a file is written");
        let address = free_address();
        let (config, data) = (config.display().to_string(), folder.path().join("data").display().to_string());
        let args = match kind {
            Kind::Prometheus => vec![
                format!("--config.file={config}"),
                format!("--storage.tsdb.path={data}"),
                format!("--web.listen-address={address}"),
            ],
            Kind::VictoriaMetrics => vec![
                format!("-promscrape.config={config}"),
                format!("-storageDataPath={data}"),
                format!("-httpListenAddr={address}"),
                // By default what came in within the last half minute is not shown.
                "-search.latencyOffset=1ms".to_owned(),
                "-search.disableCache".to_owned(),
            ],
        };
        let program = debian(match kind {
            Kind::Prometheus => "prometheus",
            Kind::VictoriaMetrics => "victoria-metrics",
        });
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut process = Process::start(&program, &args, &[("PATH", "/usr/bin:/bin")]);
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build().expect("a plain client");
        wait_for(&format!("{kind:?} to answer"), START_TIMEOUT, async || {
            assert!(process.is_running(), "{kind:?} ended:\n{}", process.lines().join("\n"));
            client.get(format!("http://{address}/health")).send().await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Self { kind, address, client, _process: process, _folder: folder }
    }

    /// Which it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The labels and the value of each series that a query gives now.
    ///
    /// # Errors
    /// What the server says against the query.
    pub async fn query(&self, query: &str) -> Result<Vec<(Value, f64)>, String> {
        let answer = self.ask("query", &[("query", query)]).await?;
        let number = |series: &Value| {
            let text = series["value"][1].as_str().unwrap_or_default();
            (series["metric"].clone(), text.parse().unwrap_or(f64::NAN))
        };
        Ok(answer["result"].as_array().into_iter().flatten().map(number).collect())
    }

    /// The series that a query gives from `start` to `end`, in seconds since 1970, as the server writes them.
    ///
    /// # Errors
    /// What the server says against the query.
    pub async fn query_range(&self, query: &str, start: f64, end: f64, step: f64) -> Result<Value, String> {
        let [start, end, step] = [start, end, step].map(|number| number.to_string());
        let params = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
        Ok(self.ask("query_range", &params).await?["result"].clone())
    }

    async fn ask(&self, what: &str, params: &[(&str, &str)]) -> Result<Value, String> {
        let request = self.client.post(format!("http://{}/api/v1/{what}", self.address)).form(params);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(answer["error"].to_string()) }
    }
}

/// Understood by both: VictoriaMetrics takes no keys that it does not know.
fn configuration(targets: &[Target]) -> String {
    let mut text =
        "global: { scrape_interval: 1s }\nscrape_configs:\n  - job_name: test\n    static_configs:\n".to_owned();
    for Target { address, app, instance } in targets {
        writeln!(text, "      - targets: ['{address}']").expect("a string takes everything");
        writeln!(text, "        labels: {{ app: {app}, region: here, host: here, instance: {instance} }}")
            .expect("a string takes everything");
    }
    text
}

/// `promtool` with these arguments, in this folder: whether it is content, and what it says.
///
/// # Panics
/// When it is missing.
pub async fn promtool(folder: &Path, args: &[&str]) -> (bool, String) {
    let output = tokio::process::Command::new(debian("promtool")).args(args).current_dir(folder).output().await;
    let output = output.expect("promtool starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
