//! A Unix socket that one run's agent can reach and nobody else.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::confinement::AgentUser;

/// From one try to take a call to the next, where the machine has run out of something.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket's place, its user, and who serves it. Dropping it ends the server and removes the socket.
#[derive(Debug)]
pub struct PrivateSocket {
    directory: TempDir,
    name: &'static str,
    server: JoinHandle<()>,
}

impl PrivateSocket {
    /// Serve a new socket that only `agent`, or this process's own user, can reach; the server is told whose id that is.
    pub fn serve<F>(
        name: &'static str,
        agent: Option<AgentUser>,
        server: impl FnOnce(UnixListener, u32) -> F,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Not below DATA_DIR: the path of a Unix socket is at most 107 bytes long.
        let private = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("vm-agent-").permissions(private).tempdir()?;
        let uid = agent.map_or_else(|| rustix::process::geteuid().as_raw(), |agent| agent.uid);
        let path = directory.path().join(name);
        let listener = UnixListener::bind(&path)?;
        if let Some(agent) = agent {
            agent.own(&path)?;
            agent.own(directory.path())?;
        }
        Ok(Self { directory, name, server: tokio::spawn(server(listener, uid)) })
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join(self.name)
    }

    /// The directory that holds it and nothing else.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The next call of the user `uid`; those of others are refused.
pub async fn next_call(listener: &UnixListener, uid: u32) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) if caller(&stream) == Some(uid) => return stream,
            Ok((stream, _)) => tracing::warn!(uid = caller(&stream), "another user calls a socket of a run"),
            Err(error) => {
                tracing::warn!(%error, "a socket of a run takes no calls");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Who calls, as the kernel knows it.
pub fn caller(stream: &UnixStream) -> Option<u32> {
    stream.peer_cred().ok().map(|peer| peer.uid())
}
