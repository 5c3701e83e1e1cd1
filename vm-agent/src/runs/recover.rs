//! After a restart: each run that was not over is ended, or goes on to wait.

use relay_core::id::RunId;

use super::Runs;
use super::work::Ending;
use crate::journal::{Phase, RunLog, RunRecord};
use crate::supervise;

impl Runs {
    /// Take up every run that an earlier process left. Called once, before any request is answered; returns at once.
    pub fn recover(&self) {
        let mut state = self.state();
        let is_open = |log: &&RunLog| !matches!(log.record().phase, Phase::Over { .. });
        let open: Vec<RunRecord> = state.journal.logs().filter(is_open).map(|log| log.record().clone()).collect();
        let waits = |run: &RunId| open.iter().any(|record| record.run == *run);
        if let Err(error) = self.reviews().sweep(waits) {
            tracing::warn!(%error, "old reviews cannot be removed");
        }
        for record in open {
            tracing::info!(run = %record.run, phase = ?std::mem::discriminant(&record.phase), "taking a run up");
            // Without a task it was cancelled before it came, and holds nothing.
            if record.task.is_some() {
                self.hold(&mut state, &record.run);
            }
            let runs = self.clone();
            self.spawn(async move { runs.take_up(&record.run, record.phase).await });
        }
    }

    async fn take_up(&self, run: &RunId, phase: Phase) {
        if let Ok(lock) = self.with_log(run, |log| Ok(log.lock())) {
            supervise::clear_leftovers(&lock).await;
        }
        match phase {
            Phase::Accepted | Phase::Working => self.conclude(run, Ending::Interrupted).await,
            Phase::Cancelling => self.conclude_cancelled(run).await,
            Phase::Deciding { tree, decision, .. } => self.carry_out(run, tree, decision).await,
            Phase::AwaitingApproval { .. } | Phase::Over { .. } => {}
        }
    }
}
