//! All that a fly.toml may hold, as flyctl reads it (its `internal/appconfig`). flyctl itself passes over what it does not know, so
//! a misspelt key would have no effect and nobody would be told.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Value;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is not looked at is still checked for its name and type")]
pub(super) struct FlyToml {
    pub(super) app: String,
    pub(super) primary_region: String,
    pub(super) kill_signal: String,
    pub(super) kill_timeout: String,
    swap_size_mb: Option<u32>,
    console_command: Option<String>,
    host_dedication_id: Option<String>,
    machine_config: Option<String>,
    container: Option<String>,
    experimental: Option<Value>,
    pub(super) build: Build,
    pub(super) deploy: Deploy,
    pub(super) env: BTreeMap<String, String>,
    processes: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) mounts: Vec<Mount>,
    pub(super) http_service: Option<Service>,
    #[serde(default)]
    pub(super) services: Vec<Service>,
    #[serde(default)]
    pub(super) checks: BTreeMap<String, Check>,
    #[serde(default)]
    files: Vec<Value>,
    #[serde(default)]
    machine_checks: Vec<Value>,
    pub(super) restart: Vec<Restart>,
    pub(super) vm: Vec<Machine>,
    #[serde(default)]
    statics: Vec<Value>,
    pub(super) metrics: Vec<Metrics>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Build {
    pub(super) dockerfile: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is not looked at is still checked for its name and type")]
pub(super) struct Deploy {
    pub(super) strategy: Strategy,
    pub(super) max_unavailable: u32,
    wait_timeout: Option<String>,
    release_command: Option<String>,
    release_command_timeout: Option<String>,
    seed_command: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Strategy {
    Rolling,
    Canary,
    Bluegreen,
    Immediate,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is not looked at is still checked for its name and type")]
pub(super) struct Mount {
    source: String,
    pub(super) destination: String,
    initial_size: Option<String>,
    snapshot_retention: Option<u32>,
    scheduled_snapshots: Option<bool>,
    auto_extend_size_threshold: Option<u32>,
    auto_extend_size_increment: Option<String>,
    auto_extend_size_limit: Option<String>,
    processes: Option<Vec<String>>,
}

/// `[http_service]` has `force_https` and `checks`, `[[services]]` has `ports` and `…_checks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is not looked at is still checked for its name and type")]
pub(super) struct Service {
    pub(super) internal_port: u16,
    protocol: Option<String>,
    pub(super) force_https: Option<bool>,
    pub(super) auto_stop_machines: AutoStop,
    pub(super) auto_start_machines: bool,
    min_machines_running: Option<u32>,
    processes: Option<Vec<String>>,
    pub(super) concurrency: Concurrency,
    http_options: Option<Value>,
    tls_options: Option<Value>,
    #[serde(default)]
    pub(super) checks: Vec<Check>,
    #[serde(default)]
    pub(super) http_checks: Vec<Check>,
    #[serde(default)]
    tcp_checks: Vec<Check>,
    #[serde(default)]
    machine_checks: Vec<Value>,
    #[serde(default)]
    pub(super) ports: Vec<Port>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum AutoStop {
    Off,
    Stop,
    Suspend,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Concurrency {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) soft_limit: u32,
    pub(super) hard_limit: u32,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is not looked at is still checked for its name and type")]
pub(super) struct Port {
    pub(super) port: u16,
    pub(super) handlers: Vec<String>,
    pub(super) force_https: Option<bool>,
    http_options: Option<Value>,
    tls_options: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is not looked at is still checked for its name and type")]
pub(super) struct Check {
    interval: String,
    timeout: String,
    grace_period: String,
    method: String,
    pub(super) path: String,
    protocol: Option<String>,
    tls_skip_verify: Option<bool>,
    tls_server_name: Option<String>,
    headers: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is not looked at is still checked for its name and type")]
pub(super) struct Restart {
    pub(super) policy: String,
    retries: Option<u32>,
    processes: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "what is not looked at is still checked for its name and type")]
pub(super) struct Machine {
    size: String,
    memory: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metrics {
    pub(super) port: u16,
    pub(super) path: String,
}

impl FlyToml {
    /// Every service, whichever way it is written.
    pub(super) fn all_services(&self) -> impl Iterator<Item = &Service> {
        self.http_service.iter().chain(&self.services)
    }

    /// Whether a private address of this app speaks plain HTTP at this port.
    pub(super) fn speaks_http_at(&self, port: u16) -> bool {
        let in_services = self.services.iter().flat_map(|service| &service.ports);
        let mut open = in_services.filter(|open| open.port == port && open.force_https != Some(true));
        let is_open = open.any(|open| open.handlers == ["http"]);
        is_open || (port == 80 && self.http_service.as_ref().is_some_and(|service| service.force_https != Some(true)))
    }
}

impl Service {
    /// What keeps requests from a machine that is not well.
    pub(super) fn route_checks(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().chain(&self.http_checks)
    }
}
