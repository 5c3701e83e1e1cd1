//! A VM as the protocol describes it: runs known by their id, a fence, durable reports. What it does when is up to the
//! world; what may be asked of it in which state is decided here.

use std::collections::{BTreeMap, VecDeque};

use crate::id::{BlobId, Fence, RunId, TreeHash};
use crate::machine::{Effect, Outcome};
use crate::protocol::{
    Answer, Decision, DecisionResult, RefusalReason, RunOutcome, RunState, RunStatus, Task, VmEvent,
};
use crate::time::Timestamp;

/// One person's VM.
#[derive(Debug, Default)]
pub(super) struct Vm {
    /// It does not answer before then, and reports nothing.
    pub(super) away_until: Timestamp,
    /// Grows with every restart: what was under way is gone.
    pub(super) life: u64,
    pub(super) runs: BTreeMap<RunId, Run>,
    fence: Fence,
    holder: Option<RunId>,
}

/// What a VM remembers of a run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) phase: Phase,
    /// Not yet taken by a relay.
    pub(super) reports: VecDeque<(u64, VmEvent)>,
    seq: u64,
    /// Inquiries so far.
    asked: u32,
    /// The one that waits for a reply.
    open: Option<Open>,
    /// The latest that was replied to.
    replied: u32,
}

/// An inquiry that waits for a reply, and where the agent goes on then.
#[derive(Clone, Copy, Debug)]
struct Open {
    number: u32,
    step: u32,
    steps: u32,
}

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Working,
    AwaitingApproval { tree: TreeHash },
    Deciding { tree: TreeHash, decision: Decision },
    Cancelling,
    Over { decided: Option<(TreeHash, Decision, DecisionResult)> },
}

/// What a VM does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VmWork {
    /// The agent's next step, of so many.
    Agent { step: u32, steps: u32 },
    /// The agent goes on at this step after an inquiry.
    GoOn { step: u32, steps: u32 },
    /// The agent waits no longer for a reply to this inquiry.
    GiveUp { number: u32 },
    /// Everything of a cancelled run is gone.
    Stop,
    /// The decision under way is carried out.
    CarryOut,
    /// A report was repeated.
    Report,
}

impl Vm {
    /// Whether a call under `fence` may be acted on.
    pub(super) fn passes(&mut self, fence: Fence) -> bool {
        if fence < self.fence {
            return false;
        }
        self.fence = fence;
        true
    }

    /// Act on a call: its answer, and what follows for which run.
    pub(super) fn call(&mut self, effect: &Effect, now: Timestamp) -> (Outcome, Option<VmWork>) {
        match effect {
            Effect::StartRun { run, .. } => self.start(run),
            Effect::CancelRun { run } => self.cancel(run),
            Effect::Decide { run, tree, decision } => self.decide(run, tree, *decision),
            Effect::Probe { run } => (Outcome::Probed { status: self.status(run, now) }, None),
            Effect::Ask { .. } => {
                (Outcome::Answered { answer: Answer { text: "as you see".into(), code: None } }, None)
            }
            Effect::Reply { run, number, .. } => self.reply(run, *number),
            Effect::KeepImage { run, name, .. } => (self.picture(run, name), None),
            Effect::KeepReview { run, .. } if self.runs.contains_key(run) => (Outcome::ReviewKept, None),
            Effect::KeepReview { .. } => (refused(RefusalReason::NotFound), None),
            Effect::Say(_) | Effect::FetchFile { .. } | Effect::Transcribe { .. } | Effect::Introduce { .. } => {
                (Outcome::Done, None)
            }
        }
    }

    /// What a relay has once it has fetched a picture of a run.
    fn picture(&self, run: &RunId, name: &str) -> Outcome {
        if !self.runs.contains_key(run) {
            return refused(RefusalReason::NotFound);
        }
        let blob = BlobId::parse(format!("{run}-{}", name.replace('.', "-"))).expect("made of names");
        Outcome::ImageKept { blob }
    }

    fn start(&mut self, run: &RunId) -> (Outcome, Option<VmWork>) {
        if self.runs.contains_key(run) {
            return (Outcome::Done, None);
        }
        if self.holder.is_some() {
            return (Outcome::busy(None), None);
        }
        self.holder = Some(run.clone());
        self.runs.insert(run.clone(), Run::new(Phase::Working));
        (Outcome::Done, Some(VmWork::Agent { step: 0, steps: 0 }))
    }

    fn cancel(&mut self, run: &RunId) -> (Outcome, Option<VmWork>) {
        // From here on the run is known, so that a late command cannot start it.
        let Some(known) = self.runs.get_mut(run) else {
            self.runs.insert(run.clone(), Run::new(Phase::Cancelling));
            return (Outcome::Done, Some(VmWork::Stop));
        };
        match known.phase {
            Phase::Over { .. } | Phase::Cancelling => (Outcome::Done, None),
            Phase::Deciding { .. } => (Outcome::busy(None), None),
            Phase::Working | Phase::AwaitingApproval { .. } => {
                known.phase = Phase::Cancelling;
                known.open = None;
                (Outcome::Done, Some(VmWork::Stop))
            }
        }
    }

    fn decide(&mut self, run: &RunId, tree: &TreeHash, decision: Decision) -> (Outcome, Option<VmWork>) {
        let Some(known) = self.runs.get_mut(run) else {
            return (refused(RefusalReason::NotFound), None);
        };
        match known.phase.clone() {
            Phase::AwaitingApproval { tree: shown } if shown == *tree => {
                known.phase = Phase::Deciding { tree: shown, decision };
                (Outcome::Done, Some(VmWork::CarryOut))
            }
            Phase::Deciding { tree: shown, decision: accepted } if shown == *tree && accepted == decision => {
                (Outcome::Done, None)
            }
            Phase::Over { decided: Some((shown, made, result)) } if shown == *tree && made == decision => {
                known.report(VmEvent::Decided { decision, result });
                (Outcome::Done, Some(VmWork::Report))
            }
            _ => (refused(RefusalReason::StaleTree), None),
        }
    }

    fn reply(&mut self, run: &RunId, number: u32) -> (Outcome, Option<VmWork>) {
        let late = (refused(RefusalReason::NotFound), None);
        let Some(known) = self.runs.get_mut(run) else { return late };
        if number == known.replied {
            return (Outcome::Done, None);
        }
        match known.open.take_if(|open| open.number == number) {
            Some(Open { step, steps, .. }) => {
                known.replied = number;
                (Outcome::Done, Some(VmWork::GoOn { step, steps }))
            }
            None => late,
        }
    }

    fn status(&self, run: &RunId, now: Timestamp) -> Option<RunStatus> {
        let state = match self.runs.get(run)?.phase {
            Phase::Working => RunState::Running,
            Phase::AwaitingApproval { .. } => RunState::AwaitingApproval,
            Phase::Deciding { .. } => RunState::Deciding,
            Phase::Cancelling => RunState::Cancelling,
            Phase::Over { .. } => RunState::Over,
        };
        Some(RunStatus { run: run.clone(), state, started_at: now, last_output_at: now })
    }

    /// A run has ended, or waits for an answer.
    pub(super) fn finish(&mut self, run: &RunId, outcome: RunOutcome) {
        let phase = match &outcome {
            RunOutcome::Changes { tree, .. } => Phase::AwaitingApproval { tree: tree.clone() },
            _ => Phase::Over { decided: None },
        };
        self.turn_to(run, phase, VmEvent::Finished { outcome, spent: None });
    }

    /// A decision is carried out, or has failed.
    pub(super) fn decided(&mut self, run: &RunId, tree: TreeHash, decision: Decision, result: DecisionResult) {
        let phase = match result {
            DecisionResult::Failed { .. } => Phase::AwaitingApproval { tree },
            _ => Phase::Over { decided: Some((tree, decision, result.clone())) },
        };
        self.turn_to(run, phase, VmEvent::Decided { decision, result });
    }

    fn turn_to(&mut self, run: &RunId, phase: Phase, event: VmEvent) {
        if matches!(phase, Phase::Over { .. }) && self.holder.as_ref() == Some(run) {
            self.holder = None;
        }
        if let Some(known) = self.runs.get_mut(run) {
            known.phase = phase;
            known.open = None;
            known.report(event);
        }
    }

    /// What is not over, or not reported.
    pub(super) fn unfinished(&self) -> Option<String> {
        let open = |run: &Run| !matches!(run.phase, Phase::Over { .. }) || !run.reports.is_empty();
        let (id, run) = self.runs.iter().find(|(_, run)| open(run))?;
        Some(format!("the VM has {id} in {:?} with {} unreported", run.phase, run.reports.len()))
    }
}

impl Run {
    fn new(phase: Phase) -> Self {
        Self { phase, reports: VecDeque::new(), seq: 0, asked: 0, open: None, replied: 0 }
    }

    /// The agent asks, and will go on at this step; the number of the inquiry.
    pub(super) fn ask(&mut self, step: u32, steps: u32) -> u32 {
        self.asked += 1;
        self.open = Some(Open { number: self.asked, step, steps });
        self.asked
    }

    /// The agent waits no longer for a reply to this inquiry; where it goes on, if it did wait.
    pub(super) fn give_up(&mut self, number: u32) -> Option<VmWork> {
        let Open { step, steps, .. } = self.open.take_if(|open| open.number == number)?;
        self.report(VmEvent::InquiryOver { number });
        Some(VmWork::GoOn { step, steps })
    }

    pub(super) fn report(&mut self, event: VmEvent) {
        self.seq += 1;
        self.reports.push_back((self.seq, event));
    }
}

fn refused(reason: RefusalReason) -> Outcome {
    Outcome::Refused { reason: Some(reason), message: format!("{reason:?}") }
}

/// The task of a start, which is what people asked for.
pub(super) fn task(effect: &Effect) -> Option<&Task> {
    match effect {
        Effect::StartRun { task, .. } => Some(task),
        _ => None,
    }
}
