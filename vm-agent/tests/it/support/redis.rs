//! A real Redis server of the test's own, and what a relay would find in it.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};

use redis::aio::MultiplexedConnection;
use relay_core::id::{ConversationId, RunId};
use relay_core::protocol::{Report, RunOutcome, VmEvent};
use relay_core::store::redis::keys::{Keys, NAMESPACE};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::eventually;
use super::vm::conversation;

/// Below the ports that Linux gives to outgoing connections, so that none takes the server's while it is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A server that keeps what it has acknowledged; killed when dropped.
pub(crate) struct RedisServer {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let server = Self { process: spawn(port, &folder), port, folder };
        server.connect().await;
        server
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Start it on the data that it left.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.port, &self.folder);
        self.connect().await;
    }

    /// What `EVENTS_URL` may be.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn url_of(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}", self.port)
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    async fn connect(&self) -> MultiplexedConnection {
        let client = self.client();
        eventually("a connection to Redis", async || {
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            // While it reads its data it answers with an error.
            let answer: redis::RedisResult<String> = redis::cmd("PING").query_async(&mut connection).await;
            answer.ok().map(|_| connection)
        })
        .await
    }

    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let (name, args) = command.split_first().unwrap();
        let answer = redis::cmd(name).arg(args).query_async(&mut self.connect().await).await;
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// What was published and nobody has taken, in the order in which it came.
    pub(crate) async fn reports(&self) -> Vec<Report> {
        let reports: Vec<String> = self.ask(&["LRANGE", &keys().reports(&conversation()), "0", "-1"]).await;
        reports.iter().map(|report| serde_json::from_str(report).unwrap()).collect()
    }

    /// How a run ended, once that is published.
    pub(crate) async fn outcome(&self, run: &RunId) -> RunOutcome {
        eventually("the run's outcome", async || {
            self.reports().await.into_iter().filter(|report| report.run == *run).find_map(|report| match report.event {
                VmEvent::Finished { outcome, .. } => Some(outcome),
                _ => None,
            })
        })
        .await
    }

    /// Take everything that was published, as a relay does.
    pub(crate) async fn take_reports(&self) {
        self.ask::<()>(&["DEL", &keys().reports(&conversation())]).await;
    }

    /// Pop all wake-ups.
    pub(crate) async fn take_wake_ups(&self) -> Vec<ConversationId> {
        let popped: Option<Vec<String>> = self.ask(&["LPOP", &keys().wake(), "1000"]).await;
        popped.unwrap_or_default().into_iter().map(|id| ConversationId::parse(id).unwrap()).collect()
    }
}

/// Of the deployment that a VM publishes to unless told otherwise.
pub(crate) fn keys() -> Keys {
    Keys::new(NAMESPACE)
}

fn spawn(port: u16, folder: &TempDir) -> Child {
    Command::new("redis-server")
        .current_dir(folder)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
        .args(["--appendonly", "yes", "--appendfsync", "always"])
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server is installed")
}

fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time begin at different places.
    let first = std::process::id().wrapping_mul(89);
    let mut candidates = PORTS.map(|_| {
        let number = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed).into());
        PORTS.start + u16::try_from(number % u32::from(PORTS.end - PORTS.start)).unwrap()
    });
    candidates.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).expect("a free port")
}
