//! A real redis-server of the test's own: on a free port, with a folder of its own, killed and started again on what it
//! had kept.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::process::Process;
use crate::stack::{START_TIMEOUT, free_address};
use crate::wait::wait_for;

/// Debian's package `redis-server`.
const REDIS_SERVER: &str = "/usr/bin/redis-server";
/// A folder in memory. With `appendfsync everysec` Redis writes before it answers, except while an fsync of an earlier second
/// is still running: then it answers first. A process that is killed at that moment loses what it has acknowledged. In memory
/// an fsync takes no time, so a kill loses nothing, and what a test finds lost was lost by somebody else.
const FOLDER: &str = "/dev/shm";
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The server, while it runs, and its data, until dropped.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Process>,
    address: SocketAddr,
    folder: TempDir,
    args: Vec<String>,
}

impl RedisServer {
    /// Start one as production should have it: `appendonly yes`, `appendfsync everysec`, `maxmemory-policy noeviction`. Later
    /// arguments win: `&["--maxmemory-policy", "allkeys-lru"]` makes a bad one.
    ///
    /// # Panics
    /// When redis-server is missing or does not start.
    pub async fn start(args: &[&str]) -> Self {
        assert!(Path::new(REDIS_SERVER).exists(), "{REDIS_SERVER} is missing: run ./dev test, which installs it");
        let folder =
            tempfile::Builder::new().prefix("textslash-redis-").tempdir_in(FOLDER).expect("a folder in memory");
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut server = Self { process: None, address: free_address(), folder, args };
        server.start_again().await;
        server
    }

    /// Start it on the data that it left, on the same port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&mut self) {
        let port = self.address.port().to_string();
        let folder = self.folder.path().to_string_lossy().into_owned();
        let own = [
            ("--bind", "127.0.0.1"),
            ("--port", &port),
            ("--dir", &folder),
            ("--save", ""),
            ("--appendonly", "yes"),
            ("--appendfsync", "everysec"),
            ("--maxmemory-policy", "noeviction"),
        ];
        let own = own.iter().flat_map(|&(name, value)| [name, value]);
        let args: Vec<&str> = own.chain(self.args.iter().map(String::as_str)).collect();
        let mut process = Process::start(Path::new(REDIS_SERVER), &args, &[("PATH", "/usr/bin:/bin")]);
        process.wait_for_line("Ready to accept connections", START_TIMEOUT).await;
        self.process = Some(process);
    }

    /// kill -9. Nothing that it acknowledged is lost, see the folder.
    ///
    /// # Panics
    /// When it does not run.
    pub async fn kill(&mut self) {
        self.process.take().expect("Redis runs").kill().await;
    }

    /// SIGTERM, as when a machine is shut down in order.
    ///
    /// # Panics
    /// When it does not run, or does not end.
    pub async fn stop(&mut self) {
        self.process.take().expect("Redis runs").terminate(STOP_TIMEOUT).await;
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `STATE_STORE` may be.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The same for this user.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@{}", self.address)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection of the test's own, by a client that the relay does not use.
    ///
    /// # Panics
    /// When there is none to be had.
    pub async fn connect(&self) -> MultiplexedConnection {
        connect(&self.url()).await
    }

    /// One command that needs no bytes, for the default user.
    ///
    /// # Panics
    /// When it fails, or the answer is not of this type.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let (name, args) = command.split_first().expect("a command has a name");
        let mut connection = self.connect().await;
        let answer = redis::cmd(name).arg(args).query_async(&mut connection).await;
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// How often each command was called since it started or since `CONFIG RESETSTAT`; those inside scripts count too.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn calls(&self) -> Vec<(String, u64)> {
        let info: String = self.ask(&["INFO", "commandstats"]).await;
        let calls = |line: &str| {
            let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), stats.split(',').next()?.parse().ok()?))
        };
        info.lines().filter_map(calls).collect()
    }
}

/// A connection to this address.
///
/// # Panics
/// When there is none to be had within the time that a start takes.
pub async fn connect(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).expect("a Redis address");
    wait_for("a connection to Redis", START_TIMEOUT, async || {
        client.get_multiplexed_async_connection().await.map_err(|error| error.to_string())
    })
    .await
}
