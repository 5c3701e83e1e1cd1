//! What came of carrying out an effect.

use std::time::Duration;

use crate::id::{EffectSeq, RunId};
use crate::machine::conversation::{Retry, Waking};
use crate::machine::drawings::Fetched;
use crate::machine::effect::{Choice, Effect, FIRST_TRY_TIMEOUT, Lane, Queued, Say};
use crate::machine::event::{Failure, Outcome};
use crate::machine::retry::{self, Next};
use crate::machine::{Dead, Ending, Phase, Step, Timer, text};
use crate::protocol::{Answer, Question, RefusalReason, RunState, RunStatus};

/// Why an effect is to be tried again.
#[derive(Default)]
struct Reason {
    waited: Duration,
    asked: Option<Duration>,
    message: Option<String>,
    in_use: bool,
}

impl Step<'_> {
    pub(super) fn performed(&mut self, Queued { seq, effect, .. }: Queued, outcome: Outcome) {
        if let (Effect::Say(say), false) = (&effect, matches!(outcome, Outcome::Delayed { .. })) {
            self.tried(seq, say, &outcome);
        }
        let lane = effect.lane();
        let is_call = matches!(lane, Lane::Vm | Lane::Stop);
        match outcome {
            Outcome::Delayed { pause_ms } => match lane {
                Lane::Chat => self.paused(Duration::from_millis(pause_ms)),
                Lane::Vm | Lane::Stop | Lane::Files => self.put_off(seq, lane, Duration::from_millis(pause_ms)),
            },
            Outcome::Undelivered { failure: Failure::Closed } => self.closed(),
            Outcome::Undelivered { failure: Failure::UsedUp } => self.used_up(),
            Outcome::NoAnswer { waited_ms, retry_after_ms } => {
                let waited = Duration::from_millis(waited_ms);
                if is_call {
                    self.unanswered(waited);
                }
                let asked = retry_after_ms.map(Duration::from_millis);
                self.try_again(seq, effect, Reason { waited, asked, ..Reason::default() });
            }
            Outcome::Undelivered { failure: Failure::Passing } => self.try_again(seq, effect, Reason::default()),
            Outcome::Busy { retry_after_ms, message, in_use } => {
                if is_call {
                    self.answered();
                }
                let asked = retry_after_ms.map(Duration::from_millis);
                self.try_again(seq, effect, Reason { asked, message, in_use, ..Reason::default() });
            }
            outcome => {
                self.acked.push(seq);
                self.conversation.retries.remove(&lane);
                if is_call {
                    self.answered();
                }
                self.settled(seq, effect, outcome);
            }
        }
    }

    /// The VM answers: whatever comes next is a new wake.
    pub(super) fn answered(&mut self) {
        self.conversation.waking = None;
        self.clear(&[Timer::WakingNotice]);
    }

    fn unanswered(&mut self, waited: Duration) {
        let since = self.now - waited;
        let waking = self.conversation.waking.get_or_insert(Waking { since, told: false });
        if !waking.told {
            self.conversation.timers.insert(Timer::WakingNotice, waking.since + FIRST_TRY_TIMEOUT);
        }
    }

    /// Not tried, and so neither counted nor given up.
    fn put_off(&mut self, effect: EffectSeq, lane: Lane, pause: Duration) {
        let next_at = self.now + pause;
        self.conversation.retries.insert(lane, Retry { effect, attempts: 0, first_at: next_at, next_at });
    }

    fn try_again(&mut self, seq: EffectSeq, effect: Effect, reason: Reason) {
        let lane = effect.lane();
        let mut retry = match self.conversation.retries.remove(&lane) {
            Some(retry) if retry.effect == seq => retry,
            _ => Retry { effect: seq, attempts: 0, first_at: self.now - reason.waited, next_at: self.now },
        };
        retry.attempts += 1;
        if let (Effect::StartRun { .. }, 1, Some(message)) = (&effect, retry.attempts, &reason.message) {
            self.say_notice(text::held_up(message));
        }
        match retry::next(self.rules, &effect, &retry, reason.in_use, reason.asked, self.now) {
            Next::At(next_at) => {
                self.conversation.retries.insert(lane, Retry { next_at, ..retry });
            }
            Next::GiveUp => {
                self.acked.push(seq);
                self.given_up(seq, effect, self.now.since(retry.first_at), reason.message.as_deref());
            }
        }
    }

    fn given_up(&mut self, seq: EffectSeq, effect: Effect, spent: Duration, message: Option<&str>) {
        // What the relay asks by itself is asked again before long: that is still the same wake.
        if matches!(effect.lane(), Lane::Vm | Lane::Stop)
            && !matches!(effect, Effect::Probe { .. } | Effect::KeepImage { .. } | Effect::KeepReview { .. })
        {
            self.answered();
        }
        match effect {
            Effect::Say(say) => {
                self.give_up_say(seq, say, "the channel did not take it in any of its tries", false);
            }
            Effect::FetchFile { message, .. } | Effect::Transcribe { message, .. } => {
                self.file_refused(&message, text::FILE_LOST);
            }
            Effect::StartRun { run, task } => {
                if matches!(&self.conversation.phase, Phase::Starting { run: starting, .. } if *starting == run) {
                    self.say(text::stalled(&run, spent, message));
                    self.conversation.phase = Phase::Stalled { run, task };
                }
            }
            Effect::Decide { run, decision, .. } => {
                if let Phase::Deciding { pending, .. } = &self.conversation.phase {
                    self.undecided(pending.clone(), decision, text::decide_unanswered(&run));
                }
            }
            Effect::CancelRun { run } => {
                if let Phase::Cancelling { unreachable, .. } = &mut self.conversation.phase {
                    *unreachable = true;
                    self.clear(&[Timer::Silence]);
                    self.say(text::cancel_unconfirmed(&run));
                }
            }
            Effect::Ask { .. } => self.say(text::ASK_UNANSWERED),
            Effect::Reply { .. } => self.say(text::REPLY_LOST),
            // Another message of theirs brings it up again.
            Effect::Introduce { .. } => self.conversation.alias = None,
            Effect::Probe { run } => self.told_quiet(&text::unreachable(&run)),
            Effect::KeepImage { drawing: true, .. } => self.fetched(seq, Fetched::Lost),
            Effect::KeepImage { .. } => self.say(text::PICTURE_LOST),
            Effect::KeepReview { .. } => self.review_copied(seq, false),
        }
    }

    fn settled(&mut self, seq: EffectSeq, effect: Effect, outcome: Outcome) {
        match (effect, outcome) {
            (Effect::Say(_), Outcome::Done) => {
                self.conversation.delivery.forget(seq);
                self.shown(seq);
            }
            (Effect::Say(say), Outcome::Sent { message }) => self.taken(seq, say, message),
            (Effect::Say(say), Outcome::Undelivered { failure: Failure::Final { reason, reachable } }) => {
                self.give_up_say(seq, say, &reason, reachable);
            }
            (Effect::Say(say), Outcome::Refused { message, .. }) => self.give_up_say(seq, say, &message, false),
            (Effect::FetchFile { message, part, .. }, Outcome::FileKept { file }) => {
                self.file_kept(message, part, file)
            }
            (
                Effect::FetchFile { message, .. } | Effect::Transcribe { message, .. },
                Outcome::Refused { message: why, .. },
            ) => {
                self.file_refused(&message, &why);
            }
            (Effect::Transcribe { .. }, Outcome::Done) => self.listening(),
            (Effect::StartRun { run, .. }, Outcome::Done) => self.accepted(&run),
            (Effect::StartRun { run, .. }, Outcome::Refused { message, .. }) => self.start_refused(&run, &message),
            (Effect::Decide { .. }, Outcome::Refused { reason, message }) => self.decision_refused(reason, &message),
            (Effect::CancelRun { .. }, Outcome::Refused { message, .. }) => {
                self.say(text::refused(&message));
                if matches!(self.conversation.phase, Phase::Cancelling { .. }) {
                    self.end(Ending::Failed);
                }
            }
            (Effect::Ask { question }, Outcome::Answered { answer }) => self.answered_by_vm(&question, answer),
            (Effect::Ask { .. } | Effect::Reply { .. }, Outcome::Refused { message, .. }) => {
                self.say(text::refused(&message));
            }
            (Effect::Probe { run }, Outcome::Probed { status }) => self.probed(&run, status),
            (Effect::KeepImage { drawing: true, .. }, Outcome::ImageKept { blob }) => {
                self.fetched(seq, Fetched::Kept { blob });
            }
            (Effect::KeepImage { drawing: true, .. }, Outcome::Refused { .. }) => self.fetched(seq, Fetched::Lost),
            (Effect::KeepImage { run, caption, .. }, Outcome::ImageKept { blob }) => {
                self.conversation.keeps(blob.clone());
                self.log_picture(&run, &blob, &caption);
                self.send(Say { text: caption, picture: Some(blob), ..Say::default() });
            }
            (Effect::KeepImage { .. }, Outcome::Refused { .. }) => self.say(text::PICTURE_LOST),
            (Effect::KeepReview { .. }, Outcome::ReviewKept) => self.review_copied(seq, true),
            (Effect::KeepReview { .. }, Outcome::Refused { .. }) => self.review_copied(seq, false),
            _ => {}
        }
    }

    /// A person who asks for the diff that was lost on its way to them may answer to it once it is there.
    fn answered_by_vm(&mut self, question: &Question, Answer { text, code }: Answer) {
        let choice = match &self.conversation.phase {
            Phase::AwaitingApproval(pending) if pending.lost && *question == Question::Diff => {
                Some(Choice { run: pending.run.clone(), tree: pending.tree.clone() })
            }
            _ => None,
        };
        let shows_diff = choice.is_some();
        let parts = self.say_all(Say { text, code, choice, ..Say::default() });
        if let (Phase::AwaitingApproval(pending), true) = (&mut self.conversation.phase, shows_diff) {
            pending.shown_by(parts);
        }
    }

    /// Ask for a report that should have come. The VM starts nothing twice; of a run that is over it tells the end again.
    fn tell_again(&mut self, run: &RunId) {
        if let Phase::Working { task, .. } = &self.conversation.phase {
            let task = task.clone();
            self.emit(Effect::StartRun { run: run.clone(), task });
        }
    }

    fn probed(&mut self, run: &RunId, status: Option<RunStatus>) {
        // Of a diff that only waits for its drawings the VM has told all that it knows.
        let is_told = self.conversation.drawn.is_some();
        if is_told || !matches!(&self.conversation.phase, Phase::Working { run: working, .. } if working == run) {
            return;
        }
        match status {
            None => {
                self.say(text::run_lost(run));
                self.end(Ending::Failed);
            }
            Some(RunStatus { state: RunState::Running, .. }) => {
                self.told_quiet(&text::quiet(run, self.rules.silence_timeout));
            }
            // Its report is on the way, or was lost: asked to start the run again, the VM tells it again.
            Some(RunStatus { state: RunState::Over | RunState::AwaitingApproval, .. }) => self.tell_again(run),
            Some(_) => {}
        }
    }

    /// A message is handed over. Once all that ask an inquiry are, a reply can mean it. Once all that show the diff are, an
    /// answer can mean that, and its time starts.
    pub(super) fn shown(&mut self, seq: EffectSeq) {
        if let Some(inquiry) = &mut self.conversation.inquiry {
            inquiry.untaken.retain(|untaken| *untaken != seq);
        }
        let (pending, waits) = match &mut self.conversation.phase {
            Phase::AwaitingApproval(pending) => (pending, true),
            // Answered on its page before all of its messages were there: should that not be carried out, it waits again.
            Phase::Deciding { pending, .. } => (pending, false),
            _ => return,
        };
        if pending.taken(seq) {
            pending.shown = true;
            pending.shown_at = self.now;
            if waits {
                self.set_approval_timers();
            }
        }
    }

    /// A run that goes on by now, or is over, is not ended by a refusal of another or that comes late.
    fn start_refused(&mut self, refused: &RunId, message: &str) {
        let is_told = self.conversation.drawn.is_some();
        if !is_told
            && matches!(&self.conversation.phase, Phase::Starting { run, .. } | Phase::Working { run, .. } if run == refused)
        {
            self.say(text::refused(message));
            self.end(Ending::Failed);
        }
    }

    fn accepted(&mut self, accepted: &RunId) {
        if let Phase::Starting { run, task, .. } = &self.conversation.phase
            && run == accepted
        {
            let (run, task) = (run.clone(), task.clone());
            self.conversation.phase = Phase::Working { run, task, since: self.now, quiet: false };
            self.set(Timer::Silence, self.rules.silence_timeout);
        }
    }

    /// A VM that no longer knows the run can't decide on it; after any other refusal the diff still waits.
    fn decision_refused(&mut self, reason: Option<RefusalReason>, message: &str) {
        let line = text::refused(message);
        match &self.conversation.phase {
            Phase::Deciding { pending, decision, .. } if reason != Some(RefusalReason::NotFound) => {
                self.undecided(pending.clone(), *decision, line);
            }
            Phase::Deciding { pending, .. } => {
                let line = self.with_lost_revision(&pending.run.clone(), line);
                self.say(line);
                self.end(Ending::Failed);
            }
            _ => self.say(line),
        }
    }

    fn told_quiet(&mut self, line: &str) {
        if let Phase::Working { quiet, .. } = &mut self.conversation.phase
            && !*quiet
        {
            *quiet = true;
            self.say(line);
        }
    }

    pub(super) fn bury(&mut self, effect: Effect, reason: &str) {
        self.dead.push(Dead { effect, reason: reason.to_owned() });
    }
}
