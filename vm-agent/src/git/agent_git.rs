//! The agent's own `.git` in the worktree: for its `git log`, `git diff` and even `git commit`, and for nothing else.
//!
//! It is not trusted: this process never lets git read it, and throws it away instead of looking into it. What the
//! agent commits there counts for nothing but the files it leaves in the worktree.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use super::capture::walk;
use super::repository::Repository;
use super::{Call, Git, GitError, blocking};
use crate::supervise::confinement::AgentUser;

impl Repository {
    /// Give the agent a fresh `.git`: the checked-out branch at its commit, what is known of origin, no hooks, no
    /// credentials; contents are read from the trusted store, new ones stay in its own. Also hands the worktree to the
    /// agent's user, if it has one. To be called after the snapshot and before the agent starts.
    pub async fn prepare_for_agent(&self) -> Result<(), GitError> {
        let _turn = self.turn().await;
        let fresh = self.scratch("agent.git");
        let failed = || GitError::io("The agent's git directory could not be made");
        remove_any(fresh.clone()).await?;
        let parent = fresh.parent().unwrap_or(&fresh);
        let format = self.git().call("rev-parse").arg("--show-object-format").line().await?;
        let init = Call::bare("init", parent).args(["--quiet", "--bare", "--template="]);
        init.arg(format!("--object-format={format}")).arg(&fresh).output().await?;
        let agents = Git::new(fresh.clone(), self.worktree().to_owned());
        let settings = [
            ("core.bare", "false"),
            ("core.logAllRefUpdates", "true"),
            ("gc.auto", "0"),
            ("user.name", "Coding agent"),
            ("user.email", "agent@localhost"),
            ("remote.origin.url", &self.origin().await?.shown()),
            ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
        ];
        for (key, value) in settings {
            agents.call("config").args([key, value]).output().await?;
        }
        let objects = format!("{}\n", self.objects().display());
        let references = self.git().call("for-each-ref").arg("--format=%(objectname) %(refname)");
        let references = references.args(["refs/heads", "refs/remotes", "refs/tags"]).output().await?;
        let head = format!("ref: refs/heads/{}\n", self.branch().await?);
        fs::create_dir_all(fresh.join("objects/info")).map_err(failed())?;
        fs::write(fresh.join("objects/info/alternates"), objects).map_err(failed())?;
        fs::write(fresh.join("packed-refs"), references).map_err(failed())?;
        fs::write(fresh.join("HEAD"), head).map_err(failed())?;
        if self.resolve("HEAD^{commit}").await?.is_some() {
            agents.call("read-tree").arg("HEAD").output().await?;
        }
        let (place, worktree, agent) = (self.worktree().join(".git"), self.worktree().to_owned(), self.agent());
        remove_any(place.clone()).await?;
        blocking(move || {
            fs::rename(&fresh, &place).map_err(failed())?;
            agent.map_or(Ok(()), |agent| hand_over(&worktree, agent)).map_err(failed())
        })
        .await
    }

    /// Where git keeps what the repository has: the agent may read it, and needs to.
    pub fn objects(&self) -> PathBuf {
        self.git().git_dir().join("objects")
    }

    /// Throw the agent's `.git` away, whatever it has become.
    pub(super) async fn discard_agent_git(&self) -> Result<(), GitError> {
        remove_any(self.worktree().join(".git")).await
    }
}

/// Remove what is at `path`, with all that it holds; a link, not what it leads to.
async fn remove_any(path: PathBuf) -> Result<(), GitError> {
    blocking(move || {
        let removed = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path).or_else(|_| {
                // The agent may have locked a directory by its mode; the listing opens those up.
                fs::set_permissions(&path, Permissions::from_mode(0o700))?;
                walk(&path)?;
                fs::remove_dir_all(&path)
            }),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(GitError::io("The agent's git directory could not be removed")),
        }
    })
    .await
}

/// Make the agent's user the owner of all that is below `path`. Links are changed themselves; a file with several names
/// stays as it is, because one of the names may lie outside.
pub(crate) fn hand_over(path: &Path, agent: AgentUser) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        // Too deep to be named: the agent made it, and owns it.
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => return Ok(()),
        other => other?,
    };
    let owned = metadata.uid() == agent.uid && metadata.gid() == agent.gid;
    if !owned && (metadata.is_dir() || metadata.nlink() == 1) {
        lchown(path, Some(agent.uid), Some(agent.gid))?;
    }
    if metadata.is_dir() {
        for item in fs::read_dir(path)? {
            hand_over(&item?.path(), agent)?;
        }
    }
    Ok(())
}
