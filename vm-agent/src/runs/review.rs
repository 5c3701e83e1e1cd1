//! The review of a diff: all of it, laid out for a page. It is made of every diff, before that is reported; a run neither waits
//! for that for long, nor fails by it.

use std::time::Duration;

use relay_core::id::{RunId, TreeHash};
use relay_core::protocol::changed::Beside;
use relay_core::protocol::{Review, RunOutcome};

use super::Runs;

/// A diff that takes longer to lay out is told without.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Runs {
    /// The outcome with a review of its diff, where it has one.
    pub(super) async fn with_review(&self, run: &RunId, mut outcome: RunOutcome) -> RunOutcome {
        let stop = self.state().active(run).map(|active| active.stop.clone());
        if let (RunOutcome::Changes { tree, files, review, .. }, Some(stop)) = (&mut outcome, stop) {
            let laying_out = tokio::time::timeout(TIMEOUT, self.lay_out(run, tree, &files.beside));
            let laid_out = tokio::select! {
                laid_out = laying_out => laid_out.unwrap_or_else(|_| Err("it takes too long".to_owned())),
                () = stop.cancelled() => Err("the run is being stopped".to_owned()),
            };
            match laid_out {
                Ok(laid_out) => *review = Some(laid_out),
                Err(error) => {
                    tracing::warn!(error, %run, "a diff has no review");
                    self.forget_review(run);
                }
            }
        }
        outcome
    }

    async fn lay_out(&self, run: &RunId, tree: &TreeHash, beside: &[Beside]) -> Result<Review, String> {
        let Some((repository, before)) = self.scene(run).await? else {
            return Err("the run has no files".to_owned());
        };
        let draft = self.reviews().begin(run, tree).map_err(|error| error.to_string())?;
        repository.lay_out(&before, tree, beside, draft).await.map_err(|error| error.to_string())
    }

    /// No relay fetches it any more.
    pub(super) fn forget_review(&self, run: &RunId) {
        if let Err(error) = self.reviews().forget(run) {
            tracing::warn!(%error, %run, "an old review cannot be removed");
        }
    }
}
