//! A way to Redis that can be told to let so many commands through and hold all that follow: an answer that comes all the
//! same needed no more round trips than that.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Commands that may still pass; `None` when all may.
type Passes = watch::Sender<Option<usize>>;

/// The proxy, until dropped.
#[derive(Debug)]
pub(super) struct Turnstile {
    address: SocketAddr,
    passes: Arc<Passes>,
    task: JoinHandle<()>,
}

impl Turnstile {
    /// Stand before the Redis on this port; open.
    pub(super) async fn before(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let passes = Arc::new(watch::Sender::new(None));
        let task = tokio::spawn(accept(listener, port, Arc::clone(&passes)));
        Ok(Self { address, passes, task })
    }

    /// The address to give to a relay.
    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Let `commands` through from now on, PINGs not counted, and hold the others.
    pub(super) fn let_through(&self, commands: usize) {
        self.passes.send_replace(Some(commands));
    }

    /// Let everything through, what was held first.
    pub(super) fn open(&self) {
        self.passes.send_replace(None);
    }
}

impl Drop for Turnstile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, port: u16, passes: Arc<Passes>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let passes = Arc::clone(&passes);
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
            let (client_read, mut client_write) = client.into_split();
            let (mut server_read, server_write) = server.into_split();
            tokio::select! {
                _ = commands(client_read, server_write, &passes) => {}
                _ = tokio::io::copy(&mut server_read, &mut client_write) => {}
            }
        });
    }
}

/// Pass commands on one by one, each when it may.
async fn commands(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, passes: &Passes) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut changes = passes.subscribe();
    while from.read_buf(&mut buffer).await? > 0 {
        while let Some(length) = command_length(&buffer) {
            let command = buffer.split_to(length);
            if !is_ping(&command) {
                while !pass(passes) {
                    let opened = changes.wait_for(|passes| *passes != Some(0)).await;
                    opened.map_err(|_| io::ErrorKind::BrokenPipe)?;
                }
            }
            to.write_all(&command).await?;
        }
    }
    Ok(())
}

/// Take one of the passes, if any is left.
fn pass(passes: &Passes) -> bool {
    let mut passed = false;
    passes.send_if_modified(|passes| {
        passed = *passes != Some(0);
        *passes = passes.map(|left| left.saturating_sub(1));
        passed
    });
    passed
}

fn is_ping(command: &[u8]) -> bool {
    command.len() >= 12 && command[..8] == *b"*1\r\n$4\r\n" && command[8..12].eq_ignore_ascii_case(b"PING")
}

/// How long the first command in `bytes` is, once it is complete: an array of bulk strings, or a line by itself (RESP).
fn command_length(bytes: &[u8]) -> Option<usize> {
    if *bytes.first()? != b'*' {
        return line_end(bytes, 0);
    }
    let (arguments, mut at) = number(bytes, 0)?;
    for _ in 0..arguments {
        let (length, start) = number(bytes, at)?;
        at = start + length + 2;
    }
    (bytes.len() >= at).then_some(at)
}

/// The number in the line at `at`, after its first character, and where the next line begins.
fn number(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let end = line_end(bytes, at)?;
    Some((std::str::from_utf8(bytes.get(at + 1..end - 2)?).ok()?.parse().ok()?, end))
}

/// Where the line at `at` ends, its line break included.
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..)?.windows(2).position(|two| two == b"\r\n").map(|end| at + end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_apart() {
        let two = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n";
        assert_eq!(command_length(two), Some(20));
        assert_eq!(command_length(&two[..19]), None);
        assert!(is_ping(&two[20..]));
        assert!(!is_ping(&two[..20]));
        assert_eq!(command_length(b"HELLO 3\r\n*1"), Some(9));
    }

    #[test]
    fn passes_are_used_up() {
        let passes = watch::Sender::new(Some(1));
        assert!(pass(&passes) && !pass(&passes));
        passes.send_replace(None);
        assert!(pass(&passes) && pass(&passes));
    }
}
