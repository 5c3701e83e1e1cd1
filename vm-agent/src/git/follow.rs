//! Taking up what origin has new on the current branch, so that a crash at any point leaves it taken up or not, and no mixture.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::capture::path_list;
use super::repository::Repository;
use super::{GitError, ObjectId, WORKTREE_TIMEOUT};
use crate::files;

impl Repository {
    /// Be where origin was when it was last asked, when nothing has to be merged and no file here is in the way.
    pub(crate) async fn follow_origin(&self) -> Result<(), GitError> {
        let _turn = self.turn().await;
        self.finish_following().await?;
        let Some((branch, head, upstream)) = self.heads().await? else { return Ok(()) };
        if upstream == head || !self.can_follow(&head, &upstream).await? {
            return Ok(());
        }
        let note = format!("{branch}\n{head}\n{upstream}\n");
        files::replace(&self.following(), note.as_bytes()).map_err(failed())?;
        let call = self.git().call("merge").args(["--quiet", "--ff-only", "--no-overwrite-ignore", "--no-stat"]);
        call.arg(&upstream).timeout(WORKTREE_TIMEOUT).outcome().await?;
        fs::remove_file(self.following()).map_err(failed())
    }

    /// A process that was killed while it took something up has left some files old and some new. Nothing had been in the way of the
    /// new ones, and nobody has worked on them since.
    pub(crate) async fn finish_following(&self) -> Result<(), GitError> {
        let Ok(note) = fs::read_to_string(self.following()) else { return Ok(()) };
        let [branch, head, upstream] = note.lines().collect::<Vec<_>>()[..] else { return self.forget_following() };
        let is_half_way = self.branch().await? == branch
            && self.resolve("HEAD^{commit}").await?.is_some_and(|commit| commit.as_str() == head);
        if is_half_way {
            self.put_tree(head, upstream).await?;
            self.git().call("update-ref").args([&format!("refs/heads/{branch}"), upstream, head]).output().await?;
        }
        self.forget_following()
    }

    /// The current branch, its commit, and that of the branch of this name at origin, if there are both; in one call, because every run
    /// asks.
    async fn heads(&self) -> Result<Option<(String, String, String)>, GitError> {
        let call = self.git().call("for-each-ref").arg("--format=%(HEAD) %(objectname) %(refname)");
        let listing = call.args(["refs/heads", "refs/remotes/origin"]).output().await?;
        let listing = String::from_utf8_lossy(&listing);
        let current = listing.lines().find_map(|line| line.strip_prefix("* ")?.split_once(' '));
        let Some((head, Some(branch))) = current.map(|(head, name)| (head, name.strip_prefix("refs/heads/"))) else {
            return Ok(None);
        };
        let name = format!("refs/remotes/origin/{branch}");
        let mut others = listing.lines().filter_map(|line| line.trim_start().split_once(' '));
        let upstream = others.find(|(_, other)| *other == name).map(|(commit, _)| commit);
        Ok(upstream.map(|upstream| (branch.to_owned(), head.to_owned(), upstream.to_owned())))
    }

    /// Make the files in which two commits differ those of `upstream`, whichever of the two each is of by now.
    async fn put_tree(&self, head: &str, upstream: &str) -> Result<(), GitError> {
        let commit =
            ObjectId::parse(upstream).ok_or(GitError::Unexpected { what: "merge", why: "its note is malformed" })?;
        let kept = self.tree_entries(&commit).await?;
        let (present, gone): (Vec<PathBuf>, Vec<PathBuf>) =
            self.differing_paths(head, upstream).await?.into_iter().partition(|path| kept.contains_key(path));
        self.git().call("read-tree").arg(upstream).output().await?;
        let call = self.git().call("checkout-index").args(["--force", "--quiet", "-z", "--stdin"]);
        call.stdin(path_list(&present)).timeout(WORKTREE_TIMEOUT).output().await?;
        for path in gone {
            match fs::remove_file(self.worktree().join(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed()(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether `upstream` goes on from `head`, and none of its changes meets work here which origin does not know; that stays as it
    /// is. Nothing is touched.
    async fn can_follow(&self, head: &str, upstream: &str) -> Result<bool, GitError> {
        if !self.git().call("merge-base").args(["--is-ancestor", head, upstream]).yes().await? {
            return Ok(false);
        }
        self.git().call("update-index").args(["-q", "--refresh"]).timeout(WORKTREE_TIMEOUT).outcome().await?;
        let tried = self.git().call("read-tree").args(["-m", "-u", "--dry-run", head, upstream]);
        Ok(tried.timeout(WORKTREE_TIMEOUT).outcome().await?.code == Some(0))
    }

    fn forget_following(&self) -> Result<(), GitError> {
        fs::remove_file(self.following()).map_err(failed())
    }

    fn following(&self) -> PathBuf {
        self.git().git_dir().with_file_name("following")
    }
}

fn failed() -> impl FnOnce(io::Error) -> GitError {
    GitError::io("The volume could not be written")
}
