//! What has become of a diff since its link was sent, and how the page says so.

use std::time::Duration;

use relay_core::machine::{Conversation, Ending, Phase, Timer};
use relay_core::protocol::{Decision, Task};
use relay_core::time::{Timestamp, humane};
use serde::Serialize;

use super::read::Subject;

/// Where a diff stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for an answer, for so long.
    Open {
        /// Until it is parked.
        left: Option<Duration>,
    },
    /// An answer was taken in and nothing is known of it yet.
    Answered,
    /// An answer on the page could not be carried out; the chat takes another one.
    Used,
    /// An answer is being carried out.
    Deciding(Decision),
    /// A pull request was opened.
    PullRequest {
        /// Where.
        url: String,
    },
    /// It was pushed.
    Pushed {
        /// As this branch.
        branch: String,
    },
    /// It was rolled back.
    RolledBack,
    /// It was kept.
    Parked {
        /// On this branch.
        branch: String,
        /// The number of its run.
        run: String,
    },
    /// The agent goes on with the work, as the person wants it.
    Revising,
    /// The run is being stopped, or was.
    Cancelled,
    /// Something else waits for an answer now.
    Superseded,
    /// Nothing is known of it.
    Over,
}

/// How a standing is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// For programs: the name of the standing.
    pub state: &'static str,
    /// Good, bad or neither: a class of the style.
    pub tone: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// In a sentence or two.
    pub detail: String,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl Standing {
    /// Of `subject`, as its conversation is at `now`.
    pub fn of(conversation: &Conversation, subject: &Subject, now: Timestamp) -> Self {
        let is_this =
            |pending: &relay_core::machine::Pending| pending.run == subject.run && pending.tree == subject.tree;
        match &conversation.phase {
            Phase::AwaitingApproval(pending) if is_this(pending) && pending.page_used => return Self::Used,
            Phase::AwaitingApproval(pending) if is_this(pending) => {
                let until = conversation.timers.get(&Timer::Approval);
                return Self::Open { left: until.map(|until| until.since(now)) };
            }
            Phase::Deciding { pending, revision: Some(_), .. } if is_this(pending) => return Self::Revising,
            Phase::Deciding { pending, decision, .. } if is_this(pending) => return Self::Deciding(*decision),
            Phase::Starting { task, .. } | Phase::Stalled { task, .. } | Phase::Working { task, .. } if matches!(task, Task::Revise { parked, .. } if *parked == subject.run) =>
            {
                return Self::Revising;
            }
            Phase::Cancelling { run, .. } if *run == subject.run => return Self::Cancelled,
            _ => {}
        }
        let ended = match conversation.ending(&subject.run) {
            Some(Ending::PullRequest { url }) => Some(Self::PullRequest { url: url.clone() }),
            Some(Ending::Pushed { branch }) => Some(Self::Pushed { branch: branch.clone() }),
            Some(Ending::RolledBack) => Some(Self::RolledBack),
            Some(Ending::Parked { branch }) => {
                Some(Self::Parked { branch: branch.clone(), run: subject.run.number().to_owned() })
            }
            Some(Ending::Cancelled) => Some(Self::Cancelled),
            Some(Ending::Answered | Ending::Failed) | None => None,
        };
        let another_waits = matches!(conversation.phase, Phase::AwaitingApproval(_) | Phase::Deciding { .. });
        ended.unwrap_or(if another_waits { Self::Superseded } else { Self::Over })
    }

    /// Whether an answer would be taken.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// Whether it will be another one by itself, so that it is worth looking again.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Answered | Self::Deciding(_))
    }

    /// In words.
    pub fn told(&self) -> Told {
        let told =
            |state, tone, title, detail: &str| Told { state, tone, title, detail: detail.to_owned(), link: None };
        match self {
            Self::Open { left } => {
                let left = left.map_or_else(String::new, |left| format!(" {} left.", humane(left)));
                let detail = format!(
                    "Nothing happens before you answer.{left} Without an answer the work is kept, not published."
                );
                told("open", "info", "Waiting for your answer", &detail)
            }
            Self::Answered => told(
                "answered",
                "info",
                "Your answer is in",
                "This link has been used and takes no other answer. What comes of it is told here and in the chat, where you can answer as well.",
            ),
            Self::Used => told(
                "used",
                "warn",
                "This page was answered before",
                "What was answered could not be carried out; the chat says why. Answer there.",
            ),
            Self::Deciding(Decision::Approve) => {
                told("deciding", "info", "Approved, being published", "Exactly this diff is being pushed.")
            }
            Self::Deciding(Decision::Reject) => {
                told("deciding", "info", "Rejected, being rolled back", "Everything is being put back as it was.")
            }
            Self::Deciding(Decision::Park) => {
                told("deciding", "info", "Being parked", "The work is being kept on a branch of its own.")
            }
            Self::PullRequest { url } => Told {
                link: Some(url.clone()).filter(|url| url.starts_with("https://") || url.starts_with("http://")),
                ..told("approved", "good", "Approved", "Exactly this diff is in the pull request.")
            },
            Self::Pushed { branch } => {
                told("approved", "good", "Approved", &format!("Exactly this diff is pushed as branch {branch}."))
            }
            Self::RolledBack => {
                told("rejected", "bad", "Rejected", "Everything was put back as it was before the run.")
            }
            Self::Parked { branch, run } => {
                let detail = format!(
                    "The work is kept on branch {branch}. Write resume {run} in the chat to decide on it again."
                );
                told("parked", "warn", "Parked", &detail)
            }
            Self::Revising => told(
                "revising",
                "good",
                "Back with the agent",
                "It is at work on what you asked for. Its new diff comes to the chat, with a link of its own.",
            ),
            Self::Cancelled => told("cancelled", "warn", "Cancelled", "The run was stopped and its work is not used."),
            Self::Superseded => told(
                "superseded",
                "warn",
                "The work has changed since",
                "What you see here is not the latest any more and can't be decided on. Open the latest link in the chat.",
            ),
            Self::Over => told(
                "over",
                "warn",
                "No longer to be decided on",
                "Ask for status in the chat to see what is going on.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use relay_core::id::{ConversationId, EffectSeq, TreeHash};
    use relay_core::machine::Pending;
    use relay_core::machine::conversation::Past;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn conversation() -> Conversation {
        Conversation::new(ConversationId::parse("c0ffee").unwrap())
    }

    fn subject(number: u64, tree: &str) -> Subject {
        Subject::parse(&format!("{}/{tree}", conversation().run_id(number))).unwrap()
    }

    fn pending(number: u64, tree: &str) -> Pending {
        Pending {
            run: conversation().run_id(number),
            tree: TreeHash::parse(tree).unwrap(),
            parts: vec![EffectSeq(1)],
            untaken: Vec::new(),
            shown: true,
            shown_at: NOW,
            lost: false,
            parking_failed: false,
            page_used: false,
        }
    }

    fn standing(conversation: &Conversation, number: u64, tree: &str) -> Standing {
        Standing::of(conversation, &subject(number, tree), NOW)
    }

    #[test]
    fn only_the_diff_that_waits_is_open() {
        let mut waiting = conversation();
        waiting.phase = Phase::AwaitingApproval(pending(7, "aa11"));
        waiting.timers.insert(Timer::Approval, NOW + Duration::from_secs(600));
        assert_eq!(standing(&waiting, 7, "aa11"), Standing::Open { left: Some(Duration::from_secs(600)) });
        assert_eq!(standing(&waiting, 7, "bb22"), Standing::Superseded, "another tree of the same run");
        assert_eq!(standing(&waiting, 6, "aa11"), Standing::Superseded, "another run");
        waiting.phase = Phase::AwaitingApproval(Pending { page_used: true, ..pending(7, "aa11") });
        assert_eq!(standing(&waiting, 7, "aa11"), Standing::Used, "what was answered here could not be carried out");
    }

    #[test]
    fn what_became_of_it_is_told_also_while_something_else_waits() {
        let endings = [
            (Ending::PullRequest { url: "https://h/1".to_owned() }, "approved"),
            (Ending::Pushed { branch: "b".to_owned() }, "approved"),
            (Ending::RolledBack, "rejected"),
            (Ending::Parked { branch: "b".to_owned() }, "parked"),
            (Ending::Cancelled, "cancelled"),
            (Ending::Failed, "superseded"),
        ];
        for (ending, state) in endings {
            let mut later = conversation();
            later.phase = Phase::AwaitingApproval(pending(8, "aa11"));
            later.past.push_back(Past { run: later.run_id(7), ending: ending.clone() });
            assert_eq!(standing(&later, 7, "aa11").told().state, state, "{ending:?}");
            assert!(!standing(&later, 7, "aa11").is_open());
        }
    }

    #[test]
    fn an_answer_on_its_way_is_told() {
        let mut deciding = conversation();
        deciding.phase = Phase::Deciding {
            pending: pending(7, "aa11"),
            decision: Decision::Approve,
            effect: EffectSeq(3),
            revision: None,
        };
        assert_eq!(standing(&deciding, 7, "aa11"), Standing::Deciding(Decision::Approve));
        assert!(standing(&deciding, 7, "aa11").is_passing());
    }

    #[test]
    fn work_that_goes_back_to_the_agent_is_told_until_its_run_is_over() {
        let mut revised = conversation();
        let parked = revised.run_id(7);
        revised.past.push_back(Past { run: parked.clone(), ending: Ending::Parked { branch: "b".to_owned() } });
        let task = Task::Revise { parked, text: "blue".to_owned() };
        revised.phase = Phase::Working { run: revised.run_id(8), task, since: NOW, quiet: false };
        assert_eq!(standing(&revised, 7, "aa11"), Standing::Revising);
        revised.phase = Phase::Idle;
        assert_eq!(standing(&revised, 7, "aa11").told().state, "parked");
    }

    #[test]
    fn a_link_leads_only_to_the_web() {
        let link = |url: &str| Standing::PullRequest { url: url.to_owned() }.told().link;
        assert_eq!(link("https://github.com/o/n/pull/1").as_deref(), Some("https://github.com/o/n/pull/1"));
        assert_eq!(link("javascript:alert(1)"), None);
    }
}
