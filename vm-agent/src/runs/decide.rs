//! What becomes of a shown diff. Each decision can be carried out again after a crash at any point, with the same result.

use relay_core::id::{RunId, TreeHash};
use relay_core::protocol::{ANSWER_CHARS_MAX, Decision, DecisionResult, RunOutcome, Task, VmEvent};

use super::Runs;
use crate::git::repository::Repository;
use crate::git::snapshot::Snapshot;
use crate::journal::{Phase, after_decision};
use crate::publish::{PullRequestText, publish};
use crate::text::{clip, first_line};

/// Characters of a pull request's title, as git's own tools like a subject.
const TITLE_CHARS_MAX: usize = 72;
/// Runs that are followed back to the first task.
const REVISIONS_MAX: usize = 100;

impl Runs {
    /// Carry a decision out and report what became of it.
    pub(super) async fn carry_out(&self, run: &RunId, tree: TreeHash, decision: Decision) {
        self.with_beats(run, async {
            let result = self.decided(run, &tree, decision).await.unwrap_or_else(|reason| {
                DecisionResult::Failed { reason: clip(&reason, ANSWER_CHARS_MAX) }
            });
            tracing::info!(%run, ?decision, done = !matches!(result, DecisionResult::Failed { .. }), "decision carried out");
            let phase = after_decision(tree, decision, result.clone());
            let is_over = matches!(phase, Phase::Over { .. });
            let written = self.end_phase(run, VmEvent::Decided { decision, result }, phase).await;
            self.0.appended.notify_one();
            if written && is_over {
                self.forget_review(run);
                self.state().release(run);
            }
        })
        .await;
    }

    async fn decided(&self, run: &RunId, tree: &TreeHash, decision: Decision) -> Result<DecisionResult, String> {
        let Some((repository, before)) = self.scene(run).await? else {
            return Err("This run has no files to decide on.".to_owned());
        };
        match decision {
            Decision::Approve => self.approve(run, tree, &repository, &before).await,
            Decision::Reject => {
                repository.restore(&before).await.map_err(|error| error.to_string())?;
                Ok(DecisionResult::RolledBack)
            }
            Decision::Park => {
                let message = self.words(run).title;
                let parked = repository.park(run, &before, tree, &message).await;
                let branch = parked.map_err(|error| error.to_string())?;
                repository.restore_shown(&before, tree).await.map_err(|error| error.to_string())?;
                Ok(DecisionResult::Parked { branch })
            }
        }
    }

    async fn approve(
        &self,
        run: &RunId,
        tree: &TreeHash,
        repository: &Repository,
        before: &Snapshot,
    ) -> Result<DecisionResult, String> {
        let github = self.0.surroundings.github.as_ref();
        let published = publish(repository, run, before, tree, &self.words(run), github).await;
        let result = published.map_err(|error| error.to_string())?;
        if !matches!(result, DecisionResult::Failed { .. }) {
            let restored = repository.restore_shown(before, tree).await;
            restored.map_err(|error| format!("The work is pushed, but the files could not be put back: {error}"))?;
        }
        Ok(result)
    }

    /// The task's first line as the title, the agent's last words as the text.
    fn words(&self, run: &RunId) -> PullRequestText {
        let title = match self.first_task(run) {
            Some(Task::Prompt { text, .. }) => first_line(&text, TITLE_CHARS_MAX),
            _ => format!("Work of run {}", run.number()),
        };
        let changes = self.with_log(run, |log| log.newest_changes()).ok().flatten();
        let body = match changes {
            Some(RunOutcome::Changes { summary, .. }) => summary,
            _ => String::new(),
        };
        PullRequestText { title, body }
    }

    /// The task that began what this run goes on with, as far as it is remembered.
    fn first_task(&self, run: &RunId) -> Option<Task> {
        let mut task = self.record(run)?.task;
        for _ in 0..REVISIONS_MAX {
            match task {
                Some(Task::Resume { parked } | Task::Revise { parked, .. }) => task = self.record(&parked)?.task,
                task => return task,
            }
        }
        None
    }
}

/// Why nothing can be decided on a run in this phase, for people.
pub(super) fn why_not(phase: &Phase, shown: &TreeHash) -> String {
    let why = match phase {
        Phase::AwaitingApproval { tree } => {
            return format!(
                "The diff has changed since it was shown ({} is not {}). Look at it again.",
                shown.short(),
                tree.short()
            );
        }
        Phase::Accepted | Phase::Working => "This run is still at work; there is nothing to decide yet.",
        Phase::Cancelling => "This run is being cancelled.",
        Phase::Deciding { .. } => "Another decision on this run is being carried out.",
        Phase::Over { decided: None } => "This run is over; there is nothing to decide.",
        Phase::Over { decided: Some(decided) } => match decided.decision {
            Decision::Approve => "This run was approved already.",
            Decision::Reject => "This run was rejected already.",
            Decision::Park => "This run was parked already.",
        },
    };
    why.to_owned()
}
