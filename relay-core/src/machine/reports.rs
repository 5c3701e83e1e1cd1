//! What a VM reported of the current run. Reports of other runs are late repeats and change nothing.

use std::time::Duration;

use crate::id::RunId;
use crate::machine::effect::Effect;
use crate::machine::log::LogWhat;
use crate::machine::{Ending, Phase, Step, Timer, Verbosity, markup, text};
use crate::protocol::{Decision, DecisionResult, RunOutcome, Spent, VmEvent};

impl Step<'_> {
    pub(super) fn report(&mut self, run: &RunId, seq: u64, event: VmEvent) {
        if self.conversation.run() != Some(run) || seq <= self.conversation.reported {
            return;
        }
        self.conversation.reported = seq;
        self.heard_from(run);
        match event {
            VmEvent::Started { driver } => {
                self.log(LogWhat::Started { driver: driver.clone() });
                if self.conversation.verbosity != Verbosity::Quiet {
                    self.say_with_link(text::started(run, &driver), true);
                }
            }
            VmEvent::Beat => {}
            VmEvent::Progress { text } => self.progress(text),
            VmEvent::Image { name, caption } => {
                self.emit(Effect::KeepImage { run: run.clone(), name, caption, drawing: false });
            }
            VmEvent::Inquiry { number, text, options, several, timeout_ms } => {
                self.flush_due_progress();
                let timeout = Duration::from_millis(timeout_ms);
                self.inquire(run, number, &markup::from_markdown(&text), &options, several, timeout);
            }
            VmEvent::InquiryOver { number } => self.inquiry_over(number),
            VmEvent::Finished { outcome, spent } => {
                self.flush_due_progress();
                self.finished(run, outcome, spent);
            }
            VmEvent::Decided { decision, result } => self.decided(run, decision, result),
        }
    }

    /// A report proves that the run was started, even if the answer to that request was lost.
    fn heard_from(&mut self, run: &RunId) {
        self.answered();
        let task = match &self.conversation.phase {
            Phase::Starting { task, effect, .. } => {
                let (task, effect) = (task.clone(), *effect);
                self.withdraw(effect);
                Some(task)
            }
            Phase::Stalled { task, .. } | Phase::Working { task, quiet: true, .. } => Some(task.clone()),
            _ => None,
        };
        if let Some(task) = task {
            self.conversation.phase = Phase::Working { run: run.clone(), task, since: self.now, quiet: false };
        }
        if !matches!(self.conversation.phase, Phase::AwaitingApproval(_)) {
            self.set(Timer::Silence, self.rules.silence_timeout);
        }
    }

    fn finished(&mut self, run: &RunId, outcome: RunOutcome, spent: Option<Spent>) {
        let spent = spent.as_ref();
        let cancelling = matches!(self.conversation.phase, Phase::Cancelling { .. });
        match (outcome, &self.conversation.phase) {
            (RunOutcome::Cancelled, _) => {
                self.say(text::cancelled(run));
                self.end(Ending::Cancelled);
            }
            // Its rollback and the report of it are on the way.
            (RunOutcome::Changes { .. }, Phase::Cancelling { .. }) => {}
            (_, Phase::AwaitingApproval(_) | Phase::Deciding { .. }) => {}
            (outcome @ RunOutcome::Changes { .. }, _) => self.changed(run, outcome, spent.copied()),
            (RunOutcome::Answered { text }, _) => {
                self.note_late_cancel(run, cancelling);
                self.say(text::answered(run, &markup::from_markdown(&text), spent));
                self.end(Ending::Answered);
            }
            (RunOutcome::Failed { reason, kept }, _) => {
                self.note_late_cancel(run, cancelling);
                self.say(text::failed(run, &reason, kept.as_deref(), spent));
                self.end(failed(kept));
            }
            (RunOutcome::Interrupted { kept }, _) => {
                self.note_late_cancel(run, cancelling);
                self.say(text::interrupted(run, kept.as_deref()));
                self.end(failed(kept));
            }
        }
    }

    fn note_late_cancel(&mut self, run: &RunId, cancelling: bool) {
        if cancelling {
            self.say(text::ended_before_cancel(run));
        }
    }

    fn decided(&mut self, run: &RunId, decision: Decision, result: DecisionResult) {
        let pending = match &self.conversation.phase {
            Phase::AwaitingApproval(pending) | Phase::Deciding { pending, .. } => Some(pending.clone()),
            Phase::Cancelling { .. } => None,
            _ => return,
        };
        match result {
            DecisionResult::PullRequest { url, .. } => {
                self.say_settled(text::pull_request(run, &url));
                self.end(Ending::PullRequest { url });
            }
            DecisionResult::Pushed { branch, note } => {
                self.say_settled(text::pushed(run, &branch, &note));
                self.end(Ending::Pushed { branch });
            }
            DecisionResult::RolledBack => {
                self.say_settled(text::rolled_back(run));
                self.end(Ending::RolledBack);
            }
            DecisionResult::Parked { branch } => {
                let revision = self.revision_of(run);
                if revision.is_none() {
                    self.say_settled(text::parked(run, &branch));
                }
                self.end_before(Ending::Parked { branch }, revision);
            }
            DecisionResult::Failed { reason } => {
                if let Some(pending) = pending {
                    self.undecided(pending, decision, text::decision_failed(run, decision, &reason));
                }
            }
        }
    }
}

fn failed(kept: Option<String>) -> Ending {
    kept.map_or(Ending::Failed, |branch| Ending::Parked { branch })
}
