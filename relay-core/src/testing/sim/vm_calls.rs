//! The VMs in the world: calls that arrive, work that takes time, reports that go out.

use std::time::Duration;

use super::flight::Flight;
use super::history::{Begun, Decided, Replied, VmCall};
use super::vm::{Phase, VmWork, task};
use super::world::{Happening, Origin, World};
use crate::id::{RunId, TreeHash};
use crate::machine::{Effect, Event, Outcome};
use crate::protocol::{
    ChangedFiles, Decision, DecisionResult, DiffStat, Drawing, InquiryOption, RefusalReason, Review, RunOutcome,
    VmEvent,
};

impl World {
    /// The VM's answer to a call; `None` when it gives none.
    pub(super) fn vm_takes(&mut self, flight: &Flight) -> Option<Outcome> {
        let (who, now, fence) = (flight.who, self.now, flight.performance.fence);
        let (effect, conversation) = (&flight.performance.queued.effect, &flight.performance.conversation.id);
        if self.vms[who].away_until > now {
            return None;
        }
        if !self.vms[who].passes(fence) {
            let reason = Some(RefusalReason::StaleFence);
            return Some(Outcome::Refused { reason, message: "overtaken".into() });
        }
        let call = VmCall { conversation: conversation.clone(), fence, effect: effect.clone() };
        self.history.vm_calls.push(call);
        let (outcome, work) = self.vms[who].call(effect, now);
        if let (Some(work), Some(run)) = (work, run_of(effect)) {
            if let (VmWork::Agent { .. }, Some(task)) = (work, task(effect)) {
                let (conversation, run, task) = (conversation.clone(), run.clone(), task.clone());
                self.history.begun.push(Begun { conversation, run, task });
            }
            if let Effect::Reply { number, reply, .. } = effect {
                let (run, number, reply) = (run.clone(), *number, reply.clone());
                self.history.replied.push(Replied { run, number, reply });
            }
            self.put_to_work(who, run, work);
        }
        Some(outcome)
    }

    fn put_to_work(&mut self, who: usize, run: &RunId, work: VmWork) {
        let (work, least_ms, most_ms) = match work {
            VmWork::Agent { .. } => {
                let steps = 1 + u32::try_from(self.index(4)).unwrap_or(0);
                (VmWork::Agent { step: 0, steps }, 20, 800)
            }
            VmWork::GoOn { step, steps } => (VmWork::Agent { step, steps }, 20, 800),
            VmWork::GiveUp { .. } => (work, 5_000, 60_000),
            VmWork::Stop => (work, 50, 3_000),
            // Now and then longer than a run may be silent.
            VmWork::CarryOut if self.percent(10) => (work, 15_000, 30_000),
            VmWork::CarryOut => (work, 100, 4_000),
            VmWork::Report => return self.send_reports(who, run),
        };
        let life = self.vms[who].life;
        self.after_some(least_ms, most_ms, Happening::Vm { who, life, run: run.clone(), work });
    }

    pub(super) fn vm_works(&mut self, who: usize, life: u64, run: &RunId, work: VmWork) {
        if self.vms[who].life != life {
            return;
        }
        let Some(phase) = self.vms[who].runs.get(run).map(|known| known.phase.clone()) else { return };
        match (work, phase) {
            (VmWork::Agent { step, steps }, Phase::Working) if step > 0 && step < steps && self.percent(25) => {
                self.asks(who, run, step + 1, steps);
            }
            (VmWork::GiveUp { number }, Phase::Working) => {
                let work = self.vms[who].runs.get_mut(run).and_then(|known| known.give_up(number));
                let Some(work) = work else { return };
                self.put_to_work(who, run, work);
            }
            (VmWork::Agent { step, steps }, Phase::Working) if step < steps => {
                let event = match step {
                    0 => VmEvent::Started { driver: "simulated".into() },
                    _ if self.percent(10) => VmEvent::Image { name: "shot.png".into(), caption: String::new() },
                    _ if self.percent(30) => VmEvent::Beat,
                    _ => VmEvent::Progress { text: format!("step {step} of {steps}") },
                };
                if let Some(known) = self.vms[who].runs.get_mut(run) {
                    known.report(event);
                }
                let work = VmWork::Agent { step: step + 1, steps };
                let most_ms = if self.percent(8) { 45_000 } else { 6_000 };
                self.after_some(100, most_ms, Happening::Vm { who, life, run: run.clone(), work });
            }
            (VmWork::Agent { .. }, Phase::Working) => {
                let outcome = self.draw_outcome(who, run);
                self.vms[who].finish(run, outcome);
            }
            (VmWork::Stop, Phase::Cancelling) => self.vms[who].finish(run, RunOutcome::Cancelled),
            (VmWork::CarryOut, Phase::Deciding { tree, decision }) => self.carry_out(who, run, tree, decision),
            _ => return,
        }
        self.send_reports(who, run);
    }

    /// The agent asks the person, with some options or none.
    fn asks(&mut self, who: usize, run: &RunId, step: u32, steps: u32) {
        let labels = &["Left", "Right", "Approve", "Neither"][..self.index(5)];
        let option = |label: &&str| InquiryOption { label: (*label).to_owned(), description: String::new() };
        let options = labels.iter().map(option).collect();
        let Some(known) = self.vms[who].runs.get_mut(run) else { return };
        let number = known.ask(step, steps);
        let text = format!("which way, for the {number}th time?");
        known.report(VmEvent::Inquiry { number, text, options, several: false, timeout_ms: 60_000 });
        self.put_to_work(who, run, VmWork::GiveUp { number });
    }

    fn draw_outcome(&mut self, who: usize, run: &RunId) -> RunOutcome {
        match self.index(10) {
            0 => RunOutcome::Answered { text: "all is well".into() },
            1 => RunOutcome::Failed { reason: "no luck".into(), kept: self.percent(50).then(|| format!("kept/{run}")) },
            _ => RunOutcome::Changes {
                summary: "done".into(),
                tree: TreeHash::parse(format!("{who:02x}{:0>6}", run.number())).expect("digits"),
                stat: DiffStat { files: 1, insertions: 1, deletions: 0 },
                diff: "+a line".into(),
                diff_cut: false,
                files: ChangedFiles::default(),
                drawings: if self.percent(20) { Self::drawings() } else { Vec::new() },
                review: self.percent(60).then_some(Review { parts: 3 }),
            },
        }
    }

    fn drawings() -> Vec<Drawing> {
        let drawing = |name: &str, document| Drawing { name: name.into(), caption: "1 file".into(), document };
        vec![drawing("diff.png", false), drawing("diff.pdf", true)]
    }

    fn carry_out(&mut self, who: usize, run: &RunId, tree: TreeHash, decision: Decision) {
        let succeeded = !self.mishap(self.plan.decision_failure_percent);
        let result = match decision {
            _ if !succeeded => DecisionResult::Failed { reason: "the remote said no".into() },
            Decision::Approve => {
                DecisionResult::PullRequest { url: format!("https://example.org/{run}"), branch: run.to_string() }
            }
            Decision::Reject => DecisionResult::RolledBack,
            Decision::Park => DecisionResult::Parked { branch: format!("parked/{run}") },
        };
        self.note(|_| format!("vm {who}: {decision:?} {run}: {result:?}"));
        self.history.decided.push(Decided {
            conversation: self.people[who].id.clone(),
            run: run.clone(),
            tree: tree.clone(),
            decision,
            succeeded,
            at: self.now,
        });
        self.vms[who].decided(run, tree, decision, result);
    }

    /// Make sure that what waits first for `run` is on its way.
    fn send_reports(&mut self, who: usize, run: &RunId) {
        let first = self.vms[who].runs.get(run).and_then(|known| known.reports.front());
        if let Some(&(seq, _)) = first {
            self.after_some(1, 100, Happening::Reports { who, run: run.clone(), seq });
        }
    }

    /// Hand the first report to a relay; again until one has taken it.
    pub(super) fn reports(&mut self, who: usize, run: RunId, seq: u64) {
        let first = self.vms[who].runs.get(&run).and_then(|known| known.reports.front()).cloned();
        let Some((_, event)) = first.filter(|(first, _)| *first == seq) else { return };
        let away_until = self.vms[who].away_until;
        if away_until > self.now {
            return self.at(away_until, Happening::Reports { who, run, seq });
        }
        let report = Event::Report { run: run.clone(), seq, event };
        self.request(who, report, Origin::Report { who, run: run.clone(), seq });
        self.after_some(2_000, 6_000, Happening::Reports { who, run, seq });
    }

    pub(super) fn report_accepted(&mut self, who: usize, run: RunId, seq: u64) {
        if let Some(known) = self.vms[who].runs.get_mut(&run)
            && known.reports.front().is_some_and(|(first, _)| *first == seq)
        {
            known.reports.pop_front();
            self.send_reports(who, &run);
        }
    }

    /// A working run is lost and told so; everything else goes on.
    pub(super) fn restart_vm(&mut self, who: usize) {
        self.vms[who].life += 1;
        let away = self.between(Duration::from_millis(200), Duration::from_secs(8));
        self.vms[who].away_until = self.now + away;
        let open: Vec<(RunId, Phase)> =
            self.vms[who].runs.iter().map(|(run, known)| (run.clone(), known.phase.clone())).collect();
        for (run, phase) in open {
            match phase {
                Phase::Working => {
                    let kept = self.percent(50).then(|| format!("kept/{run}"));
                    self.vms[who].finish(&run, RunOutcome::Interrupted { kept });
                    self.send_reports(who, &run);
                }
                Phase::Cancelling => self.put_to_work(who, &run, VmWork::Stop),
                Phase::Deciding { .. } => self.put_to_work(who, &run, VmWork::CarryOut),
                Phase::AwaitingApproval { .. } | Phase::Over { .. } => {}
            }
        }
    }
}

fn run_of(effect: &Effect) -> Option<&RunId> {
    match effect {
        Effect::StartRun { run, .. }
        | Effect::CancelRun { run }
        | Effect::Decide { run, .. }
        | Effect::Reply { run, .. } => Some(run),
        _ => None,
    }
}
