//! What has become of a run, as far as its log tells.

use relay_core::machine::{Ending, LogWhat};
use relay_core::protocol::Decision;
use url::Url;

/// What goes on in it, or how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The VM is asked to begin it.
    Begun,
    /// The agent is at work.
    AtWork,
    /// The agent waits for an answer.
    Asks,
    /// A diff waits for a decision.
    Waits,
    /// A decision is carried out.
    Decided(Decision),
    /// It is over.
    Ended(Ending),
    /// It is over, and nobody knows any more how it ended.
    Over,
}

/// A standing in words.
pub struct Told {
    /// How it is to be taken: `info`, `good`, `warn` or `bad`.
    pub tone: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// In a sentence.
    pub detail: String,
    /// The pull request.
    pub link: Option<String>,
}

impl Standing {
    /// Of a run of which that was told last, as far as it is still kept. Its end may have been told only after it was asked for.
    pub fn known(told: Option<Self>, is_over: bool) -> Self {
        match told {
            Some(told) if told.is_over() || !is_over => told,
            _ if is_over => Self::Over,
            _ => Self::AtWork,
        }
    }

    /// What an entry tells of it, if anything.
    pub fn told_by(what: &LogWhat) -> Option<Self> {
        Some(match what {
            LogWhat::Begun { .. } => Self::Begun,
            LogWhat::Started { .. } | LogWhat::Progress { .. } => Self::AtWork,
            LogWhat::Inquiry { .. } => Self::Asks,
            LogWhat::Changes { .. } => Self::Waits,
            LogWhat::Decided { decision } => Self::Decided(*decision),
            LogWhat::Ended { ending } => Self::Ended(ending.clone()),
            _ => return None,
        })
    }

    /// Whether nothing more is to come.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Ended(_) | Self::Over)
    }

    /// In words.
    pub fn told(&self) -> Told {
        let told = |tone, title, detail: &str| Told { tone, title, detail: detail.to_owned(), link: None };
        match self {
            Self::Begun => told("info", "Starting", "The VM is asked to begin."),
            Self::AtWork => told("info", "At work", "What the agent does is told below."),
            Self::Asks => told("warn", "The agent has asked something", "It is answered in the chat."),
            Self::Waits => told("warn", "A diff waits for a decision", "It is approved or rejected in the chat."),
            Self::Decided(Decision::Approve) => told("info", "Approved", "Exactly this diff is being published."),
            Self::Decided(Decision::Reject) => told("info", "Rejected", "Everything is being put back as it was."),
            Self::Decided(Decision::Park) => told("info", "Being parked", "The work is put onto a branch of its own."),
            Self::Ended(Ending::PullRequest { url }) => Told {
                link: Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https")).map(String::from),
                ..told("good", "A pull request is open", "It has exactly the diff that was approved.")
            },
            Self::Ended(Ending::Pushed { branch }) => {
                told("good", "Pushed", &format!("What was approved is branch {branch}."))
            }
            Self::Ended(Ending::RolledBack) => told("warn", "Rolled back", "Everything is as it was before the run."),
            Self::Ended(Ending::Parked { branch }) => {
                told("warn", "Parked", &format!("The work is kept on branch {branch}, and nothing is published."))
            }
            Self::Ended(Ending::Answered) => told("good", "Answered", "The agent has answered and changed no file."),
            Self::Ended(Ending::Failed) => told("bad", "Failed", "What went wrong is told below and in the chat."),
            Self::Ended(Ending::Cancelled) => told("warn", "Cancelled", "It was stopped; its work is not used."),
            Self::Over => told("info", "Over", "How it ended is not kept any more."),
        }
    }
}
