//! The agent's way to the network, and the only one in a sandbox: an HTTP proxy that knows `CONNECT` (RFC 9110, section 9.3.6), on a
//! socket of the run's own, and lets through to the hosts on a list.
//!
//! The agent names a host; the proxy looks up where it is. A host of the built-in list that leads to a private address is refused:
//! on a cloud's own network there are things behind such addresses that trust whoever can reach them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::metrics::{Layer, metrics};

use super::confinement::AgentUser;
use super::socket::{PrivateSocket, next_call};

/// Where packages come from, over https.
const REGISTRIES: [&str; 14] = [
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "pypi.org",
    "files.pythonhosted.org",
    "crates.io",
    "index.crates.io",
    "static.crates.io",
    "static.rust-lang.org",
    "proxy.golang.org",
    "sum.golang.org",
    "rubygems.org",
    "index.rubygems.org",
    "repo.maven.apache.org",
    "deb.debian.org",
];
const HTTPS_PORT: u16 = 443;
/// Bytes of a request's head at most.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Characters of a host's name that are logged.
const HOST_CHARS_MAX: usize = 253;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections at the same time at most.
const CONNECTIONS_MAX: usize = 128;

/// The hosts that an agent may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    /// Beside the registries: a name, or `*.` and a name for all below it; and a port.
    listed: Vec<(String, u16)>,
}

/// What the list says of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Wherever it is: an operator has listed it.
    Listed,
    /// If it is on the public network.
    Public,
    Refused,
}

impl AllowList {
    /// The registries and these: `name`, `name:port`, `*.name`; https where no port is said. The error is the one that is none.
    pub fn new(hosts: &[String]) -> Result<Self, String> {
        let listed = hosts.iter().map(|host| {
            let (name, port) = match host.rsplit_once(':') {
                Some((name, port)) => (name, port.parse().ok()),
                None => (host.as_str(), Some(HTTPS_PORT)),
            };
            let port = port.filter(|_| is_name(name.strip_prefix("*.").unwrap_or(name)));
            port.map(|port| (name.to_ascii_lowercase(), port)).ok_or_else(|| host.clone())
        });
        Ok(Self { listed: listed.collect::<Result<_, _>>()? })
    }

    fn verdict(&self, host: &str, port: u16) -> Verdict {
        let host = host.to_ascii_lowercase();
        let fits = |(name, listed_port): &(String, u16)| match name.strip_prefix('*') {
            _ if *listed_port != port => false,
            Some(end) => host.len() > end.len() && host.ends_with(end),
            None => *name == host,
        };
        match port {
            _ if self.listed.iter().any(fits) => Verdict::Listed,
            HTTPS_PORT if REGISTRIES.contains(&host.as_str()) => Verdict::Public,
            _ => Verdict::Refused,
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.len() <= HOST_CHARS_MAX && name.split('.').all(is_label)
}

/// The proxy of one run. Dropping it closes the socket and all that goes through it.
#[derive(Debug)]
pub struct Egress {
    socket: PrivateSocket,
}

impl Egress {
    /// Listen for `agent`, or this process's own user.
    pub fn start(allowed: AllowList, agent: Option<AgentUser>) -> io::Result<Self> {
        let server = |listener, uid| serve(listener, uid, Arc::new(allowed));
        Ok(Self { socket: PrivateSocket::serve("egress.sock", agent, server)? })
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.socket.path()
    }

    /// The directory of that socket.
    pub fn directory(&self) -> &Path {
        self.socket.directory()
    }
}

async fn serve(listener: UnixListener, uid: u32, allowed: Arc<AllowList>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Ends what goes on when the proxy ends.
    let mut tunnels = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = next_call(&listener, uid).await;
        let allowed = Arc::clone(&allowed);
        tunnels.spawn(async move {
            let _place = place;
            // Whoever was cut off sees it.
            let _ = answer(stream, &allowed).await;
        });
        while tunnels.try_join_next().is_some() {}
    }
}

async fn answer(mut agent: UnixStream, allowed: &AllowList) -> io::Result<()> {
    let asked = tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut agent)).await;
    let Some((host, port)) = asked.ok().and_then(Result::ok).as_deref().and_then(target) else {
        return refuse(&mut agent, "405 Method Not Allowed", "Only CONNECT goes through here: use https.").await;
    };
    let verdict = allowed.verdict(&host, port);
    if verdict == Verdict::Refused {
        metrics().refused(Layer::Egress);
        tracing::info!(host, port, "the agent asked for a host that is not listed");
        let why = "This host is not on the list. Whoever runs this VM can put it into AGENT_HOSTS.";
        return refuse(&mut agent, "403 Forbidden", why).await;
    }
    match tokio::time::timeout(CONNECT_TIMEOUT, connect(&host, port, verdict)).await {
        Ok(Ok(mut there)) => {
            agent.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await?;
            tokio::io::copy_bidirectional(&mut agent, &mut there).await?;
            Ok(())
        }
        Ok(Err(_)) | Err(_) => refuse(&mut agent, "502 Bad Gateway", "That host can't be reached from here.").await,
    }
}

/// Up to the empty line. What a client sends before it has the answer is lost; none does.
async fn read_head(stream: &mut UnixStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.push(stream.read_u8().await?);
    }
    String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// `CONNECT host:port HTTP/1.1`
fn target(head: &str) -> Option<(String, u16)> {
    let mut words = head.lines().next()?.split(' ');
    let (host, port) = words.next().filter(|method| *method == "CONNECT").and(words.next())?.rsplit_once(':')?;
    is_name(host).then(|| Some((host.to_owned(), port.parse().ok()?)))?
}

async fn connect(host: &str, port: u16, verdict: Verdict) -> io::Result<TcpStream> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in tokio::net::lookup_host((host, port)).await? {
        if verdict == Verdict::Public && !is_public(address) {
            tracing::warn!(host, "a host of a public registry leads to a private address; refused");
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Not of this machine, its network, or its cloud's (RFC 6890).
fn is_public(address: SocketAddr) -> bool {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    let is_special = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast();
    !(first == 0 || first >= 240 || is_shared || is_special)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    // Global unicast; everything else is for something special.
    ip.segments()[0] & 0xe000 == 0x2000
}

async fn refuse(agent: &mut UnixStream, status: &str, why: &str) -> io::Result<()> {
    let length = why.len() + 1;
    let answer = format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{why}\n");
    agent.write_all(answer.as_bytes()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(hosts: &[&str]) -> Result<AllowList, String> {
        AllowList::new(&hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_is_listed_gets_through() {
        let list = list(&["example.com", "*.corp.example", "git.example:8443", "127.0.0.1:9"]).unwrap();
        for (host, port, verdict) in [
            ("pypi.org", 443, Verdict::Public),
            ("PyPI.org", 443, Verdict::Public),
            ("pypi.org", 80, Verdict::Refused),
            ("pypi.org.evil.example", 443, Verdict::Refused),
            ("example.com", 443, Verdict::Listed),
            ("sub.example.com", 443, Verdict::Refused),
            ("a.corp.example", 443, Verdict::Listed),
            ("corp.example", 443, Verdict::Refused),
            ("evilcorp.example", 443, Verdict::Refused),
            ("git.example", 8443, Verdict::Listed),
            ("git.example", 443, Verdict::Refused),
            ("127.0.0.1", 9, Verdict::Listed),
            ("127.0.0.1", 443, Verdict::Refused),
        ] {
            assert_eq!(list.verdict(host, port), verdict, "{host}:{port}");
        }
    }

    #[test]
    fn a_list_says_which_of_its_entries_is_none() {
        for bad in ["", "https://example.com", "a b", "*", "*.", "example.com:port", "example.com:70000", "a..b"] {
            assert_eq!(list(&["example.com", bad]), Err(bad.to_owned()));
        }
    }

    #[test]
    fn only_connect_is_understood() {
        assert_eq!(target("CONNECT pypi.org:443 HTTP/1.1\r\n\r\n"), Some(("pypi.org".into(), 443)));
        for bad in
            ["GET http://pypi.org/ HTTP/1.1", "CONNECT pypi.org HTTP/1.1", "CONNECT a/b:443 HTTP/1.1", "CONNECT", ""]
        {
            assert_eq!(target(bad), None, "{bad}");
        }
    }

    #[test]
    fn private_addresses_are_known() {
        let public = |ip: &str| is_public(SocketAddr::new(ip.parse().unwrap(), 443));
        for ip in ["151.101.0.223", "2a04:4e42::223"] {
            assert!(public(ip), "{ip}");
        }
        for ip in [
            "127.0.0.1",
            "10.0.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fdaa::3",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(!public(ip), "{ip}");
        }
    }
}
