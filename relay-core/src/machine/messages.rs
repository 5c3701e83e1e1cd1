//! What a person wrote.

use crate::id::{MessageId, RunId, TreeHash};
use crate::machine::effect::{Effect, Lane};
use crate::machine::event::{Content, Message};
use crate::machine::log::LogWhat;
use crate::machine::review::Revision;
use crate::machine::words::{Pressed, Word};
use crate::machine::{Ending, Pending, Phase, Step, Timer, text};
use crate::protocol::{Decision, Question, Task};
use crate::time::Timestamp;

/// What there was to stop.
pub(super) enum Stopped {
    /// No run; messages whose files were on their way in are dropped.
    Nothing {
        /// So many.
        arriving: usize,
    },
    /// A decision is being carried out, or a run stopped already.
    TooLate,
    /// A run.
    Run {
        /// Which.
        run: RunId,
        /// Messages that waited and are dropped.
        dropped: usize,
    },
}

impl Step<'_> {
    pub(super) fn message(&mut self, message: Message) {
        self.conversation.address = Some(message.from.clone());
        // The first is the one that the conversation is named after.
        let is_first_name = self.conversation.names.is_empty();
        let is_new_name = self.conversation.is_called(&message.from);
        self.conversation.heard = Some(message.id.clone());
        self.conversation.heard_at = self.now;
        self.conversation.written_at = message.cause.as_ref().and_then(|cause| cause.asked_at).unwrap_or(self.now);
        if let Some(alias) = message.alias
            && self.conversation.alias.as_ref() != Some(&alias)
        {
            self.conversation.is_called(&alias);
            self.conversation.alias = Some(alias.clone());
            self.emit(Effect::Introduce { alias });
        }
        // Found by any of their names, also where a message has only one of them.
        if is_new_name && !is_first_name && self.conversation.alias.as_ref() != Some(&message.from) {
            self.emit(Effect::Introduce { alias: message.from });
        }
        self.log_asked(&message.content);
        // Whoever writes can be written to.
        self.conversation.delivery.closed = false;
        self.stir();
        match message.content {
            Content::Text { text } if text.trim().is_empty() => self.say(text::EMPTY),
            Content::Text { text } if self.take_as_reply(&text, message.sent_at.is_some()) => {}
            Content::Text { text } => match Word::parse(&text) {
                Some(Word::Approve | Word::Reject) if self.is_for_another_diff(message.sent_at) => {
                    self.say(text::ANSWER_TOO_LATE);
                }
                Some(word) => self.word(word, message.id),
                None => self.take_on(message.id, Task::prompt(text)),
            },
            Content::Files { text, files } => self.files(message.id, text, files),
            Content::Button { payload } => match Pressed::parse(&payload) {
                Some(Pressed::Word(word)) => self.word(word, message.id),
                Some(Pressed::Decision { decision, run, tree }) => self.pressed(decision, &run, &tree),
                Some(Pressed::Reply { run, number, option }) => self.pressed_reply(&run, number, option),
                None => self.say(text::UNKNOWN_BUTTON),
            },
            Content::Unsupported { what } => self.say(text::unsupported(&what)),
        }
        self.ask_lost_again();
    }

    /// A person who writes is a reason to call a VM again that had been given up.
    pub(super) fn stir(&mut self) {
        match &mut self.conversation.phase {
            Phase::Stalled { run, task } => {
                let (run, task) = (run.clone(), task.clone());
                self.ask_to_start(run, task);
            }
            Phase::Cancelling { run, unreachable: unreachable @ true } => {
                *unreachable = false;
                let run = run.clone();
                self.emit(Effect::CancelRun { run });
                self.set(Timer::Silence, self.rules.silence_timeout);
            }
            _ => {}
        }
    }

    /// Whether an answer may be for another diff than the one that waits. Of a message that is taken in late it is not known
    /// whether it was typed or came from a button, of whatever diff.
    fn is_for_another_diff(&self, sent_at: Option<Timestamp>) -> bool {
        sent_at.is_some() && matches!(self.conversation.phase, Phase::AwaitingApproval(_))
    }

    fn word(&mut self, word: Word, message: MessageId) {
        match word {
            Word::Approve => self.answer(Decision::Approve),
            Word::Reject => self.answer(Decision::Reject),
            Word::Cancel => self.cancel(),
            Word::Status => self.say_with_link(text::status(&self.conversation, self.now), false),
            Word::Queue => self.show_queue(),
            Word::Drop(position) => self.drop_queued(position),
            Word::Diff => self.ask(Question::Diff),
            Word::Show(file) => self.ask(Question::Show { file }),
            Word::Repos => self.ask(Question::Repos),
            Word::Branch => self.ask(Question::Branch),
            Word::Clear => self.ask_when_idle(Question::Clear),
            Word::Switch(name) => self.ask_when_idle(Question::Switch { name }),
            Word::Checkout { name, create } => self.ask_when_idle(Question::Checkout { name, create }),
            Word::Clone(url) => self.take_on(message, Task::Clone { url }),
            Word::Resume(number) => self.resume(number, message),
            Word::Verbosity(verbosity) => self.turn_to(verbosity),
            Word::Help => self.say(text::HELP),
        }
    }

    /// Start a task, or let it wait its turn.
    pub(super) fn task(&mut self, task: Task) {
        if self.conversation.phase == Phase::Idle {
            self.start(task, self.trace);
            return self.acknowledge();
        }
        if self.conversation.queue.len() >= self.rules.queue_max {
            return self.say(text::queue_full(self.rules.queue_max));
        }
        self.conversation.enqueue(task, self.trace);
        self.say(text::queued(self.conversation.queue.len(), &self.conversation.phase));
    }

    /// A typed answer means the diff that was shown last, and only once it was shown.
    fn answer(&mut self, decision: Decision) {
        match &self.conversation.phase {
            Phase::AwaitingApproval(pending) if pending.shown => {
                self.decide(Pending { parking_failed: false, ..pending.clone() }, decision);
            }
            Phase::AwaitingApproval(Pending { lost: true, .. }) => self.say(text::DIFF_LOST),
            Phase::AwaitingApproval(_) => self.say(text::NOT_SHOWN_YET),
            _ => self.say(text::nothing_to_decide(&self.conversation)),
        }
    }

    /// A button means the diff that it came with.
    fn pressed(&mut self, decision: Decision, run: &RunId, tree: &TreeHash) {
        match &self.conversation.phase {
            Phase::AwaitingApproval(pending) if pending.run == *run && pending.tree == *tree => {
                if pending.lost {
                    return self.say(text::DIFF_LOST);
                }
                if !pending.shows_but_for_buttons() {
                    return self.say(text::NOT_SHOWN_YET);
                }
                self.decide(Pending { parking_failed: false, ..pending.clone() }, decision);
            }
            _ => self.say(text::old_button(&self.conversation, run)),
        }
    }

    pub(super) fn decide(&mut self, pending: Pending, decision: Decision) {
        if !pending.parking_failed {
            self.log(LogWhat::Decided { decision });
            self.say_decided(text::decision_taken(&pending.run, decision));
        }
        self.carry_out(pending, decision, None);
    }

    /// Have a decision carried out.
    pub(super) fn carry_out(&mut self, pending: Pending, decision: Decision, revision: Option<Revision>) {
        let effect = self.emit(Effect::Decide { run: pending.run.clone(), tree: pending.tree.clone(), decision });
        self.clear(&[Timer::Approval, Timer::ApprovalWarning]);
        self.set(Timer::Silence, self.rules.silence_timeout);
        self.conversation.phase = Phase::Deciding { pending, decision, effect, revision };
    }

    fn cancel(&mut self) {
        match self.stop() {
            Stopped::Nothing { arriving: 0 } => self.say(text::NOTHING_TO_CANCEL),
            Stopped::Nothing { arriving } => self.say(text::forgotten(arriving)),
            Stopped::TooLate => {
                let text = match &self.conversation.phase {
                    phase @ Phase::Deciding { .. } => text::too_late_to_cancel(phase),
                    phase => text::busy_with(phase),
                };
                self.say(text);
            }
            Stopped::Run { run, dropped: 0 } => self.say_passing(text::cancelling(&run, 0)),
            Stopped::Run { run, dropped } => self.say_notice(text::cancelling(&run, dropped)),
        }
    }

    /// Stop the run and drop what waits, without a word.
    pub(super) fn stop(&mut self) -> Stopped {
        // Where nothing is cancelled, nothing is forgotten.
        if let Phase::Deciding { .. } | Phase::Cancelling { .. } = self.conversation.phase {
            return Stopped::TooLate;
        }
        let arriving = std::mem::take(&mut self.conversation.arriving).len();
        self.clear(&[Timer::Transcript]);
        if let Phase::Starting { effect, .. } = self.conversation.phase {
            self.withdraw(effect);
        }
        let Some(run) = self.conversation.run().cloned() else { return Stopped::Nothing { arriving } };
        let dropped = self.conversation.queue.len() + arriving;
        self.conversation.queue.clear();
        self.conversation.traces.clear();
        self.conversation.inquiry = None;
        self.forget_progress();
        self.clear(&[Timer::Approval, Timer::ApprovalWarning]);
        self.set(Timer::Silence, self.rules.silence_timeout);
        self.emit(Effect::CancelRun { run: run.clone() });
        self.conversation.phase = Phase::Cancelling { run: run.clone(), unreachable: false };
        Stopped::Run { run, dropped }
    }

    fn show_queue(&mut self) {
        if self.conversation.queue.is_empty() {
            return self.say(text::QUEUE_EMPTY);
        }
        let list = text::queue(self.conversation.queue.iter().map(text::task));
        self.say(list);
    }

    fn drop_queued(&mut self, position: usize) {
        let dropped = position.checked_sub(1).and_then(|at| self.conversation.drop_task(at));
        let text = match dropped {
            Some(task) => text::dropped(position, &text::task(&task)),
            None => text::no_such_position(position, self.conversation.queue.len()),
        };
        self.say(text);
    }

    fn ask(&mut self, question: Question) {
        if self.conversation.retries.contains_key(&Lane::Vm) {
            return self.say(text::ASK_LATER);
        }
        self.emit(Effect::Ask { question });
    }

    fn ask_when_idle(&mut self, question: Question) {
        if self.conversation.phase == Phase::Idle {
            self.ask(question);
        } else {
            self.say(text::finish_first(&self.conversation.phase));
        }
    }

    /// Parked work can be brought back for ever; a run too old to be remembered is left to the VM to judge.
    fn resume(&mut self, number: u64, message: MessageId) {
        let parked = self.conversation.run_id(number);
        let known = self.conversation.ending(&parked);
        let forgotten = known.is_none() && (1..=self.conversation.runs).contains(&number);
        let current = self.conversation.run() == Some(&parked);
        if matches!(known, Some(Ending::Parked { .. })) || (forgotten && !current) {
            self.take_on(message, Task::Resume { parked });
        } else {
            self.say(text::not_parked(&self.conversation, &parked));
        }
    }
}
