//! What an agent asks the person, and what they say to it: one inquiry at a time, at the desk of the run.

use std::time::Duration;

use relay_core::protocol::InquiryOption;
use relay_core::time::humane;
use tokio::sync::mpsc;

use super::AgentEvent;
use crate::desk::Desk;

/// Of one run: each is a message, which costs money and a person's time.
const INQUIRIES_MAX: u32 = 20;

/// Where inquiries go, and how long a reply is waited for.
pub(super) struct Inquirer<'a> {
    pub(super) desk: &'a Desk,
    pub(super) events: &'a mpsc::Sender<AgentEvent>,
    pub(super) timeout: Duration,
}

impl Inquirer<'_> {
    /// What the person says; nothing when they say nothing in time.
    pub(super) async fn ask(&self, text: String, options: Vec<InquiryOption>, several: bool) -> Option<String> {
        let (number, reply) = self.desk.open();
        if number > INQUIRIES_MAX {
            return None;
        }
        let timeout = self.timeout;
        // Whoever started the job may have stopped listening; then nobody replies.
        let _ = self.events.send(AgentEvent::Inquiry { number, text, options, several, timeout }).await;
        let reply = tokio::time::timeout(timeout, reply).await.ok().and_then(Result::ok);
        if reply.is_none() {
            let _ = self.events.send(AgentEvent::InquiryOver(number)).await;
        }
        reply
    }

    /// For the agent.
    pub(super) fn unanswered(&self) -> String {
        format!("The person did not answer within {}. Go on as you think best.", humane(self.timeout))
    }
}
