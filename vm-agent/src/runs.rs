//! The life of a run, from the command to the last report. One run at a time holds the worktree, from its acceptance until
//! it is over; waiting for a decision is part of that.
//!
//! This file holds the state and answers requests, at once. What takes time happens in a task per step: `work` (the
//! agent), `conclude` (how it ended, with `drawings` and a `review`), `decide` (what becomes of the diff), `recover` (after a restart). Every step
//! writes the journal before it tells anyone. `questions` are answered without a run.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use relay_core::id::{ConversationId, RunId, TreeHash};
use relay_core::protocol::{
    Accepted, ApproveRequest, CancelRequest, Decision, REPLY_CHARS_MAX, RefusalReason, ReplyRequest, Report, RunState,
    RunStatus, Task, VmEvent,
};
use relay_core::telemetry::traces;
use relay_core::time::Timestamp;
use relay_core::trace::TraceParent;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::clock;
use crate::desk::{Desk, Replied};
use crate::driver::AgentDriver;
use crate::github::GitHub;
use crate::images::Images;
use crate::journal::{Journal, Phase, RunLog, RunRecord};
use crate::refusal::Refused;
use crate::render::Renderer;
use crate::repositories::Repositories;
use crate::reviews::Reviews;
use crate::text::clip;
use crate::uploads::Uploads;
use crate::volume::{Trouble, Volume};

mod conclude;
mod decide;
mod drawings;
mod questions;
mod recover;
mod review;
mod work;

/// What runs need of the rest of the process.
pub struct Surroundings {
    /// Who works.
    pub driver: Arc<dyn AgentDriver>,
    /// Where everything lies that outlives this process.
    pub volume: Volume,
    /// The repositories on the volume.
    pub repositories: Repositories,
    /// Cloned when no repository is there.
    pub repo_url: Option<String>,
    /// Opens pull requests.
    pub github: Option<GitHub>,
    /// Keeps pictures and documents.
    pub images: Images,
    /// Keeps the reviews of diffs that wait.
    pub reviews: Reviews,
    /// Draws diffs.
    pub renderer: Renderer,
    /// Keeps files that people sent.
    pub uploads: Uploads,
    /// A run that takes longer is stopped.
    pub run_timeout: Duration,
}

/// All runs of this VM. Clones are the same runs.
#[derive(Clone)]
pub struct Runs(Arc<Inner>);

struct Inner {
    surroundings: Surroundings,
    state: Mutex<State>,
    appended: Notify,
    last_delivered_at: Mutex<Option<Timestamp>>,
    cloning: tokio::sync::Mutex<()>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

struct State {
    journal: Journal,
    holder: Option<Holder>,
}

/// Who holds the worktree.
enum Holder {
    Run(Active),
    /// A question that moves it, like a checkout.
    Question,
}

struct Active {
    run: RunId,
    stop: CancellationToken,
    desk: Arc<Desk>,
    last_output_at: Timestamp,
    cancelled_at: Option<Instant>,
    /// Whether its end was measured: with a diff that waits, before it is over.
    is_measured: bool,
}

/// Ends a question's hold on the worktree.
struct Hold<'a>(&'a Runs);

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runs").field("driver", &self.0.surroundings.driver.name()).finish_non_exhaustive()
    }
}

impl Runs {
    /// The runs in `journal`, none of them resumed yet.
    pub fn new(journal: Journal, surroundings: Surroundings) -> Self {
        let state = Mutex::new(State { journal, holder: None });
        let (appended, cloning, tasks) = (Notify::new(), tokio::sync::Mutex::new(()), TaskTracker::new());
        let (last_delivered_at, shutdown) = (Mutex::new(None), CancellationToken::new());
        Self(Arc::new(Inner { surroundings, state, appended, last_delivered_at, cloning, tasks, shutdown }))
    }

    /// Accept a run and begin it. One that has ended reports its end again: whoever starts it does not know.
    pub fn start(&self, conversation: &ConversationId, run: RunId, task: Task) -> Result<Accepted, Refused> {
        let mut state = self.state();
        if let Some(log) = state.journal.log_mut(&run) {
            self.repeat_end(log)?;
            return Ok(Accepted { run, repeated: true });
        }
        if self.0.shutdown.is_cancelled() {
            return Err(Refused::new(RefusalReason::Unavailable, "The VM is shutting down. Try again in a moment."));
        }
        if let Some((forgotten, tree)) = state.awaiting_of(conversation) {
            drop(state);
            return Err(self.park_forgotten(forgotten, tree));
        }
        state.free()?;
        let volume = &self.0.surroundings.volume;
        if let Some(trouble) = volume.trouble() {
            tracing::error!(?trouble, %run, "a run is refused, because the volume is not in order");
            return Err(Refused::volume(trouble));
        }
        volume.take_reserve();
        let record = new_record(conversation.clone(), run.clone(), Some(task), Phase::Accepted);
        state.journal.create(record).map_err(|error| Refused::disk(&error))?;
        let stop = self.hold(&mut state, &run);
        drop(state);
        tracing::info!(%run, "run accepted");
        self.spawn({
            let (runs, run) = (self.clone(), run.clone());
            async move { runs.work(run, stop).await }
        });
        Ok(Accepted { run, repeated: false })
    }

    /// A conversation asks for its next run only when the one before is decided. One that asks while a diff of its own waits
    /// has lost its memory of it: the work is kept, and the files are free for the next try.
    fn park_forgotten(&self, run: RunId, tree: TreeHash) -> Refused {
        tracing::warn!(%run, "the relay has forgotten a run that waits for a decision; its work is being parked");
        let parked = self.decide_on(run, &tree, Decision::Park);
        parked.err().unwrap_or_else(|| {
            Refused::new(
                RefusalReason::Busy,
                "Earlier work still waited for your answer; it is kept on a branch first.",
            )
        })
    }

    /// Stop a run, or make sure that it cannot start. One that is over reports its end again.
    pub fn cancel(&self, request: &CancelRequest) -> Result<Accepted, Refused> {
        let run = request.run.clone();
        let mut state = self.state();
        let Some(log) = state.journal.log_mut(&run) else {
            // From here on the run is known, so that a late command cannot start it.
            let record = new_record(request.conversation.clone(), run.clone(), None, Phase::Cancelling);
            state.journal.create(record).map_err(|error| Refused::disk(&error))?;
            drop(state);
            self.spawn_conclude_cancelled(&run);
            return Ok(Accepted { run, repeated: false });
        };
        let phase = log.record().phase.clone();
        match phase {
            Phase::Over { .. } | Phase::Cancelling => {
                self.repeat_end(log)?;
                return Ok(Accepted { run, repeated: true });
            }
            Phase::Deciding { .. } => {
                return Err(Refused::new(RefusalReason::Busy, "A decision on this run is being carried out."));
            }
            Phase::Accepted | Phase::Working | Phase::AwaitingApproval { .. } => {
                log.cancel().map_err(|error| Refused::disk(&error))?;
            }
        }
        tracing::info!(%run, "run is being cancelled");
        if let Some(active) = state.active(&run) {
            active.cancelled_at = Some(Instant::now());
            active.stop.cancel();
        }
        if let Phase::AwaitingApproval { .. } = phase {
            drop(state);
            self.spawn_conclude_cancelled(&run);
        }
        Ok(Accepted { run, repeated: false })
    }

    /// Hand the agent of a run what the person says.
    pub fn reply(&self, request: ReplyRequest) -> Result<Accepted, Refused> {
        let ReplyRequest { run, number, reply, .. } = request;
        let desk = self.state().active(&run).map(|active| Arc::clone(&active.desk));
        let repeated = match desk.map(|desk| desk.reply(number, clip(&reply, REPLY_CHARS_MAX))) {
            Some(Replied::Now) => false,
            Some(Replied::Before) => true,
            Some(Replied::Late) | None => {
                return Err(Refused::not_found("The agent no longer waits for an answer."));
            }
        };
        Ok(Accepted { run, repeated })
    }

    /// Carry a decision out, or report again what became of it.
    pub fn decide(&self, request: &ApproveRequest) -> Result<Accepted, Refused> {
        self.decide_on(request.run.clone(), &request.tree, request.decision)
    }

    fn decide_on(&self, run: RunId, shown: &TreeHash, decision: Decision) -> Result<Accepted, Refused> {
        let mut state = self.state();
        let Some(log) = state.journal.log_mut(&run) else {
            return Err(Refused::not_found("This VM knows no such run."));
        };
        match log.record().phase.clone() {
            Phase::AwaitingApproval { tree } if tree == *shown => {
                let after_seq = log.last_seq();
                let phase = Phase::Deciding { tree: tree.clone(), decision, after_seq };
                log.update(|record| record.phase = phase).map_err(|error| Refused::disk(&error))?;
                drop(state);
                tracing::info!(%run, ?decision, "decision accepted");
                let runs = self.clone();
                let decided = run.clone();
                // A part of the trace of whoever decided, which does not wait for it.
                let span = || tracing::info_span!(parent: None, "decide", %run, ?decision);
                let span = traces::begin(traces::current().as_ref(), span);
                let step = async move { runs.carry_out(&decided, tree, decision).await };
                self.spawn(step.instrument(span));
                Ok(Accepted { run, repeated: false })
            }
            Phase::Deciding { tree, decision: accepted, .. } if tree == *shown && accepted == decision => {
                Ok(Accepted { run, repeated: true })
            }
            Phase::Over { decided: Some(decided) } if decided.tree == *shown && decided.decision == decision => {
                self.repeat_end(log)?;
                Ok(Accepted { run, repeated: true })
            }
            phase => Err(Refused::new(RefusalReason::StaleTree, decide::why_not(&phase, shown))),
        }
    }

    /// Where a run is.
    pub fn status(&self, run: &RunId) -> Result<RunStatus, Refused> {
        let mut state = self.state();
        let last_output_at = state.active(run).map(|active| active.last_output_at);
        let Some(log) = state.journal.log(run) else { return Err(Refused::not_found("This VM knows no such run.")) };
        let RunRecord { run, accepted_at, phase, .. } = log.record().clone();
        let state = match phase {
            Phase::Accepted | Phase::Working => RunState::Running,
            Phase::AwaitingApproval { .. } => RunState::AwaitingApproval,
            Phase::Deciding { .. } => RunState::Deciding,
            Phase::Cancelling => RunState::Cancelling,
            Phase::Over { .. } => RunState::Over,
        };
        Ok(RunStatus { run, state, started_at: accepted_at, last_output_at: last_output_at.unwrap_or(accepted_at) })
    }

    /// The run that holds the worktree.
    pub fn active_run(&self) -> Option<RunId> {
        match &self.state().holder {
            Some(Holder::Run(active)) => Some(active.run.clone()),
            Some(Holder::Question) | None => None,
        }
    }

    /// What the driver is called.
    pub fn driver(&self) -> &'static str {
        self.0.surroundings.driver.name()
    }

    /// The version of the driver's program, if it has one and tells.
    pub async fn driver_version(&self) -> Option<String> {
        self.0.surroundings.driver.version().await
    }

    /// The current repository's name, if there is one that can be read.
    pub async fn repository(&self) -> Option<String> {
        let current = self.0.surroundings.repositories.current().await;
        current.ok().flatten().map(|repository| repository.name().to_owned())
    }

    /// The files of all runs.
    pub fn uploads(&self) -> &Uploads {
        &self.0.surroundings.uploads
    }

    /// The pictures of all runs.
    pub fn images(&self) -> &Images {
        &self.0.surroundings.images
    }

    /// The reviews of all runs.
    pub fn reviews(&self) -> &Reviews {
        &self.0.surroundings.reviews
    }

    /// Reports that were not delivered yet.
    pub fn undelivered(&self) -> usize {
        self.state().journal.waiting()
    }

    /// Whether something would be lost or late if the process ended now.
    pub fn is_busy(&self) -> bool {
        let state = self.state();
        state.holder.is_some() || state.journal.waiting() > 0
    }

    /// The runs that have something to report.
    pub fn reporting(&self) -> Vec<RunId> {
        let state = self.state();
        let waiting = state.journal.logs().filter(|log| log.next_report().is_some());
        waiting.map(|log| log.record().run.clone()).collect()
    }

    /// The next report of a run.
    pub fn next_report(&self, run: &RunId) -> Option<Report> {
        self.state().journal.log(run)?.next_report()
    }

    /// A report was delivered, or never will be.
    pub fn delivered(&self, run: &RunId, seq: u64) {
        *self.0.last_delivered_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now());
        if let Some(log) = self.state().journal.log_mut(run)
            && let Err(error) = log.delivered(seq)
        {
            // It will be reported again after a restart, which relays expect.
            tracing::warn!(%error, %run, "a delivery cannot be written down");
        }
    }

    /// When that was last, since the start of this process.
    pub fn last_delivered_at(&self) -> Option<Timestamp> {
        *self.0.last_delivered_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when something was appended to be reported since this was called.
    pub fn appended(&self) -> Notified<'_> {
        self.0.appended.notified()
    }

    /// Accept no more runs, interrupt the one at work, and wait until every step is written down.
    pub async fn shut_down(&self) {
        self.0.shutdown.cancel();
        self.0.tasks.close();
        tokio::join!(self.0.tasks.wait(), self.0.surroundings.repositories.shut_down());
    }

    /// The trace that a run is part of.
    pub fn trace(&self, run: &RunId) -> Option<TraceParent> {
        self.record(run)?.trace
    }

    fn spawn_conclude_cancelled(&self, run: &RunId) {
        let (runs, run) = (self.clone(), run.clone());
        self.spawn(async move { runs.conclude_cancelled(&run).await });
    }

    fn spawn(&self, step: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn(step);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Add an event to a run's reports; what was held back on the disk is for it.
    fn report(&self, run: &RunId, event: VmEvent) -> io::Result<()> {
        let append = || self.with_log(run, |log| log.append(event.clone()));
        append().or_else(|error| if self.made_room(&error) { append() } else { Err(error) })?;
        self.0.appended.notify_one();
        Ok(())
    }

    /// Whether a write that failed so may be tried again, because there is room now.
    pub fn made_room(&self, error: &io::Error) -> bool {
        Trouble::of(error) == Trouble::Full && self.0.surroundings.volume.give_up_reserve()
    }

    /// Report again how a run ended, or the diff that waits, unless that is still to be reported for the first time.
    fn repeat_end(&self, log: &mut RunLog) -> Result<(), Refused> {
        let has_ended = matches!(log.record().phase, Phase::Over { .. } | Phase::AwaitingApproval { .. });
        if has_ended && log.next_report().is_none() {
            log.repeat_end().map_err(|error| Refused::disk(&error))?;
            self.0.appended.notify_one();
        }
        Ok(())
    }

    /// Work on a run that must be known.
    fn with_log<T>(&self, run: &RunId, work: impl FnOnce(&mut RunLog) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        work(state.journal.log_mut(run).ok_or_else(|| io::Error::other("the run is not in the journal"))?)
    }

    /// A run's record as it is now.
    fn record(&self, run: &RunId) -> Option<RunRecord> {
        Some(self.state().journal.log(run)?.record().clone())
    }

    /// Give the worktree to a run. What is returned stops it; so does the end of this process.
    fn hold(&self, state: &mut State, run: &RunId) -> CancellationToken {
        let stop = self.0.shutdown.child_token();
        let (stop_it, desk) = (stop.clone(), Arc::default());
        let active = Active {
            run: run.clone(),
            stop: stop_it,
            desk,
            last_output_at: clock::now(),
            cancelled_at: None,
            is_measured: false,
        };
        state.holder = Some(Holder::Run(active));
        stop
    }

    /// Hold the worktree for the time of a question.
    fn hold_for_question(&self) -> Result<Hold<'_>, Refused> {
        let mut state = self.state();
        state.free()?;
        state.holder = Some(Holder::Question);
        Ok(Hold(self))
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        self.0.state().holder = None;
    }
}

impl State {
    fn free(&self) -> Result<(), Refused> {
        match self.holder {
            None => Ok(()),
            Some(_) => Err(Refused::new(RefusalReason::Busy, "Another run needs the files. Wait until it is over.")),
        }
    }

    /// The run of `conversation` that holds the worktree and waits for a decision, and what was shown of it.
    fn awaiting_of(&self, conversation: &ConversationId) -> Option<(RunId, TreeHash)> {
        let Some(Holder::Run(active)) = &self.holder else { return None };
        let record = self.journal.log(&active.run)?.record();
        match &record.phase {
            Phase::AwaitingApproval { tree } if record.conversation == *conversation => {
                Some((active.run.clone(), tree.clone()))
            }
            _ => None,
        }
    }

    fn active(&mut self, run: &RunId) -> Option<&mut Active> {
        match &mut self.holder {
            Some(Holder::Run(active)) if active.run == *run => Some(active),
            _ => None,
        }
    }

    /// The run no longer needs the worktree.
    fn release(&mut self, run: &RunId) {
        if self.active(run).is_some() {
            self.holder = None;
        }
    }
}

fn new_record(conversation: ConversationId, run: RunId, task: Option<Task>, phase: Phase) -> RunRecord {
    let (accepted_at, repository, snapshot, cost_microusd) = (clock::now(), None, None, None);
    let trace = traces::current();
    RunRecord { run, conversation, task, accepted_at, repository, snapshot, cost_microusd, trace, phase }
}
