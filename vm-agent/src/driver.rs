//! Who does the work: a coding agent behind one trait. Called by [`crate::runs`], one job at a time.
//!
//! A driver starts its agent through [`crate::supervise`] and nowhere else, so that its promise holds: when `run` returns,
//! no process of the job is left. A driver never touches git and never sees a credential of git.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use relay_core::id::RunId;
use relay_core::protocol::InquiryOption;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::images::ImageKind;

pub mod acp;
pub mod claude;
pub mod demo;
mod inquirer;
pub mod lines;
mod process;
pub mod proxy;
mod tool_use;

/// What people read when the session to go on with is not there any more.
const SESSION_GONE: &str = "The agent's earlier session is gone from this VM; starting a new one.";

/// One piece of work for an agent.
#[derive(Clone, Debug)]
pub struct Job {
    /// The run that it belongs to.
    pub run: RunId,
    /// The person's words, unchanged.
    pub prompt: String,
    /// Files that came with them.
    pub files: Vec<PathBuf>,
    /// Where the agent works.
    pub worktree: PathBuf,
    /// The agent session to go on with, as an earlier job reported it.
    pub session: Option<String>,
    /// What else of the volume the agent may read: what git knows, the files.
    pub readable: Vec<PathBuf>,
    /// Where the agent's inquiries are replied to.
    pub desk: Arc<Desk>,
    /// The file that the agent's supervisor keeps locked.
    pub lock: PathBuf,
}

impl Job {
    /// The person's words, and where the files are that came with them.
    fn said(&self) -> String {
        if self.files.is_empty() {
            return self.prompt.clone();
        }
        let list: Vec<String> = self.files.iter().map(|file| format!("- {}", file.display())).collect();
        format!("{}\n\nFiles that came with this message:\n{}", self.prompt, list.join("\n")).trim_start().to_owned()
    }
}

/// What a driver tells while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// The agent process is up.
    Started,
    /// It said or did something, in a line or a paragraph for people.
    Progress(String),
    /// It made a picture.
    Image {
        /// What the bytes are.
        kind: ImageKind,
        /// The picture.
        bytes: Vec<u8>,
        /// For people; may be empty.
        caption: String,
    },
    /// The session to go on with next time.
    Session(String),
    /// What the session has cost so far, in millionths of a US dollar.
    Cost(u64),
    /// It asks the person something, and waits at the desk.
    Inquiry {
        /// The number that the desk gave.
        number: u32,
        /// What it asks.
        text: String,
        /// What can be chosen.
        options: Vec<InquiryOption>,
        /// Whether several can be.
        several: bool,
        /// It waits for so long.
        timeout: Duration,
    },
    /// It no longer waits for that.
    InquiryOver(u32),
    /// It wrote a line that says nothing to people, which still shows that it is alive.
    Alive,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEnd {
    /// The agent says that it is done.
    Done {
        /// Its last words.
        text: String,
    },
    /// It could not do it.
    Failed {
        /// What happened and what to do, for people. Never a secret.
        reason: String,
    },
    /// It was stopped, as asked.
    Stopped,
}

/// A coding agent.
#[async_trait]
pub trait AgentDriver: Send + Sync {
    /// What people know it by: `claude`, `acp`, `demo`.
    fn name(&self) -> &'static str;

    /// Whose models it calls, as <https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/> names them, where
    /// that is known.
    fn provider(&self) -> Option<&'static str> {
        None
    }

    /// The version of its program, if it has one and tells.
    async fn version(&self) -> Option<String> {
        None
    }

    /// Do `job`, telling `events` what happens, until it is done, cannot be done, or `stop` is cancelled. When this returns,
    /// no process of the job is left. The future must be polled to its end; a caller that wants it to end cancels `stop`.
    async fn run(&self, job: &Job, events: mpsc::Sender<AgentEvent>, stop: CancellationToken) -> AgentEnd;
}
