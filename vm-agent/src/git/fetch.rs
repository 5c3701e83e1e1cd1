//! Learning what origin has new: one fetch of a repository at a time, and none that outlives this process.

use std::io;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::GitError;
use super::repository::Repository;

/// Origin is not asked again for so long: messages that follow one another need no fetch each.
const FETCH_INTERVAL: Duration = Duration::from_secs(60);
/// How long a run waits for origin.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);

/// The fetches that nobody may be waiting for any more, of all repositories. Clones are the same fetches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetches {
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Fetches {
    /// Break all of them off. When this returns, git was told to end.
    pub(crate) async fn shut_down(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Repository {
    /// Learn what is new at origin, unless that was done a moment ago. Not waited for long, because a run can do without; it goes
    /// on all the same, also when nobody waits any more: a fetch that is cut off has to begin anew.
    pub(crate) async fn ask_origin(&self) -> Result<(), GitError> {
        let (repository, closing) = (self.clone(), self.fetches().closing.clone());
        let fetching = self.fetches().tasks.spawn(closing.run_until_cancelled_owned(async move {
            let mut fetched_at = repository.fetched_at().await;
            if fetched_at.is_none_or(|at| at.elapsed() > FETCH_INTERVAL) {
                repository.fetch_now(&mut fetched_at).await?;
            }
            Ok(())
        }));
        let broken_off = |why| Err(GitError::io("The fetch was broken off")(why));
        match tokio::time::timeout(FETCH_TIMEOUT, fetching).await {
            Ok(Ok(Some(fetched))) => fetched,
            Ok(Ok(None)) => broken_off(io::Error::other("the VM is shutting down")),
            Ok(Err(failure)) => broken_off(io::Error::other(failure)),
            Err(_) => Err(GitError::TimedOut { what: "fetch", limit: FETCH_TIMEOUT }),
        }
    }

    /// Learn what is new at origin, after whoever else asks it. Changes no local branch and no file.
    pub(crate) async fn fetch(&self) -> Result<(), GitError> {
        let mut fetched_at = self.fetched_at().await;
        self.fetch_now(&mut fetched_at).await
    }

    async fn fetch_now(&self, fetched_at: &mut Option<Instant>) -> Result<(), GitError> {
        let (call, url) = self.call_origin("fetch").await?;
        let call = call.args(["--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--", &url]);
        call.arg("+refs/heads/*:refs/remotes/origin/*").output().await?;
        *fetched_at = Some(Instant::now());
        Ok(())
    }
}
