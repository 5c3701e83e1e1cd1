//! HAProxy in front of several relays, as Fly's proxy would be: every request to the next relay, and one that no relay has
//! seen goes to another.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::process::Process;
use crate::stack::{START_TIMEOUT, free_address};
use crate::wait::wait_for;

/// Debian's package `haproxy`.
const HAPROXY: &str = "/usr/sbin/haproxy";
const DEPLOYED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/haproxy.cfg");

/// Which relay gets a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Any.
    Random,
    /// As `deploy/haproxy.cfg` says, which knows two relays and looks whether they are well.
    AsDeployed,
}

/// The proxy, until dropped.
#[derive(Debug)]
pub struct Haproxy {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Haproxy {
    /// Stand in front of `servers`, which need not be there yet.
    ///
    /// A connection that is refused is tried at the next server; a request that a server may have seen is never sent twice,
    /// and its sender gets 502 or 504. There is no health check, but as deployed: a dead relay is met.
    ///
    /// # Panics
    /// When haproxy is missing or does not start, or the deployed configuration is not for so many servers.
    pub async fn before(servers: &[SocketAddr], balance: Balance) -> Self {
        assert!(Path::new(HAPROXY).exists(), "{HAPROXY} is missing: run ./dev test, which installs it");
        let folder = tempfile::Builder::new().prefix("textslash-edge-").tempdir().expect("a temporary directory");
        let address = free_address();
        let mut vars = vec![("PATH", "/usr/bin:/bin".to_owned())];
        let file = if balance == Balance::AsDeployed {
            let [a, b] = servers else { panic!("{DEPLOYED} is for two relays, not for {}", servers.len()) };
            vars.extend(
                [("EDGE_BIND", address), ("RELAY_A", *a), ("RELAY_B", *b)].map(|(name, at)| (name, at.to_string())),
            );
            PathBuf::from(DEPLOYED)
        } else {
            let file = folder.path().join("haproxy.cfg");
            std::fs::write(&file, configuration(address, servers, balance)).expect("a file is written");
            file
        };
        let file = file.to_string_lossy();
        let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut process = Process::start(Path::new(HAPROXY), &["-db", "-f", &file], &vars);
        wait_for("HAProxy to listen", START_TIMEOUT, async || {
            assert!(process.is_running(), "HAProxy ended:\n{}", process.lines().join("\n"));
            TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Self { address, _process: process, _folder: folder }
    }

    /// Where it listens, as `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn configuration(address: SocketAddr, servers: &[SocketAddr], balance: Balance) -> String {
    let balance = match balance {
        Balance::RoundRobin => "roundrobin",
        Balance::Random => "random",
        Balance::AsDeployed => unreachable!("it has a file of its own"),
    };
    let mut text = format!(
        "global\n    maxconn 4096\n\
         defaults\n    mode http\n    maxconn 4096\n    timeout connect 1s\n    timeout client 60s\n    timeout server 60s\n\
         \x20   retries 3\n    option redispatch 1\n    option http-no-delay\n    retry-on conn-failure\n\
         frontend edge\n    bind {address}\n    default_backend relays\n\
         backend relays\n    balance {balance}\n"
    );
    for (number, server) in servers.iter().enumerate() {
        writeln!(text, "    server relay{number} {server}").expect("a string takes everything");
    }
    text
}
