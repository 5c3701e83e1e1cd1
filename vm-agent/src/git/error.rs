//! Why something with git could not be done, in words for people.

use std::io;
use std::time::Duration;

use relay_core::time::humane;

/// Why something with git could not be done. The text is for people: what happened and, where there is something, what
/// to do. It never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The program did not start.
    #[error("git could not be started ({0}). Is git installed on the VM?")]
    NotStarted(#[source] io::Error),
    /// It was stopped.
    #[error("`git {what}` was stopped because it took longer than {}.", humane(*.limit))]
    TimedOut {
        /// The subcommand.
        what: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// It said no.
    #[error("`git {what}` failed: {complaint}")]
    Failed {
        /// The subcommand.
        what: &'static str,
        /// What it wrote to its error output, shortened, without credentials.
        complaint: String,
    },
    /// Its output is not one that can be handled.
    #[error("`git {what}` answered something unexpected: {why}")]
    Unexpected {
        /// The subcommand.
        what: &'static str,
        /// What was wrong with it.
        why: &'static str,
    },
    /// What was asked for makes no sense, or cannot be done with the files as they are.
    #[error("{0}")]
    Invalid(String),
    /// No such repository, branch or file.
    #[error("{0}")]
    NotFound(String),
    /// The volume or the worktree could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it did not work.
        source: io::Error,
    },
}

impl GitError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Whether git's complaint is that it could not reach the other side at all.
pub(crate) fn is_unreachable(complaint: &str) -> bool {
    ["Could not resolve host", "Failed to connect", "Couldn't connect", "timed out", "Connection refused"]
        .iter()
        .any(|words| complaint.contains(words))
}
