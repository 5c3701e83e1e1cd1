//! A Unix socket that one run's agent can reach and nobody else.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

use super::confinement::AgentUser;

/// The socket's place and its user. Dropping it removes the socket.
#[derive(Debug)]
pub struct PrivateSocket {
    directory: TempDir,
    name: &'static str,
    uid: u32,
}

impl PrivateSocket {
    /// Listen on a new socket that only `agent`, or this process's own user, can reach.
    pub fn listen(name: &'static str, agent: Option<AgentUser>) -> io::Result<(Self, UnixListener)> {
        // Not below DATA_DIR: the path of a Unix socket is at most 107 bytes long.
        let private = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("vm-agent-").permissions(private).tempdir()?;
        let uid = agent.map_or_else(|| rustix::process::geteuid().as_raw(), |agent| agent.uid);
        let socket = Self { directory, name, uid };
        let listener = UnixListener::bind(socket.path())?;
        if let Some(agent) = agent {
            agent.own(&socket.path())?;
            agent.own(socket.directory.path())?;
        }
        Ok((socket, listener))
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join(self.name)
    }

    /// The directory that holds it and nothing else.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Who may call.
    pub fn uid(&self) -> u32 {
        self.uid
    }
}

/// Who calls, as the kernel knows it.
pub fn caller(stream: &UnixStream) -> Option<u32> {
    stream.peer_cred().ok().map(|peer| peer.uid())
}
