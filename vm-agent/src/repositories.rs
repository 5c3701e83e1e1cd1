//! All repositories on the volume, and which of them is the current one.
//!
//! Runs and questions ask here for the repository to work on. Nothing else may write below `DATA_DIR/repos`, but for
//! the agent in its worktree.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::Mutex;

pub use crate::git::GitError;
pub use crate::git::remote::{RemoteUrl, UrlTrust};
pub use crate::git::repository::{Branches, FileText, Repository};
pub use crate::git::snapshot::{Changes, Snapshot};

use crate::files;
use crate::git::fetch::Fetches;
use crate::git::remote::{directory_name, is_directory_name};
use crate::git::repository::reach;
use crate::git::{Call, WORKTREE_TIMEOUT, blocking, is_unreachable};
use crate::github::GitHub;
use crate::supervise::confinement::AgentUser;

/// Repositories that a volume may hold at most.
const REPOSITORIES_MAX: usize = 100;
/// The file that names the current repository; no repository's name starts with a dot.
const CURRENT: &str = ".current";
/// Where a clone is made before it gets its name. What is found there is of a clone that was cut off.
const CLONING: &str = ".cloning";

/// The repositories below `DATA_DIR/repos`.
#[derive(Debug)]
pub struct Repositories {
    root: PathBuf,
    github: Option<GitHub>,
    agent: Option<AgentUser>,
    fetches: Fetches,
    open: Mutex<HashMap<String, Repository>>,
    /// Held while repositories are added, or the current one changes.
    turn: Mutex<()>,
}

impl Repositories {
    /// The repositories on the volume at `data_dir`. `github` is what reaches private repositories there.
    /// Worktrees are handed to `agent` before each run, which needs the right to give files away.
    pub fn new(data_dir: PathBuf, github: Option<GitHub>, agent: Option<AgentUser>) -> Self {
        let (root, fetches) = (data_dir.join("repos"), Fetches::default());
        Self { root, github, agent, fetches, open: Mutex::new(HashMap::new()), turn: Mutex::new(()) }
    }

    /// Break off every fetch that goes on although nobody waits for it.
    pub(crate) async fn shut_down(&self) {
        self.fetches.shut_down().await;
    }

    /// Clone the repository at `url` and make it the current one. One that is here already is brought up to date, as
    /// far as that loses nothing, and becomes the current one. A clone that fails, or is cut off, leaves nothing
    /// behind.
    pub async fn clone_url(&self, url: &str, trust: UrlTrust) -> Result<Repository, GitError> {
        let remote = RemoteUrl::parse(url, trust)?;
        let _turn = self.turn.lock().await;
        let repository = match self.place_for(&remote).await? {
            Place::Here(repository) => {
                repository.fetch().await.map_err(|error| explain_clone(&remote, error, self.github.is_some()))?;
                repository.follow_origin().await?;
                repository
            }
            Place::Free(name) => {
                self.make(&remote, &name).await?;
                self.require(&name).await?
            }
        };
        self.make_current(repository.name())?;
        Ok(repository)
    }

    /// The repository that runs work on, if any was cloned yet.
    pub async fn current(&self) -> Result<Option<Repository>, GitError> {
        match fs::read_to_string(self.root.join(CURRENT)) {
            Ok(name) => self.named(name.trim()).await,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(failure) => Err(GitError::io("The current repository could not be read")(failure)),
        }
    }

    /// The names of all repositories, sorted.
    pub async fn list(&self) -> Result<Vec<String>, GitError> {
        let root = self.root.clone();
        let read = move || match fs::read_dir(&root) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(failure) => Err(failure),
            Ok(items) => items.map(|item| Ok(item?.file_name().to_string_lossy().into_owned())).collect(),
        };
        let mut names = blocking(move || read().map_err(GitError::io("The repositories could not be listed"))).await?;
        names.retain(|name| is_directory_name(name) && self.root.join(name).join("git").is_dir());
        names.sort();
        Ok(names)
    }

    /// Make the repository called `name` the current one.
    pub async fn switch(&self, name: &str) -> Result<Repository, GitError> {
        let _turn = self.turn.lock().await;
        let repository = self.require(name.trim()).await?;
        self.make_current(repository.name())?;
        Ok(repository)
    }

    /// The repository called `name`, if there is one.
    pub async fn named(&self, name: &str) -> Result<Option<Repository>, GitError> {
        let root = self.root.join(name);
        if !is_directory_name(name) || !root.join("git").is_dir() {
            return Ok(None);
        }
        let mut open = self.open.lock().await;
        if let Some(repository) = open.get(name) {
            return Ok(Some(repository.clone()));
        }
        // Nobody in this process works on it yet: whatever is locked was locked by one that was killed.
        let git_dir = root.join("git");
        blocking(move || remove_locks(&git_dir).map_err(GitError::io("A stale lock could not be removed"))).await?;
        let repository = Repository::open(root, self.github.clone(), self.agent, self.fetches.clone())?;
        if let Err(error) = repository.finish_following().await {
            // Tried again before anything works on it, which fails with the reason if this does.
            tracing::warn!(%error, name, "what was being taken up of origin could not be finished");
        }
        open.insert(name.to_owned(), repository.clone());
        Ok(Some(repository))
    }

    async fn require(&self, name: &str) -> Result<Repository, GitError> {
        self.named(name).await?.ok_or_else(|| {
            GitError::NotFound(format!("There is no repository `{name}` here. Send `repos` to see which there are."))
        })
    }

    fn make_current(&self, name: &str) -> Result<(), GitError> {
        files::replace(&self.root.join(CURRENT), name.as_bytes())
            .map_err(GitError::io("The volume could not be written"))
    }

    /// Where a clone of `remote` is, or would go: under the last part of its address, with more of it when that name is
    /// taken by another repository.
    async fn place_for(&self, remote: &RemoteUrl) -> Result<Place, GitError> {
        let segments = remote.segments();
        let tail = |parts: usize| directory_name(&segments[segments.len().saturating_sub(parts)..]);
        let numbered = (2..=REPOSITORIES_MAX).map(|number| format!("{}-{number}", tail(2)));
        for name in [tail(1), tail(2)].into_iter().chain(numbered) {
            match self.named(&name).await? {
                Some(repository) if repository.origin().await?.same_as(remote) => return Ok(Place::Here(repository)),
                Some(_) => {}
                None if self.list().await?.len() < REPOSITORIES_MAX => return Ok(Place::Free(name)),
                None => break,
            }
        }
        Err(GitError::Invalid(format!("There are {REPOSITORIES_MAX} repositories here already, which is the limit.")))
    }

    async fn make(&self, remote: &RemoteUrl, name: &str) -> Result<(), GitError> {
        let failed = || GitError::io("The volume could not be written");
        let cloning = self.root.join(CLONING);
        remove_all(&cloning).map_err(failed())?;
        fs::create_dir_all(&cloning).map_err(failed())?;
        let made = self.make_in(remote, &cloning).await;
        match made {
            Ok(()) => fs::rename(&cloning, self.root.join(name)).map_err(failed()),
            Err(error) => {
                remove_all(&cloning).map_err(failed())?;
                Err(explain_clone(remote, error, self.github.is_some()))
            }
        }
    }

    /// Clone into `root`: git's data first, then, with every filter switched off, the files.
    async fn make_in(&self, remote: &RemoteUrl, root: &Path) -> Result<(), GitError> {
        let failed = || GitError::io("The volume could not be written");
        let (git_dir, tree) = (root.join("git"), root.join("tree"));
        let (call, url) = reach(Call::bare("clone", root), remote, self.github.as_ref());
        call.args([
            "--quiet",
            "--no-checkout",
            "--no-local",
            "--no-recurse-submodules",
            "--template=",
            "--origin=origin",
        ])
        .arg("--separate-git-dir")
        .arg(&git_dir)
        .args(["--", &url])
        .arg(&tree)
        .output()
        .await?;
        fs::remove_file(tree.join(".git")).map_err(failed())?;
        let repository = Repository::open(root.to_owned(), self.github.clone(), None, self.fetches.clone())?;
        let git = repository.git();
        git.call("config").args(["remote.origin.url", remote.as_str()]).output().await?;
        // An operator's address may hold credentials.
        fs::set_permissions(git_dir.join("config"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .map_err(failed())?;
        repository.attach_head().await?;
        if git.call("rev-parse").args(["--verify", "--quiet", "HEAD^{commit}"]).yes().await? {
            git.call("reset").args(["--quiet", "--hard", "HEAD"]).timeout(WORKTREE_TIMEOUT).output().await?;
        }
        Ok(())
    }
}

enum Place {
    Here(Repository),
    Free(String),
}

/// What a person can do about a clone or fetch that failed.
fn explain_clone(remote: &RemoteUrl, error: GitError, has_token: bool) -> GitError {
    let GitError::Failed { complaint, .. } = &error else { return error };
    let shown = remote.shown();
    let says = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
    let what = if says(&["could not read Username", "Authentication failed", "Permission denied", "error: 403"]) {
        let token = if has_token {
            "Check that `GITHUB_TOKEN` may read it."
        } else {
            "A private repository on GitHub needs the variable `GITHUB_TOKEN` on the VM."
        };
        format!("I am not allowed to read {shown}. {token}")
    } else if says(&["not found", "does not exist", "does not appear to be a git repository"]) {
        format!("There is no repository at {shown}, or I am not allowed to see it. Check the address.")
    } else if is_unreachable(complaint) {
        format!("{shown} could not be reached. Check the address, and try again in a while.")
    } else {
        format!("{shown} could not be cloned. Git says: {complaint}")
    };
    GitError::Invalid(what)
}

/// Remove the locks that a git which was killed left in its directory.
fn remove_locks(git_dir: &Path) -> io::Result<()> {
    let mut directories = vec![git_dir.to_owned()];
    while let Some(directory) = directories.pop() {
        for item in fs::read_dir(&directory)? {
            let item = item?;
            let kind = item.file_type()?;
            if kind.is_dir() && item.file_name() != "objects" {
                directories.push(item.path());
            } else if kind.is_file() && item.path().extension().is_some_and(|extension| extension == "lock") {
                fs::remove_file(item.path())?;
            }
        }
    }
    // The index of snapshots lies beside the directory.
    remove_all(&git_dir.with_file_name("snapshot.index.lock"))?;
    remove_all(&git_dir.with_file_name("scratch.tree.index.lock"))
}

fn remove_all(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
