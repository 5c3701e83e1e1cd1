//! What an agent asks the person, and what they say to it: one inquiry at a time, at the desk of the run.

use std::fmt;
use std::time::Duration;

use relay_core::protocol::InquiryOption;
use relay_core::time::humane;
use tokio::sync::mpsc;

use super::AgentEvent;
use crate::desk::Desk;
use crate::text::clip;

/// Of one run: each is a message, which costs money and a person's time.
const INQUIRIES_MAX: u32 = 20;

/// What an agent wants to do, for people who are asked whether it may: as it is, or the beginning of it, which is said.
#[derive(Clone, Debug, Default)]
pub(super) struct Detail {
    pub(super) text: String,
    chars: usize,
    is_cut: bool,
}

impl Detail {
    pub(super) fn of(text: &str, chars_max: usize) -> Self {
        let (chars, text) = (text.trim().chars().count(), clip(text, chars_max));
        Self { text, chars, is_cut: chars > chars_max }
    }
}

impl fmt::Display for Detail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "```{}```", self.text.replace('`', "'"))?;
        if self.is_cut {
            write!(f, "\n⚠️ This is the beginning; it has {} characters in all.", self.chars)?;
        }
        Ok(())
    }
}

/// Where inquiries go, and how long a reply is waited for.
pub(super) struct Inquirer<'a> {
    pub(super) desk: &'a Desk,
    pub(super) events: &'a mpsc::Sender<AgentEvent>,
    pub(super) timeout: Duration,
}

/// Why there is no reply. For the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unanswered {
    /// The person said nothing in time.
    #[error("The person did not answer within {}. Go on as you think best.", humane(*.0))]
    Late(Duration),
    /// The person was asked often enough, and is not asked any more.
    #[error(
        "The person was asked {INQUIRIES_MAX} times in this task, which is the limit, and was not asked this. Go on as you think best."
    )]
    TooMany,
}

impl Inquirer<'_> {
    /// What the person says.
    pub(super) async fn ask(
        &self,
        text: String,
        options: Vec<InquiryOption>,
        several: bool,
    ) -> Result<String, Unanswered> {
        let (number, reply) = self.desk.open();
        if number > INQUIRIES_MAX {
            tracing::warn!(number, "the agent asks more than a person is asked in one run; the answer is no");
            return Err(Unanswered::TooMany);
        }
        let timeout = self.timeout;
        // Whoever started the job may have stopped listening; then nobody replies.
        let _ = self.events.send(AgentEvent::Inquiry { number, text, options, several, timeout }).await;
        let reply = tokio::time::timeout(timeout, reply).await.ok().and_then(Result::ok);
        if reply.is_none() {
            let _ = self.events.send(AgentEvent::InquiryOver(number)).await;
        }
        reply.ok_or(Unanswered::Late(timeout))
    }
}
