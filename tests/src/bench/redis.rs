//! The Redis under measurement, and what it says of itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use fred::prelude::*;
use fred::types::CustomCommand;
use tempfile::TempDir;
use tokio::time::sleep;

use super::load::connect;
use super::servers::{LOAD_CORE, Program, START_POLL, START_TIMEOUT, free_port};

/// How often Redis was asked for what, commands inside scripts included.
#[derive(Clone, Debug)]
pub(super) struct CommandCounts(BTreeMap<String, u64>);

impl CommandCounts {
    /// What was asked since `earlier`, without the PINGs: nobody bills them.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        let asked = self.0.iter().filter(|(name, _)| *name != "ping");
        let new = asked.map(|(name, count)| (name.clone(), count - earlier.0.get(name).copied().unwrap_or(0)));
        Self(new.filter(|(_, count)| *count > 0).collect())
    }

    /// Every command.
    pub(super) fn all(&self) -> u64 {
        self.0.values().sum()
    }

    /// Every command but these.
    pub(super) fn but_for(&self, names: &[&str]) -> u64 {
        self.0.iter().filter(|(name, _)| !names.contains(&name.as_str())).map(|(_, count)| count).sum()
    }

    /// Calls of scripts.
    pub(super) fn scripts(&self) -> u64 {
        ["evalsha", "eval", "fcall"].iter().filter_map(|name| self.0.get(*name)).sum()
    }

    /// Each command and how often, the most frequent first.
    pub(super) fn list(&self) -> String {
        let mut counts: Vec<_> = self.0.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    }
}

/// A Redis of the benchmark's own, without persistence, on the load's core.
#[derive(Debug)]
pub(super) struct Redis {
    process: Program,
    client: Client,
    port: u16,
    looks: AtomicU64,
    _folder: TempDir,
}

impl Redis {
    /// Start one, with these arguments besides, and wait until it answers.
    pub(super) async fn start(args: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("textslash-bench-").tempdir()?;
        let (port, dir) = (free_port(), folder.path().display().to_string());
        let port_text = port.to_string();
        let fixed = ["--port", &port_text, "--bind", "127.0.0.1", "--dir", &dir, "--save", "", "--appendonly", "no"];
        let all: Vec<&str> = fixed.iter().chain(args).copied().collect();
        let process = Program::start(LOAD_CORE, "redis-server", &all, &[])?;
        let url = format!("redis://127.0.0.1:{port}");
        wait_for_port(port, &process).await?;
        let client =
            Builder::from_config(Config::from_url(&url)?).set_policy(ReconnectPolicy::new_constant(0, 50)).build()?;
        client.init().await?;
        Ok(Self { process, client, port, looks: AtomicU64::new(0), _folder: folder })
    }

    /// Its address.
    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub(super) fn process(&self) -> &Program {
        &self.process
    }

    /// Forget everything.
    pub(super) async fn clear(&self) -> anyhow::Result<()> {
        Ok(self.client.custom(CustomCommand::new_static("FLUSHALL", None, false), Vec::<String>::new()).await?)
    }

    /// The number of members of a sorted set.
    pub(super) async fn members(&self, key: &str) -> anyhow::Result<usize> {
        Ok(self.client.zcard(key).await?)
    }

    /// Wait until nobody has asked for anything for `quiet`; how often it was asked for what until then.
    pub(super) async fn quiet(&self, quiet: Duration) -> anyhow::Result<CommandCounts> {
        let mut seen = self.counts().await?;
        loop {
            sleep(quiet).await;
            let now = self.counts().await?;
            if now.since(&seen).all() == 0 {
                return Ok(seen);
            }
            seen = now;
        }
    }

    /// How often it was asked for what since its start, by others than this program.
    pub(super) async fn counts(&self) -> anyhow::Result<CommandCounts> {
        let info = CustomCommand::new_static("INFO", None, false);
        let text: String = self.client.custom(info, vec!["commandstats"]).await?;
        let counts = text.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        });
        let mut counts: BTreeMap<String, u64> = counts.collect();
        // A call of INFO does not see itself.
        let own = self.looks.fetch_add(1, Ordering::Relaxed);
        counts.entry("info".to_owned()).and_modify(|count| *count -= own);
        Ok(CommandCounts(counts))
    }
}

async fn wait_for_port(port: u16, process: &Program) -> anyhow::Result<()> {
    let started = Instant::now();
    while connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.is_err() {
        ensure!(started.elapsed() < START_TIMEOUT, "redis-server does not answer:\n{}", process.log_end());
        sleep(START_POLL).await;
    }
    Ok(())
}
