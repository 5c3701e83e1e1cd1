//! Commits of exactly a shown tree, on branches that this process alone writes.

use std::collections::BTreeMap;
use std::path::Path;

use relay_core::id::{RunId, TreeHash};

use super::manifest::Entry;
use super::repository::Repository;
use super::snapshot::Snapshot;
use super::{GitError, ObjectId};

/// Who commits: the work is the agent's and the decision the person's, neither of whom git knows by name.
const COMMITTER_NAME: &str = "Textslash";
const COMMITTER_EMAIL: &str = "textslash@users.noreply.github.com";

/// The branch that a run's work goes to.
pub fn branch_of(run: &RunId) -> String {
    format!("textslash/{run}")
}

/// Where a parked branch's paths are kept as they were before the run, which need not be what the commit was made upon.
pub(super) fn before_ref(branch: &str) -> String {
    format!("refs/textslash/before/{branch}")
}

impl Repository {
    /// Keep `tree`, the run's work, on the local branch `textslash/<run>`, whose name is given back. The worktree is
    /// not touched: see [`Repository::restore_shown`] and [`Repository::restore`]. Doing it twice changes nothing more.
    pub async fn park(
        &self,
        run: &RunId,
        before: &Snapshot,
        tree: &TreeHash,
        message: &str,
    ) -> Result<String, GitError> {
        let branch = branch_of(run);
        let base_tree = self.base_tree(before).await?;
        let shown = self.differing_paths(base_tree.as_str(), tree.as_str()).await?;
        let was = self.manifest_of(before).await?;
        let edits: BTreeMap<&Path, _> =
            shown.iter().map(|path| (path.as_path(), was.0.get(path).and_then(Entry::recorded))).collect();
        let _turn = self.turn().await;
        let was_tree = self.edit_tree(&base_tree, &edits).await?;
        self.git().call("update-ref").args([&before_ref(&branch), was_tree.as_str()]).output().await?;
        self.commit(run, before, tree, message).await?;
        Ok(branch)
    }

    /// Commit exactly `tree` upon the commit of `before`, on the run's branch. The same again gives the same commit,
    /// also with another message: what is on the branch stays.
    pub(crate) async fn commit(
        &self,
        run: &RunId,
        before: &Snapshot,
        tree: &TreeHash,
        message: &str,
    ) -> Result<ObjectId, GitError> {
        let branch = branch_of(run);
        let name = format!("refs/heads/{branch}");
        if let Some(commit) = self.resolve(&format!("{name}^{{commit}}")).await? {
            let same_tree =
                self.resolve(&format!("{commit}^{{tree}}")).await?.is_some_and(|it| it.as_str() == tree.as_str());
            if same_tree && self.resolve(&format!("{commit}^")).await? == before.base {
                return Ok(commit);
            }
            return Err(GitError::Invalid(format!(
                "The branch `{branch}` holds something else than what was shown. It was left alone."
            )));
        }
        let date = format!("@{} +0000", before.taken_at.as_millis() / 1000);
        let mut call = self.git().call("commit-tree").arg(tree.as_str());
        for role in ["AUTHOR", "COMMITTER"] {
            call = call
                .env(format!("GIT_{role}_NAME"), COMMITTER_NAME)
                .env(format!("GIT_{role}_EMAIL"), COMMITTER_EMAIL)
                .env(format!("GIT_{role}_DATE"), &date);
        }
        if let Some(base) = &before.base {
            call = call.args(["-p", base.as_str()]);
        }
        let commit = call.args(["-F", "-"]).stdin(message).object().await?;
        // The empty old value: only if nobody made the branch meanwhile.
        self.git().call("update-ref").args([&name, commit.as_str(), ""]).output().await?;
        Ok(commit)
    }
}
