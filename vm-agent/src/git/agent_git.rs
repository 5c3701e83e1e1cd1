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
use super::{Git, GitError, blocking};
use crate::supervise::confinement::AgentUser;

impl Repository {
    /// Give the agent a fresh `.git`: the checked-out branch at its commit, what is known of origin, no hooks, no
    /// credentials; contents are read from the trusted store, new ones stay in its own. Also hands the worktree to the
    /// agent's user, if it has one. To be called before the agent starts; a snapshot may be taken meanwhile.
    pub async fn prepare_for_agent(&self) -> Result<(), GitError> {
        let fresh = self.scratch("agent.git");
        let failed = || GitError::io("The agent's git directory could not be made");
        remove_any(fresh.clone()).await?;
        let (format, origin, references, branch) = tokio::try_join!(
            self.git().call("rev-parse").arg("--show-object-format").line(),
            self.origin(),
            self.references(),
            self.branch(),
        )?;
        let current = format!(" refs/heads/{branch}\n");
        let has_commit = references.windows(current.len()).any(|window| window == current.as_bytes());
        let files = [
            ("config", config(&format, &origin.shown()).into_bytes()),
            ("HEAD", format!("ref: refs/heads/{branch}\n").into_bytes()),
            ("packed-refs", references),
            ("objects/info/alternates", format!("{}\n", self.objects().display()).into_bytes()),
        ];
        for directory in ["refs", "objects/info"] {
            fs::create_dir_all(fresh.join(directory)).map_err(failed())?;
        }
        for (name, content) in files {
            fs::write(fresh.join(name), content).map_err(failed())?;
        }
        if has_commit {
            Git::new(fresh.clone(), self.worktree().to_owned()).call("read-tree").arg("HEAD").output().await?;
        }
        let (place, worktree, agent) = (self.worktree().join(".git"), self.worktree().to_owned(), self.agent());
        remove_any(place.clone()).await?;
        blocking(move || {
            fs::rename(&fresh, &place).map_err(failed())?;
            agent.map_or(Ok(()), |agent| hand_over(&worktree, agent)).map_err(failed())
        })
        .await
    }

    /// Every reference, as `packed-refs` has them.
    async fn references(&self) -> Result<Vec<u8>, GitError> {
        let call = self.git().call("for-each-ref").arg("--format=%(objectname) %(refname)");
        call.args(["refs/heads", "refs/remotes", "refs/tags"]).output().await
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

/// What `git init` and a few calls of `git config` would write, without as many processes before each run. A version of 1 lets git
/// heed the extension (gitrepository-layout(5), git-config(1)).
fn config(object_format: &str, origin: &str) -> String {
    let (version, extension) = match object_format {
        "sha1" => (0, String::new()),
        other => (1, format!("[extensions]\n\tobjectFormat = {other}\n")),
    };
    let origin = origin.replace('\\', "\\\\").replace('"', "\\\"").replace(char::is_control, "");
    format!(
        "{extension}[core]\n\trepositoryFormatVersion = {version}\n\tbare = false\n\tlogAllRefUpdates = true\n\
         [gc]\n\tauto = 0\n\
         [user]\n\tname = Coding agent\n\temail = agent@localhost\n\
         [remote \"origin\"]\n\turl = \"{origin}\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
    )
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
