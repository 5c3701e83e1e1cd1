//! The pure machine: one conversation, one event, one instant in; the next state and what is to be done out.
//!
//! Nothing here asks for the time, for chance, for the environment or for a socket, so everything that can happen to a
//! conversation can be tested by the thousand. The states are in [`conversation`], the inputs in [`event`], the outputs
//! in [`effect`], the sentences for people in [`text`]. The arms of [`step`] are spread over files by what came in:
//! `messages`, `files`, `reports`, `drawings`, [`review`], `inquiry`, `performed`, `timers`, `operator`. Whether a diff was shown is in [`pending`]. How much of it the person hears is in `progress`, how it is cut into
//! messages in `shape`, and how these reach the person in [`delivery`]; what others are told who look on, in [`log`].

use std::time::Duration;

pub mod conversation;
pub mod delivery;
pub mod drawings;
pub mod effect;
pub mod event;
mod files;
mod inquiry;
pub mod log;
pub mod markup;
mod messages;
mod operator;
pub mod pending;
mod performed;
mod progress;
mod reports;
pub mod retry;
pub mod review;
pub mod rules;
pub mod shape;
pub mod split;
pub mod text;
mod timers;
pub mod words;

#[cfg(test)]
mod tests;

pub use conversation::{Conversation, Ending, Phase, Timer, Verbosity};
pub use effect::{Asked, Cause, Choice, Effect, Lane, Queued, ReviewLink, RunLink, Say};
pub use event::{Attachment, Content, Event, Failure, Message, OperatorAction, Outcome, Receipt, Verdict};
pub use log::{LogEntry, LogWhat};
pub use pending::Pending;
pub use rules::{Capabilities, Rules};

use crate::id::{EffectSeq, RunId};
use crate::protocol::{Decision, Task};
use crate::time::Timestamp;
use crate::trace::TraceParent;

/// What a step leads to. The caller commits all of it at once, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The next state.
    pub conversation: Conversation,
    /// What is to be done, to be appended to the outbox in this order.
    pub effects: Vec<Queued>,
    /// Effects that leave the outbox: done, given up or no longer wanted.
    pub acked: Vec<EffectSeq>,
    /// Effects that were given up and are to be kept for an operator.
    pub dead: Vec<Dead>,
    /// What whoever looks on is told, to be appended to the log in this order.
    pub log: Vec<LogEntry>,
}

/// An effect that will not be tried again by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dead {
    /// What could not be done.
    pub effect: Effect,
    /// Why, in words that hold no personal data.
    pub reason: String,
}

/// Apply one event.
pub fn step(rules: &Rules, mut conversation: Conversation, event: Event, now: Timestamp) -> Transition {
    // What an older program left is written back with all that this one knows.
    conversation.format = Conversation::FORMAT;
    let trace = cause(&mut conversation, &event);
    let mut step = Step {
        rules,
        now,
        trace,
        conversation,
        effects: Vec::new(),
        acked: Vec::new(),
        dead: Vec::new(),
        log: Vec::new(),
    };
    match event {
        Event::Message(message) => step.message(message),
        Event::Report { run, seq, event } => step.report(&run, seq, event),
        Event::Performed { effect, outcome } => step.performed(effect, outcome),
        Event::Receipt { effect, message, receipt } => step.receipt(effect, &message, receipt),
        Event::Transcript { message, part, text } => step.transcribed(&message, part, text),
        Event::Reviewed { run, tree, verdict, .. } => step.reviewed(&run, &tree, verdict),
        Event::Due => step.due(),
        Event::Redriven { effect } => step.redriven(effect),
        Event::Operator { action: OperatorAction::Cancel, .. } => step.cancel_by_operator(),
        Event::Garbled => {}
    }
    let Step { conversation, effects, acked, dead, log, .. } = step;
    Transition { conversation, effects, acked, dead, log }
}

/// The trace of this event's effects: what a person did has one or, for all that happens by itself, it is the run's.
fn cause(conversation: &mut Conversation, event: &Event) -> Option<TraceParent> {
    match event {
        Event::Message(Message { cause, .. }) | Event::Reviewed { cause, .. } => {
            let Cause { trace, asked_at } = cause.clone().unwrap_or_default();
            conversation.asked_at = conversation.asked_at.or(asked_at);
            trace
        }
        Event::Performed { effect, .. } => effect.cause.as_ref().and_then(|cause| cause.trace),
        _ => conversation.trace,
    }
}

/// A step in the making.
struct Step<'a> {
    rules: &'a Rules,
    now: Timestamp,
    trace: Option<TraceParent>,
    conversation: Conversation,
    effects: Vec<Queued>,
    acked: Vec<EffectSeq>,
    dead: Vec<Dead>,
    log: Vec<LogEntry>,
}

impl Step<'_> {
    /// Ask for an effect; its place in the outbox.
    fn emit(&mut self, effect: Effect) -> EffectSeq {
        self.conversation.effects += 1;
        let seq = EffectSeq(self.conversation.effects);
        let cause = self.cause(&effect);
        self.effects.push(Queued { seq, effect, cause });
        seq
    }

    /// What an effect comes from: while a run goes on, whatever is done belongs to its trace.
    /// The first message to a person who has written is the answer.
    fn cause(&mut self, effect: &Effect) -> Option<Cause> {
        let run = self.conversation.run().and(self.conversation.trace);
        let asked_at = if let Effect::Say(_) = effect { self.conversation.asked_at.take() } else { None };
        let cause = Cause { trace: run.or(self.trace), asked_at };
        (cause != Cause::default()).then_some(cause)
    }

    /// Take an effect that may still be waiting out of the outbox.
    fn withdraw(&mut self, effect: EffectSeq) {
        self.acked.push(effect);
        self.conversation.retries.retain(|_, retry| retry.effect != effect);
    }

    /// Try a dead letter again. One that shows all of the waiting diff, or asks all of the open inquiry, does so from its new
    /// place.
    fn redriven(&mut self, effect: Effect) {
        let (choice, asked) = match &effect {
            Effect::Say(say) => (say.choice.clone(), say.asked.clone()),
            _ => (None, None),
        };
        let seq = match effect {
            // What it says of a diff is of one that was shown before the one that waits now.
            Effect::Say(say) => self.emit_say(Say { settles: false, ..say }),
            effect => self.emit(effect),
        };
        if let (Some(choice), Phase::AwaitingApproval(pending)) = (choice, &mut self.conversation.phase)
            && pending.run == choice.run
            && pending.tree == choice.tree
            && pending.parts.len() == 1
        {
            pending.shown_by(vec![seq]);
        }
        if let Some(asked) = asked {
            self.asked_again(&asked, seq);
        }
    }

    /// Send a text, in as many messages as the channel needs.
    fn say(&mut self, text: impl AsRef<str>) {
        self.say_all(Say { text: text.as_ref().to_owned(), ..Say::default() });
    }

    /// Send a text about a diff that waits for an answer, with its buttons if the diff has reached the person.
    fn say_with_choice(&mut self, text: impl AsRef<str>, pending: &Pending) {
        let choice = (!pending.lost).then(|| Choice { run: pending.run.clone(), tree: pending.tree.clone() });
        self.say_all(Say { text: text.as_ref().to_owned(), choice, ..Say::default() });
    }

    /// Send a text that says what is going on, with where to look on if a run does.
    fn say_with_link(&mut self, text: impl AsRef<str>, passing: bool) {
        let (text, follow) = (text.as_ref().to_owned(), self.run_link());
        self.say_all(Say { text, follow, passing, ..Say::default() });
    }

    /// Send a line that only says what is going on; a quiet person is spared it.
    fn say_passing(&mut self, text: impl AsRef<str>) {
        if self.conversation.verbosity != Verbosity::Quiet {
            self.say_notice(text);
        }
    }

    /// Send a passing line that a quiet person needs, too: otherwise a message of theirs would seem to be lost.
    fn say_notice(&mut self, text: impl AsRef<str>) {
        self.say_all(Say { text: text.as_ref().to_owned(), passing: true, ..Say::default() });
    }

    /// Send that the diff that was shown last is decided; a quiet person reads what came of it.
    fn say_decided(&mut self, text: String) {
        if self.conversation.verbosity != Verbosity::Quiet {
            self.say_all(Say { text, passing: true, settles: true, ..Say::default() });
        }
    }

    /// Send what has become of the diff that was shown last, whoever or whatever has decided it.
    fn say_settled(&mut self, text: impl AsRef<str>) {
        self.say_all(Say { text: text.as_ref().to_owned(), settles: true, ..Say::default() });
    }

    /// Send a message, in as many as the channel needs for it; their places.
    fn say_all(&mut self, say: Say) -> Vec<EffectSeq> {
        if self.capabilities().is_some() {
            self.log_said(&say);
        }
        self.send(say)
    }

    /// The same for what the log has in other words.
    fn send(&mut self, say: Say) -> Vec<EffectSeq> {
        let Some(channel) = self.capabilities().copied() else { return Vec::new() };
        let mut places: Vec<EffectSeq> =
            shape::shape(say, &channel).into_iter().map(|part| self.emit_say(part)).collect();
        // One that another has joined went with it.
        places.retain(|place| !self.acked.contains(place));
        places
    }

    /// What the person's channel can carry; nothing before they have written.
    fn capabilities(&self) -> Option<&Capabilities> {
        self.conversation.address.as_ref().map(|address| self.rules.capabilities(address.channel))
    }

    fn set(&mut self, timer: Timer, timeout: Duration) {
        self.conversation.timers.insert(timer, self.now + timeout);
    }

    fn clear(&mut self, timers: &[Timer]) {
        for timer in timers {
            self.conversation.timers.remove(timer);
        }
    }

    /// Start a run for `task`, which is part of `trace`.
    fn start(&mut self, task: Task, trace: Option<TraceParent>) {
        self.conversation.trace = trace;
        if self.conversation.runs == 0 {
            self.conversation.origin = self.now;
        }
        self.conversation.runs += 1;
        let run = self.conversation.run_id(self.conversation.runs);
        self.conversation.reported = 0;
        self.conversation.progress = conversation::Progress::default();
        let described = text::task(&task);
        self.ask_to_start(run, task);
        self.log(LogWhat::Begun { task: described });
    }

    /// Ask the VM to start a run that has its name already.
    fn ask_to_start(&mut self, run: RunId, task: Task) {
        let effect = self.emit(Effect::StartRun { run: run.clone(), task: task.clone() });
        self.conversation.phase = Phase::Starting { run, task, effect };
    }

    /// The current run is over; the next task starts, if one waits.
    fn end(&mut self, ending: Ending) {
        self.end_before(ending, None);
    }

    /// The same, with what comes before all that waits.
    fn end_before(&mut self, ending: Ending, next: Option<(Task, Option<TraceParent>)>) {
        self.leave_deciding();
        self.forget_drawn();
        self.conversation.inquiry = None;
        if let Some(run) = self.conversation.run().cloned() {
            self.log(LogWhat::Ended { ending: ending.clone() });
            self.conversation.remember(run, ending);
        }
        self.forget_progress();
        self.clear(&[Timer::Silence, Timer::Approval, Timer::ApprovalWarning]);
        self.conversation.phase = Phase::Idle;
        if let Some((task, trace)) = next.or_else(|| self.conversation.next_task()) {
            self.start(task, trace);
        }
    }

    /// Wait for an answer to `pending`, from now on.
    fn await_approval(&mut self, pending: Pending) {
        self.leave_deciding();
        self.conversation.phase = Phase::AwaitingApproval(pending);
        self.conversation.inquiry = None;
        self.forget_progress();
        self.clear(&[Timer::Silence]);
        self.set_approval_timers();
    }

    /// A decision could not be carried out: the diff waits again. Of a park, which nobody asked for, it is said once.
    fn undecided(&mut self, pending: Pending, decision: Decision, line: String) {
        let line = self.with_lost_revision(&pending.run, line);
        let parking_failed = decision == Decision::Park;
        if !(parking_failed && pending.parking_failed) {
            self.say_with_choice(line, &pending);
        }
        self.await_approval(Pending { parking_failed, ..pending });
    }

    /// What came of a decision is known: a request that still waits to be tried again must not go out any more.
    fn leave_deciding(&mut self) {
        if let Phase::Deciding { effect, .. } = self.conversation.phase {
            self.withdraw(effect);
        }
    }

    fn set_approval_timers(&mut self) {
        self.set(Timer::Approval, self.rules.approval_timeout);
        if self.rules.approval_warning < self.rules.approval_timeout {
            self.set(Timer::ApprovalWarning, self.rules.approval_timeout - self.rules.approval_warning);
        }
    }
}
