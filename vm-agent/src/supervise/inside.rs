//! The first process in a sandbox: `vm-agent inside SOCKET PROGRAM [ARGUMENT…]` starts the program, and carries what comes to a port
//! of the sandbox's own network to SOCKET, where the egress proxy listens. With `-` for SOCKET it only starts the program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::supervisor::{EXIT_NOT_STARTED, exit_code};

/// The first argument that makes this program the first in a sandbox.
pub const INSIDE: &str = "inside";
/// Stands for a socket where there is none.
pub const NO_SOCKET: &str = "-";
/// Where programs in the sandbox find the proxy: the port that proxies usually have.
pub const PROXY_PORT: u16 = 3128;
/// Connections at the same time at most.
const CONNECTIONS_MAX: usize = 128;
const EXIT_USAGE: u8 = 64;

/// Be the first process, with these arguments.
pub fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(socket), Some(program)) = (args.next(), args.next()) else {
        return failed(EXIT_USAGE, "usage: vm-agent inside SOCKET PROGRAM [ARGUMENT...]");
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(EXIT_NOT_STARTED, &format!("the sandbox can't begin: {error}")),
    };
    let (program, args) = (PathBuf::from(program), args.collect());
    let socket = (socket != NO_SOCKET).then(|| PathBuf::from(socket));
    runtime.block_on(run(socket, program, args))
}

async fn run(socket: Option<PathBuf>, program: PathBuf, args: Vec<OsString>) -> ExitCode {
    if let Some(socket) = socket {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, PROXY_PORT)).await {
            Ok(listener) => drop(tokio::spawn(carry_all(listener, socket))),
            Err(error) => return failed(EXIT_NOT_STARTED, &format!("the sandbox has no way out: {error}")),
        }
    }
    let mut agent = match Command::new(&program).args(args).spawn() {
        Ok(agent) => agent,
        Err(error) => return failed(EXIT_NOT_STARTED, &format!("cannot start {}: {error}", program.display())),
    };
    ExitCode::from(exit_code(agent.wait().await.ok()))
}

async fn carry_all(listener: TcpListener, socket: PathBuf) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
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
