//! Taking up what origin has new on the current branch, so that a crash or a full disk at any point leaves it taken up or not: a
//! mixture is written down as one, and nothing works on it before it is finished.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::capture::path_list;
use super::manifest::{Entry, Manifest};
use super::repository::Repository;
use super::{GitError, ObjectId, WORKTREE_TIMEOUT};
use crate::files;

/// What a commit holds.
type Tree = BTreeMap<PathBuf, (String, ObjectId)>;

impl Repository {
    /// Be where origin was when it was last asked, when nothing has to be merged and no file here is in the way. After an error there
    /// may be a mixture, which must not be worked on.
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
        // One that fails half-way leaves the note, and the mixture to whoever comes next.
        call.arg(&upstream).timeout(WORKTREE_TIMEOUT).output().await?;
        self.have_followed().await
    }

    /// A process that was killed while it took something up, or found no room for it, has left some files old and some new.
    /// Whatever moves the worktree calls this first, in its turn.
    pub(crate) async fn finish_following(&self) -> Result<(), GitError> {
        let Ok(note) = fs::read_to_string(self.following()) else { return Ok(()) };
        let [branch, head, upstream] = note.lines().collect::<Vec<_>>()[..] else { return self.forget_following() };
        let commit = self.resolve("HEAD^{commit}").await?;
        let is_at = |name| commit.as_ref().is_some_and(|commit| commit.as_str() == name);
        if self.branch().await? != branch || !(is_at(head) || is_at(upstream)) {
            return self.forget_following();
        }
        // Also where the branch is there already: after a loss of power that says nothing of the files.
        self.put_tree(head, upstream).await?;
        if is_at(head) {
            self.git().call("update-ref").args([&format!("refs/heads/{branch}"), upstream, head]).output().await?;
        }
        self.have_followed().await
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

    /// Make the files in which two commits differ those of `upstream`, whichever of the two each is of by now. What somebody has
    /// worked on since stays.
    async fn put_tree(&self, head: &str, upstream: &str) -> Result<(), GitError> {
        let commit =
            |name| ObjectId::parse(name).ok_or(GitError::Unexpected { what: "merge", why: "its note is malformed" });
        let (was, will_be) = (self.tree_entries(&commit(head)?).await?, self.tree_entries(&commit(upstream)?).await?);
        // Our turn: whoever held this was killed.
        remove(&self.git().git_dir().join("index.lock"))?;
        let changing = self.differing_paths(head, upstream).await?;
        let worked_on = self.worked_on(&changing, &was, &will_be).await?;
        if !worked_on.is_empty() {
            tracing::warn!(
                count = worked_on.len(),
                "files that origin has new were worked on meanwhile, and stay as they are"
            );
        }
        let changing = changing.into_iter().filter(|path| worked_on.iter().all(|there| !is_in_the_way(there, path)));
        let (present, gone): (Vec<PathBuf>, Vec<PathBuf>) = changing.partition(|path| will_be.contains_key(path));
        self.git().call("read-tree").arg(upstream).output().await?;
        let call = self.git().call("checkout-index").args(["--force", "--quiet", "-z", "--stdin"]);
        call.stdin(path_list(&present)).timeout(WORKTREE_TIMEOUT).output().await?;
        // Git has taken away what stands where a file is now a folder, or a folder a file.
        let is_folder =
            |path: &PathBuf| will_be.range(path.clone()..).next().is_some_and(|(next, _)| next.starts_with(path));
        let gone = gone.iter().filter(|path| !is_folder(path) && lies_in(self.worktree(), path));
        gone.map(|path| self.worktree().join(path)).try_for_each(|path| remove(&path))
    }

    /// What lies where files are `changing`, and is of neither of the two commits, nor the beginning of a file of the later one.
    async fn worked_on(
        &self,
        changing: &BTreeSet<PathBuf>,
        was: &Tree,
        will_be: &Tree,
    ) -> Result<Vec<PathBuf>, GitError> {
        let Manifest(there) = self.capture().await?;
        let mut worked_on = Vec::new();
        for (path, entry) in there.into_iter().filter(|(path, _)| is_concerned(path, changing)) {
            let is_of = |tree: &Tree| match (entry.recorded(), tree.get(&path)) {
                (Some((mode, blob)), Some((other_mode, other))) => mode == other_mode && blob == other,
                _ => false,
            };
            let is_ours = match &entry {
                Entry::Directory { .. } => true,
                _ if is_of(was) || is_of(will_be) => true,
                Entry::File { blob, .. } => match will_be.get(&path) {
                    Some((_, whole)) => self.is_beginning(blob, whole).await?,
                    None => false,
                },
                Entry::Link { .. } | Entry::Special => false,
            };
            if !is_ours {
                worked_on.push(path);
            }
        }
        Ok(worked_on)
    }

    /// Whether one content begins the other: a file that there was no room or no time for.
    async fn is_beginning(&self, part: &ObjectId, whole: &ObjectId) -> Result<bool, GitError> {
        let content = async |blob: &ObjectId| self.git().call("cat-file").args(["blob", blob.as_str()]).output().await;
        Ok(content(whole).await?.starts_with(&content(part).await?))
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

    /// All of it is there, and stays: git writes files without waiting for the disk.
    async fn have_followed(&self) -> Result<(), GitError> {
        let worktree = fs::File::open(self.worktree()).map_err(failed())?;
        let synced = tokio::task::spawn_blocking(move || rustix::fs::syncfs(worktree)).await;
        synced.map_err(io::Error::other).map_err(failed())?.map_err(io::Error::from).map_err(failed())?;
        self.forget_following()
    }

    fn forget_following(&self) -> Result<(), GitError> {
        remove(&self.following())
    }

    fn following(&self) -> PathBuf {
        self.git().git_dir().with_file_name("following")
    }
}

/// Whether a thing at `path` can meet one of the paths that are `changing`.
fn is_concerned(path: &Path, changing: &BTreeSet<PathBuf>) -> bool {
    // Paths are sorted by their steps: what lies below one follows it.
    let below = changing.range(path.to_owned()..).next();
    below.is_some_and(|below| below.starts_with(path)) || path.ancestors().any(|above| changing.contains(above))
}

/// Whether nothing can be put at `path` without taking away what is `there`.
fn is_in_the_way(there: &Path, path: &Path) -> bool {
    there.starts_with(path) || path.starts_with(there)
}

/// Whether a path leads through folders alone. What lies behind a link is not the worktree's, and may be anybody's.
fn lies_in(worktree: &Path, path: &Path) -> bool {
    let mut folder = worktree.to_owned();
    path.parent().into_iter().flat_map(Path::components).all(|step| {
        folder.push(step);
        fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir())
    })
}

fn remove(path: &Path) -> Result<(), GitError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed()(error)),
        _ => Ok(()),
    }
}

fn failed() -> impl FnOnce(io::Error) -> GitError {
    GitError::io("The volume could not be written")
}
