//! The agent at the other end of its standard input and output.

use std::io;

use agent_client_protocol_schema::v1::{Error, RequestId};
use serde::Serialize;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};

use super::wire::{self, Line};
use crate::driver::lines::{self, Lines};

/// Bytes of one line at most; a line holds at most one tool's whole result.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Both directions.
pub(super) struct Peer {
    stdin: Option<ChildStdin>,
    lines: Lines<ChildStdout>,
    last_id: i64,
}

impl Peer {
    pub(super) fn new(stdin: Option<ChildStdin>, stdout: ChildStdout) -> Self {
        Self { stdin, lines: Lines::new(stdout, LINE_BYTES_MAX), last_id: 0 }
    }

    /// What it writes next; nothing once its output has ended. Safe to drop between lines only.
    pub(super) async fn next(&mut self) -> Option<Line> {
        Some(match self.lines.next().await? {
            lines::Line::Whole(text) => wire::parse(&text),
            lines::Line::Cut(_) => Line::Noise,
        })
    }

    /// Send a request. Its number is what the answer names.
    pub(super) async fn request(&mut self, method: &str, params: impl Serialize) -> io::Result<i64> {
        self.last_id += 1;
        self.say(&wire::request(self.last_id, method, params)?).await;
        Ok(self.last_id)
    }

    pub(super) async fn notify(&mut self, method: &str, params: impl Serialize) -> io::Result<()> {
        self.say(&wire::notification(method, params)?).await;
        Ok(())
    }

    pub(super) async fn answer(&mut self, id: RequestId, result: impl Serialize) -> io::Result<()> {
        self.say(&wire::response(id, result)?).await;
        Ok(())
    }

    /// Answer that there is no such method here.
    pub(super) async fn refuse(&mut self, id: RequestId) -> io::Result<()> {
        self.say(&wire::refusal(id, Error::method_not_found())?).await;
        Ok(())
    }

    /// An agent that does not read any more shows by ending its output.
    async fn say(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(line.as_bytes()).await;
        }
    }

    /// From here on nobody listens or speaks, but the pipe must not fill up and hold the agent's end back.
    pub(super) fn hang_up(self) {
        let Self { mut lines, .. } = self;
        tokio::spawn(async move { while lines.next().await.is_some() {} });
    }
}
