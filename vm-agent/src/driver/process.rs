//! What every driver of a real agent does with the agent's process.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use relay_core::time::humane;
use tokio::task::JoinHandle;

use super::lines;
use crate::files;
use crate::git::agent_git::hand_over;
use crate::supervise::Supervised;
use crate::supervise::confinement::AgentUser;

/// Bytes kept of what a program complains about.
const STDERR_BYTES_MAX: usize = 2_000;
/// How long a program may take to end once its turn is over and its input closed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// Make the directory that the agent has for its own from run to run. The error is for people.
pub(super) fn make_home(home: &Path, user: Option<AgentUser>) -> Result<(), String> {
    let made = files::private_directory(home).and_then(|()| user.map_or(Ok(()), |user| hand_over(home, user)));
    made.map_err(|error| format!("The agent's home cannot be made: {error}"))
}

/// See to it that the agent ends; one that `may_end_itself` is given the time. On return no process of the run is left.
pub(super) async fn end(agent: &mut Supervised, may_end_itself: bool) -> io::Result<ExitStatus> {
    agent.stdin = None;
    if may_end_itself && let Ok(status) = tokio::time::timeout(EXIT_TIMEOUT, agent.wait()).await {
        return status;
    }
    agent.stop().await
}

/// What people read of an agent that was silent for too long.
pub(super) fn hung(silence_timeout: Duration) -> String {
    format!(
        "The agent said nothing for {} while no tool of its was at work, and was stopped. Send the task again.",
        humane(silence_timeout)
    )
}

/// What an agent writes to standard error, read while it works.
pub(super) struct Complaints(Option<JoinHandle<String>>);

impl Complaints {
    /// Read on, so that the pipe never fills up.
    pub(super) fn read(agent: &mut Supervised) -> Self {
        Self(agent.stderr.take().map(|stderr| tokio::spawn(lines::tail(stderr, STDERR_BYTES_MAX))))
    }

    /// The end of it, once the agent has ended.
    pub(super) async fn told(self) -> String {
        match self.0 {
            Some(reading) => reading.await.unwrap_or_default(),
            None => String::new(),
        }
    }
}
