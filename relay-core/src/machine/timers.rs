//! What is done when a deadline passes. Each timer is taken out before it acts, so that it acts once.

use crate::machine::effect::Effect;
use crate::machine::{Phase, Step, Timer, text};
use crate::protocol::Decision;

impl Step<'_> {
    pub(super) fn due(&mut self) {
        let now = self.now;
        let mut due: Vec<(crate::time::Timestamp, Timer)> =
            self.conversation.timers.iter().filter(|&(_, &at)| at <= now).map(|(&timer, &at)| (at, timer)).collect();
        due.sort_unstable();
        for (at, timer) in due {
            // One that ran out may have cleared or set another anew.
            if self.conversation.timers.get(&timer) == Some(&at) {
                self.conversation.timers.remove(&timer);
                self.fire(timer);
            }
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::WakingNotice => {
                let in_silence =
                    matches!(&self.conversation.phase, Phase::Deciding { pending, .. } if pending.parking_failed);
                if let Some(waking) = &mut self.conversation.waking
                    && !waking.told
                    && !in_silence
                {
                    waking.told = true;
                    self.say_notice(text::WAKING);
                }
            }
            Timer::Progress => self.flush_progress(),
            Timer::Silence => self.silence(),
            Timer::Transcript => self.nothing_heard(),
            Timer::ApprovalWarning => {
                if let Phase::AwaitingApproval(pending) = &self.conversation.phase
                    && !pending.parking_failed
                {
                    let line = text::approval_warning(&pending.run, self.rules.approval_warning);
                    self.say(line);
                }
            }
            Timer::Approval => {
                if let Phase::AwaitingApproval(pending) = &self.conversation.phase {
                    self.decide(pending.clone(), Decision::Park);
                }
            }
        }
    }

    /// Ask again what should have been reported by now. All of these are idempotent at the VM.
    fn silence(&mut self) {
        if self.conversation.drawn.is_some() {
            // Its drawings have had long enough.
            self.show_drawn();
        }
        let effect = match &self.conversation.phase {
            Phase::Working { run, .. } => Effect::Probe { run: run.clone() },
            Phase::Cancelling { run, unreachable: false } => Effect::CancelRun { run: run.clone() },
            Phase::Deciding { pending, decision, .. } => {
                Effect::Decide { run: pending.run.clone(), tree: pending.tree.clone(), decision: *decision }
            }
            _ => return,
        };
        self.set(Timer::Silence, self.rules.silence_timeout);
        // The VM is being called already; another effect behind it would say nothing new.
        if !self.conversation.retries.contains_key(&effect.lane()) {
            self.leave_deciding();
            let seq = self.emit(effect);
            if let Phase::Deciding { effect, .. } = &mut self.conversation.phase {
                *effect = seq;
            }
        }
    }
}
