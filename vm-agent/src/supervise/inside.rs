//! The first process of an agent, in its sandbox if it has one: `vm-agent inside ORDERS PROGRAM [ARGUMENT…]` starts the program, serves
//! its tools, and carries what comes to ports of its own to the sockets of the egress proxy and of the way to the API.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::supervisor::{EXIT_NOT_STARTED, exit_code};
use crate::tools;

/// The first argument that makes this program the first of an agent's.
pub const INSIDE: &str = "inside";
/// Where programs in the sandbox find the proxy: the port that proxies usually have.
pub const PROXY_PORT: u16 = 3128;
/// Tells the program where the API is: at a free port of this machine, or of the sandbox's own network if it has one.
pub const API_VARIABLE: &str = "ANTHROPIC_BASE_URL";
/// Connections at the same time at most.
const CONNECTIONS_MAX: usize = 128;
const PAUSE: Duration = Duration::from_millis(100);
const EXIT_USAGE: u8 = 64;

/// What the first process does beside starting the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Where the egress proxy listens, in a sandbox with a network of its own.
    pub egress: Option<PathBuf>,
    /// The tools that it serves.
    pub tools: Option<tools::Orders>,
    /// Where the way to the API begins, for a program that knows no sockets.
    pub api: Option<PathBuf>,
}

/// This program, for those who can't find it from inside, or may not: open, and passed on to every child.
#[derive(Debug)]
pub struct Inside {
    program: File,
}

impl Inside {
    /// The program that this process is.
    pub fn open() -> io::Result<Self> {
        let program = File::open("/proc/self/exe")?;
        fcntl_setfd(&program, FdFlags::empty())?;
        Ok(Self { program })
    }

    /// What a command line begins with; the program to be started comes next.
    pub fn command(&self, orders: &Orders) -> io::Result<[OsString; 3]> {
        let program = format!("/proc/self/fd/{}", self.program.as_raw_fd());
        Ok([program.into(), INSIDE.into(), serde_json::to_string(orders)?.into()])
    }
}

/// Be the first process, with these arguments.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let orders = args.next().and_then(|json| serde_json::from_str::<Orders>(json.to_str()?).ok());
    let (Some(orders), Some(program)) = (orders, args.next()) else {
        return failed(EXIT_USAGE, "usage: vm-agent inside ORDERS PROGRAM [ARGUMENT...]");
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(EXIT_NOT_STARTED, &format!("the sandbox can't begin: {error}")),
    };
    runtime.block_on(run(orders, PathBuf::from(program), args.collect()))
}

async fn run(orders: Orders, program: PathBuf, args: Vec<OsString>) -> ExitCode {
    if let Some(socket) = orders.egress {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, PROXY_PORT)).await {
            Ok(listener) => drop(tokio::spawn(carry_all(listener, socket))),
            Err(error) => return failed(EXIT_NOT_STARTED, &format!("the sandbox has no way out: {error}")),
        }
    }
    if let Some(tools) = orders.tools
        && let Err(error) = tools::serve(tools).await
    {
        return failed(EXIT_NOT_STARTED, &format!("the agent's tools can't be served: {error}"));
    }
    let mut command = Command::new(&program);
    command.args(args);
    if let Some(socket) = orders.api {
        match carry_from_free_port(socket).await {
            Ok(address) => drop(command.env(API_VARIABLE, format!("http://{address}"))),
            Err(error) => return failed(EXIT_NOT_STARTED, &format!("there is no way to the API: {error}")),
        }
    }
    let mut agent = match command.spawn() {
        Ok(agent) => agent,
        Err(error) => return failed(EXIT_NOT_STARTED, &format!("cannot start {}: {error}", program.display())),
    };
    ExitCode::from(exit_code(agent.wait().await.ok()))
}

async fn carry_from_free_port(socket: PathBuf) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(carry_all(listener, socket));
    Ok(address)
}

async fn carry_all(listener: TcpListener, socket: PathBuf) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // The machine has run out of something; it is not asked for it without a pause.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let socket = socket.clone();
        tokio::spawn(async move {
            let _place = place;
            // Whoever was cut off sees it.
            let _ = carry(stream, &socket).await;
        });
    }
}

async fn carry(mut stream: TcpStream, socket: &Path) -> io::Result<()> {
    let mut proxy = UnixStream::connect(socket).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut proxy).await?;
    Ok(())
}

fn failed(code: u8, reason: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "{reason}");
    ExitCode::from(code)
}
