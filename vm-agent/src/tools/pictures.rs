//! How a picture gets from a run's tools to vm-agent: over a Unix socket of the run's own, a line of JSON that says what comes, and
//! the bytes; the answer is one line. Whoever sends is not trusted: sizes, counts and what the bytes are is looked at again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use relay_core::protocol::{IMAGE_BYTES_MAX, PROGRESS_CHARS_MAX};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::driver::AgentEvent;
use crate::images::ImageKind;
use crate::metrics::{Layer, metrics};
use crate::supervise::confinement::AgentUser;
use crate::supervise::socket::{PrivateSocket, next_call};
use crate::text::clip;

/// Pictures of one run at most: each is a message, which costs money.
const PICTURES_MAX: usize = 20;
/// Bytes of the line that says what comes.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// A picture is taken over within this time.
const TIMEOUT: Duration = Duration::from_secs(20);

const TAKEN: &str = "taken";

#[derive(Serialize, Deserialize)]
struct Head {
    caption: String,
    bytes: usize,
}

/// Takes pictures over for a run. Dropping it closes the socket.
#[derive(Debug)]
pub struct Pictures {
    socket: PrivateSocket,
}

impl Pictures {
    /// Take pictures from `agent`, or this process's own user, and tell `events` of them.
    pub fn start(agent: Option<AgentUser>, events: mpsc::Sender<AgentEvent>) -> io::Result<Self> {
        let server = |listener, uid| serve(listener, uid, events);
        Ok(Self { socket: PrivateSocket::serve("pictures.sock", agent, server)? })
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

/// One at a time: nobody needs more.
async fn serve(listener: UnixListener, uid: u32, events: mpsc::Sender<AgentEvent>) {
    let mut count = 0;
    loop {
        let stream = next_call(&listener, uid).await;
        let taken = tokio::time::timeout(TIMEOUT, take(stream, count, &events)).await;
        count += usize::from(matches!(taken, Ok(Ok(true))));
    }
}

/// Whether it was one.
async fn take(stream: UnixStream, count: usize, events: &mpsc::Sender<AgentEvent>) -> io::Result<bool> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(HEAD_BYTES_MAX).read_line(&mut line).await?;
    let head = serde_json::from_str::<Head>(&line).ok().filter(|head| head.bytes <= IMAGE_BYTES_MAX);
    let Some(head) = head else { return answer(&mut stream, "it is too large").await.map(|()| false) };
    if count >= PICTURES_MAX {
        return answer(&mut stream, "this run has sent as many as it may").await.map(|()| false);
    }
    let mut bytes = vec![0; head.bytes];
    stream.read_exact(&mut bytes).await?;
    let Some(kind) = ImageKind::of(&bytes) else {
        return answer(&mut stream, "it is neither PNG nor JPEG").await.map(|()| false);
    };
    let caption = clip(&head.caption, PROGRESS_CHARS_MAX);
    let is_told = events.send(AgentEvent::Image { kind, bytes, caption }).await.is_ok();
    answer(&mut stream, if is_told { TAKEN } else { "the run is over" }).await.map(|()| is_told)
}

async fn answer(stream: &mut BufReader<UnixStream>, line: &str) -> io::Result<()> {
    if line != TAKEN {
        metrics().refused(Layer::Image);
    }
    stream.write_all(format!("{line}\n").as_bytes()).await
}

/// Send a picture to vm-agent. The error says why it is not taken.
pub async fn send(socket: &Path, caption: &str, bytes: &[u8]) -> io::Result<()> {
    let sent = async {
        let mut stream = BufReader::new(UnixStream::connect(socket).await?);
        let head = Head { caption: clip(caption, PROGRESS_CHARS_MAX), bytes: bytes.len() };
        stream.write_all(format!("{}\n", serde_json::to_string(&head)?).as_bytes()).await?;
        // One that is refused unread is told so.
        let _ = stream.write_all(bytes).await;
        let mut line = String::new();
        stream.take(HEAD_BYTES_MAX).read_line(&mut line).await?;
        if line.trim_end() == TAKEN { Ok(()) } else { Err(io::Error::other(line.trim_end().to_owned())) }
    };
    tokio::time::timeout(TIMEOUT, sent).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pictures_are_taken_over_and_nothing_else_is() {
        let (sender, mut events) = mpsc::channel(64);
        let pictures = Pictures::start(None, sender).unwrap();
        let png = b"\x89PNG\r\n\x1a\n0000";
        let told = |error: io::Error| error.to_string();
        send(&pictures.socket(), "a look", png).await.unwrap();
        assert_eq!(
            events.recv().await,
            Some(AgentEvent::Image { kind: ImageKind::Png, bytes: png.to_vec(), caption: "a look".into() })
        );
        let refused = send(&pictures.socket(), "", b"text").await.map_err(told);
        assert_eq!(refused, Err("it is neither PNG nor JPEG".to_owned()));
        let refused = send(&pictures.socket(), "", &vec![0; IMAGE_BYTES_MAX + 1]).await.map_err(told);
        assert_eq!(refused, Err("it is too large".to_owned()));
        for _ in 1..PICTURES_MAX {
            send(&pictures.socket(), "", png).await.unwrap();
        }
        let refused = send(&pictures.socket(), "", png).await.map_err(told);
        assert_eq!(refused, Err("this run has sent as many as it may".to_owned()));
    }
}
