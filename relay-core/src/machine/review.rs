//! The page that shows all of a diff: what the VM has laid out is copied into the store before the diff is said, and the message
//! that asks about the diff ends with the page's address. What is answered there counts as a button does, and what counts as
//! shown is the page: nothing of it depends on what has reached the chat.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{EffectSeq, RunId, TreeHash};
use crate::machine::effect::{Effect, ReviewLink};
use crate::machine::event::Verdict;
use crate::machine::log::LogWhat;
use crate::machine::{Pending, Phase, Rules, Step, text};
use crate::protocol::review::{REVIEW_PARTS_MAX, Review};
use crate::protocol::{Decision, Task};
use crate::time::Timestamp;
use crate::trace::TraceParent;

/// A review can be read for so long after its time for an answer: its message may have come late, and what was decided is told
/// where it was decided.
const READABLE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How long a review that was made now is kept.
pub fn kept_for(rules: &Rules) -> Duration {
    rules.approval_timeout + READABLE_AFTER
}

/// A review on its way from the VM into the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copying {
    /// The effect that fetches it.
    pub effect: EffectSeq,
    /// Whether it is in the store; nothing as long as that is not known.
    pub kept: Option<bool>,
}

/// A review that may be in the store, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Whose diff.
    pub run: RunId,
    /// Which diff.
    pub tree: TreeHash,
    /// How many parts it has.
    pub parts: u32,
    /// It is gone by then.
    pub expires_at: Timestamp,
}

/// What the agent is to do with the work of a run once that is parked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// What is to be different, in the person's words.
    pub text: String,
    /// The trace that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
}

/// What one would type instead; of what is to be different, that.
fn words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Approve => "approve".to_owned(),
        Verdict::Reject => "reject".to_owned(),
        Verdict::Changes { text } => text.clone(),
    }
}

impl Step<'_> {
    /// Have a review copied into the store, if there can be one of that size, and one more.
    pub(super) fn copy_review(&mut self, run: &RunId, tree: &TreeHash, review: Review) -> Option<Copying> {
        let (run, tree, parts) = (run.clone(), tree.clone(), review.parts);
        if !(1..=REVIEW_PARTS_MAX).contains(&parts) {
            return None;
        }
        let expires_at = self.now + kept_for(self.rules);
        let kept = Kept { run: run.clone(), tree: tree.clone(), parts, expires_at };
        self.conversation
            .keeps_review(kept, self.now)
            .then(|| Copying { effect: self.emit(Effect::KeepReview { run, tree, parts }), kept: None })
    }

    /// A review is in the store, or can't be had.
    pub(super) fn review_copied(&mut self, effect: EffectSeq, kept: bool) {
        let copying = self.conversation.drawn.as_mut().and_then(|drawn| drawn.review.as_mut());
        if let Some(copying) = copying.filter(|copying| copying.effect == effect) {
            copying.kept = Some(kept);
        }
        self.show_when_fetched();
    }

    /// What opens the page of a review that is in the store.
    pub(super) fn review_link(&self, copying: Option<&Copying>, run: &RunId, tree: &TreeHash) -> Option<ReviewLink> {
        let is_kept = copying.is_some_and(|copying| copying.kept == Some(true));
        let expires_at = self.now + kept_for(self.rules);
        is_kept.then(|| ReviewLink { run: run.clone(), tree: tree.clone(), expires_at })
    }

    /// A person has read all of a diff, and answers: as a button does, that counts for this diff and for no other.
    pub(super) fn reviewed(&mut self, run: &RunId, tree: &TreeHash, verdict: Verdict) {
        self.log(LogWhat::Asked { text: words(&verdict) });
        let pending = match &self.conversation.phase {
            Phase::AwaitingApproval(pending) if pending.run == *run && pending.tree == *tree => pending.clone(),
            _ => return self.say(text::review::old_page(&self.conversation, run)),
        };
        let pending = Pending { parking_failed: false, page_used: true, ..pending };
        match verdict {
            Verdict::Approve => self.decide(pending, Decision::Approve),
            Verdict::Reject => self.decide(pending, Decision::Reject),
            Verdict::Changes { text } => self.revise(pending, text),
        }
    }

    /// Park the work; once it is, the agent goes on with it, before anything that waits.
    fn revise(&mut self, pending: Pending, text: String) {
        self.log(LogWhat::Decided { decision: Decision::Park });
        self.say_decided(text::review::revising(&pending.run));
        let revision = Revision { text, trace: self.trace };
        self.carry_out(pending, Decision::Park, Some(revision));
    }

    /// The line about a decision that was not carried out: it says so, too, if the agent was to go on with the work then.
    pub(super) fn with_lost_revision(&mut self, run: &RunId, line: String) -> String {
        if self.revision_of(run).is_some() { text::review::not_revised(&line) } else { line }
    }

    /// What comes next now that the work of `run` is parked, if the person has asked for it.
    pub(super) fn revision_of(&mut self, run: &RunId) -> Option<(Task, Option<TraceParent>)> {
        let Phase::Deciding { revision, .. } = &mut self.conversation.phase else { return None };
        let Revision { text, trace } = revision.take()?;
        Some((Task::Revise { parked: run.clone(), text }, trace))
    }
}
