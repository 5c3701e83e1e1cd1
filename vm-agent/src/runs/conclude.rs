//! How a run ends: what it changed is looked at, the worktree put back where that is due, and the outcome reported, once.
//!
//! A request to cancel may come until the outcome is written down; from then on it meets the run's next phase.

use std::io;
use std::time::Duration;

use relay_core::id::RunId;
use relay_core::protocol::changed::Beside;
use relay_core::protocol::{ANSWER_CHARS_MAX, BODY_BYTES_MAX, ChangedFiles, RunOutcome, Spent, Task, VmEvent};
use serde::Serialize;

use super::Runs;
use super::work::Ending;
use crate::clock;
use crate::git::GitError;
use crate::git::park::branch_of;
use crate::git::repository::Repository;
use crate::git::snapshot::{Changes, Snapshot};
use crate::journal::{Phase, RunLog, RunRecord};
use crate::metrics::metrics;
use crate::text::{clip, head};

/// From one try to write to a disk that does not take it to the next.
const DISK_RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Tries to put the worktree back.
const RESTORE_TRIES: u32 = 3;
/// Places that are told where nothing else is.
const BESIDE_TOLD_MAX: usize = 20;
/// Room in a report's body for everything but summary, diff and files.
const ENVELOPE_BYTES_MAX: usize = 4 * 1024;

/// A run's files, as they are now and as they were.
type Scene = (Repository, Snapshot);

impl Runs {
    /// End a run whose work ended. Does nothing when this process ends before the outcome is written down: the next one
    /// finds the run as it is in the journal.
    pub(super) async fn conclude(&self, run: &RunId, ending: Ending) {
        let is_cancelling = || self.record(run).is_some_and(|record| record.phase == Phase::Cancelling);
        let mut finished = false;
        if !is_cancelling() {
            let outcome = self.outcome(run, ending).await;
            let outcome = self.with_drawings(run, outcome).await;
            let outcome = self.with_review(run, outcome).await;
            self.tell_trouble(run);
            let phase = match &outcome {
                RunOutcome::Changes { tree, .. } => Phase::AwaitingApproval { tree: tree.clone() },
                _ => Phase::Over { decided: None },
            };
            finished = self.finish(run, outcome, phase).await;
        }
        // Once it is finished, a request to cancel has a step of its own.
        if !finished && is_cancelling() {
            self.conclude_cancelled(run).await;
        }
    }

    /// End a run that a request cancelled, and of which no process is left.
    pub(super) async fn conclude_cancelled(&self, run: &RunId) {
        let outcome = match self.put_back(run).await {
            Ok(()) => RunOutcome::Cancelled,
            Err(error) => failed(format!("The run is stopped, but its files could not be put back: {error}"), None),
        };
        self.tell_trouble(run);
        let over = Phase::Over { decided: None };
        if !self.end_phase(run, VmEvent::Finished { outcome, spent: None }, over).await {
            return;
        }
        self.0.appended.notify_one();
        self.forget_review(run);
        self.measure(run, "cancelled");
        let mut state = self.state();
        if let Some(cancelled_at) = state.active(run).and_then(|active| active.cancelled_at) {
            metrics().cancelled(cancelled_at.elapsed());
        }
        state.release(run);
        drop(state);
        tracing::info!(%run, "run cancelled");
    }

    /// Each run once, when its work ends: not what never came, nor how long people take to decide.
    fn measure(&self, run: &RunId, end: &'static str) {
        let was_measured =
            self.state().active(run).is_some_and(|active| std::mem::replace(&mut active.is_measured, true));
        if let Some(record) = self.record(run).filter(|record| record.task.is_some() && !was_measured) {
            metrics().run_ended(self.driver(), end, clock::now().since(record.accepted_at));
        }
    }

    /// A run may have filled the disk, and the person can do something about that. Told last: what was held back for reports must not
    /// go to anything else.
    fn tell_trouble(&self, run: &RunId) {
        if let Some(trouble) = self.0.surroundings.volume.trouble() {
            tracing::error!(?trouble, %run, "the volume is not in order at the end of a run");
            let told = self.report(run, VmEvent::Progress { text: format!("⚠️ {trouble}") });
            if let Err(error) = told {
                tracing::warn!(%error, %run, "a report cannot be written down; leaving it out");
            }
        }
    }

    /// Write an outcome down, unless a request to cancel came first; false when it is not, or not wholly, written down.
    async fn finish(&self, run: &RunId, outcome: RunOutcome, phase: Phase) -> bool {
        tracing::info!(%run, outcome = kind(&outcome), "run ended");
        let is_over = matches!(phase, Phase::Over { .. });
        let spent = self.record(run).and_then(|record| spent(&record, &outcome));
        let end = kind(&outcome);
        let event = VmEvent::Finished { outcome, spent };
        let finished = self.unless_cancelling(run, |log| log.append(event.clone())).await
            && self.unless_cancelling(run, |log| log.update(|record| record.phase = phase.clone())).await;
        self.0.appended.notify_one();
        if finished {
            self.measure(run, end);
        }
        if finished && is_over {
            self.state().release(run);
        }
        finished
    }

    async fn unless_cancelling(&self, run: &RunId, write: impl Fn(&mut RunLog) -> io::Result<()>) -> bool {
        let write = |log: &mut RunLog| match log.record().phase {
            Phase::Cancelling => Ok(false),
            _ => write(log).map(|()| true),
        };
        self.written(run, write).await.unwrap_or(false)
    }

    /// Write down what ended a phase, then the next phase; false when this process ends before that is done.
    pub(super) async fn end_phase(&self, run: &RunId, event: VmEvent, next: Phase) -> bool {
        self.written(run, |log| log.append(event.clone())).await.is_some()
            && self.written(run, |log| log.update(|record| record.phase = next.clone())).await.is_some()
    }

    /// Write to the journal, as long as it takes: without that, nobody would learn what became of the run. Nothing when
    /// this process ends first.
    async fn written<T>(&self, run: &RunId, write: impl Fn(&mut RunLog) -> io::Result<T>) -> Option<T> {
        loop {
            match self.with_log(run, &write) {
                Ok(done) => return Some(done),
                Err(error) if self.made_room(&error) => continue,
                Err(error) => tracing::error!(%error, %run, "the journal cannot be written; trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(DISK_RETRY_INTERVAL) => {}
                () = self.0.shutdown.cancelled() => return None,
            }
        }
    }

    async fn outcome(&self, run: &RunId, ending: Ending) -> RunOutcome {
        let scene = match self.scene(run).await {
            Ok(scene) => scene,
            Err(error) => {
                let reason = format!("The run's repository cannot be opened: {error}\nIts files are left as they are.");
                return failed(reason, None);
            }
        };
        match (ending, scene) {
            (Ending::Done(text), None) => answered(&text),
            (Ending::Done(text), Some(scene)) => match scene.0.changes_and_beside(&scene.1).await {
                Ok((Some(changes), _)) => changed(&text, changes),
                Ok((None, beside)) => answered_beside(&text, beside),
                Err(error) => {
                    let reason = format!("The agent is done, but its changes could not be read: {error}");
                    failed_at(run, reason, &scene).await
                }
            },
            (Ending::Failed(reason), None) => failed(reason, None),
            (Ending::Failed(reason), Some(scene)) => failed_at(run, reason, &scene).await,
            (Ending::Stopped | Ending::Interrupted, None) => RunOutcome::Interrupted { kept: None },
            (Ending::Stopped | Ending::Interrupted, Some(scene)) => match keep_and_restore(run, &scene).await {
                Ok(kept) => RunOutcome::Interrupted { kept },
                Err(error) => failed(format!("The VM was restarted.\n{}", left_alone(&error)), None),
            },
        }
    }

    /// The run's files; nothing when it has not touched any.
    pub(super) async fn scene(&self, run: &RunId) -> Result<Option<Scene>, String> {
        let Some(record) = self.record(run) else { return Ok(None) };
        let (Some(name), Some(before)) = (record.repository, record.snapshot) else { return Ok(None) };
        let named = self.0.surroundings.repositories.named(&name).await;
        match named.map_err(|error| error.to_string())? {
            Some(repository) => Ok(Some((repository, before))),
            None => Err(format!("there is no repository {name}")),
        }
    }

    async fn put_back(&self, run: &RunId) -> Result<(), String> {
        let Some((repository, before)) = self.scene(run).await? else { return Ok(()) };
        let mut tries = 1;
        loop {
            match repository.restore(&before).await {
                Ok(()) => return Ok(()),
                Err(error) if tries == RESTORE_TRIES => return Err(error.to_string()),
                Err(error) => tracing::warn!(%error, %run, "the files cannot be put back; trying again"),
            }
            tries += 1;
            tokio::time::sleep(DISK_RETRY_INTERVAL).await;
        }
    }
}

/// What a run took in which an agent was at work, and whose end is told with what it did.
fn spent(record: &RunRecord, outcome: &RunOutcome) -> Option<Spent> {
    let is_prompt = matches!(record.task, Some(Task::Prompt { .. } | Task::Revise { .. }));
    let is_told =
        matches!(outcome, RunOutcome::Changes { .. } | RunOutcome::Answered { .. } | RunOutcome::Failed { .. });
    let duration_ms = clock::now().as_millis().saturating_sub(record.accepted_at.as_millis());
    (is_prompt && is_told).then_some(Spent { duration_ms, cost_microusd: record.cost_microusd })
}

/// Keep what the run changed on a local branch, whose name is given back, and put the worktree back. Nothing is put back
/// that could not be kept.
async fn keep_and_restore(run: &RunId, (repository, before): &Scene) -> Result<Option<String>, GitError> {
    let kept = match repository.changes(before).await? {
        Some(changes) => Some(repository.park(run, before, &changes.tree, "Unfinished work of the agent").await?),
        // An earlier process may have been killed after it had kept everything.
        None => repository.branches().await?.others.into_iter().find(|branch| *branch == branch_of(run)),
    };
    repository.restore(before).await?;
    Ok(kept)
}

async fn failed_at(run: &RunId, reason: String, scene: &Scene) -> RunOutcome {
    match keep_and_restore(run, scene).await {
        Ok(kept) => failed(reason, kept),
        Err(error) => failed(format!("{reason}\n{}", left_alone(&error)), None),
    }
}

fn left_alone(error: &GitError) -> String {
    format!("Its changes could not be kept on a branch, so the files are left as they are. {error}")
}

fn failed(reason: String, kept: Option<String>) -> RunOutcome {
    RunOutcome::Failed { reason: clip(&reason, ANSWER_CHARS_MAX), kept }
}

fn answered(text: &str) -> RunOutcome {
    RunOutcome::Answered { text: clip(text, ANSWER_CHARS_MAX) }
}

/// The agent's last words, where all that it changed is what no diff shows.
fn answered_beside(text: &str, beside: Vec<Beside>) -> RunOutcome {
    let beside = ChangedFiles { beside, ..ChangedFiles::default() }.lines(BESIDE_TOLD_MAX).join("\n");
    let room = ANSWER_CHARS_MAX - beside.chars().count();
    answered(&format!("{}\n\n{beside}", clip(text, room.saturating_sub(2))))
}

fn changed(summary: &str, changes: Changes) -> RunOutcome {
    let Changes { tree, stat, mut diff, mut diff_cut, files } = changes;
    let summary = clip(summary, ANSWER_CHARS_MAX);
    let room = BODY_BYTES_MAX - ENVELOPE_BYTES_MAX - json_bytes(&summary) - json_bytes(&files);
    // Only a diff of control characters grows that much by being written as JSON.
    while json_bytes(&diff) > room {
        diff.truncate(head(&diff, diff.len() / 2).len());
        diff_cut = true;
    }
    RunOutcome::Changes { summary, tree, stat, diff, diff_cut, files, drawings: Vec::new(), review: None }
}

fn json_bytes(value: &(impl Serialize + ?Sized)) -> usize {
    serde_json::to_string(value).map_or(usize::MAX, |json| json.len())
}

fn kind(outcome: &RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Changes { .. } => "changes",
        RunOutcome::Answered { .. } => "answered",
        RunOutcome::Failed { .. } => "failed",
        RunOutcome::Cancelled => "cancelled",
        RunOutcome::Interrupted { .. } => "interrupted",
    }
}

#[cfg(test)]
mod tests {
    use relay_core::id::TreeHash;
    use relay_core::protocol::{DIFF_BYTES_MAX, DiffStat};

    use super::*;

    #[test]
    fn a_report_fits_its_body_whatever_the_diff_holds() {
        let changes = Changes {
            tree: TreeHash::parse("abc").unwrap(),
            stat: DiffStat::default(),
            diff: "\u{1}".repeat(DIFF_BYTES_MAX),
            diff_cut: false,
            files: ChangedFiles::default(),
        };
        let outcome = changed(&"\u{1f600}".repeat(2 * ANSWER_CHARS_MAX), changes);
        assert!(serde_json::to_vec(&outcome).unwrap().len() < BODY_BYTES_MAX);
        assert!(matches!(outcome, RunOutcome::Changes { diff_cut: true, diff, .. } if !diff.is_empty()));
    }
}
