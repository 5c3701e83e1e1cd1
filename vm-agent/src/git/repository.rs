//! One repository on the volume: where it lies, its branches, its files for reading.
//!
//! ```text
//! DATA_DIR/repos/<name>/git             git's data, trusted: written by this process alone
//!                      /tree            the worktree, where the agent works
//!                      /snapshot.index  what `capture` read before
//!                      /sessions/ID     the agent's session in a conversation, and its cost
//!                      /following       what of origin is being taken up, while it is
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use relay_core::id::ConversationId;
use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use tokio::sync::Mutex;

use super::fetch::Fetches;
use super::remote::{RemoteUrl, UrlTrust};
use super::worktree::{self, Found};
use super::{Call, Git, GitError, NETWORK_TIMEOUT, ObjectId, blocking};
use crate::files;
use crate::github::GitHub;
use crate::supervise::confinement::AgentUser;

/// A file for each conversation.
const SESSIONS: &str = "sessions";
/// Characters of a session's name at most.
const SESSION_BYTES_MAX: u64 = 1024;

/// Digits of a commit's name in the name of a branch that is made for it.
const DETACHED_DIGITS: usize = 7;

/// What [`Git`] must find in `info/attributes`, which outranks every `.gitattributes` of the worktree: contents go in
/// and out byte for byte, no filter is run, and nothing can keep a change from being shown. (Files of git-lfs stay
/// pointers.)
const ATTRIBUTES: &str = "* -text -eol -crlf -ident -filter -working-tree-encoding !diff !merge\n";

/// The agent's session in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// What the agent calls it.
    pub id: String,
    /// What it has cost so far, in millionths of a US dollar: agents tell the cost of a session, not of a run.
    pub cost_microusd: u64,
}

/// One repository. Clones of it are the same repository.
#[derive(Clone, Debug)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    root: PathBuf,
    git: Git,
    github: Option<GitHub>,
    agent: Option<AgentUser>,
    turn: Mutex<()>,
    fetched_at: Mutex<Option<Instant>>,
    fetches: Fetches,
}

/// The branches that can be checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branches {
    /// The one that is checked out.
    pub current: String,
    /// The rest, here and at origin, each once, sorted.
    pub others: Vec<String>,
}

/// A file for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileText {
    /// The text, or the beginning of it.
    pub text: String,
    /// The size of the whole file, in bytes.
    pub bytes: u64,
    /// True when `text` is not all of it.
    pub cut: bool,
}

impl Repository {
    /// The repository whose files lie in `root`, as a clone left them there.
    pub(crate) fn open(
        root: PathBuf,
        github: Option<GitHub>,
        agent: Option<AgentUser>,
        fetches: Fetches,
    ) -> Result<Self, GitError> {
        let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let git = Git::new(root.join("git"), root.join("tree"));
        let failed = |source| GitError::Io { what: format!("The repository {name} could not be opened"), source };
        fs::create_dir_all(git.git_dir().join("info")).map_err(failed)?;
        fs::write(git.git_dir().join("info/attributes"), ATTRIBUTES).map_err(failed)?;
        let (turn, fetched_at) = (Mutex::new(()), Mutex::new(None));
        Ok(Self { inner: Arc::new(Inner { name, root, git, github, agent, turn, fetched_at, fetches }) })
    }

    /// Its name, as `repos` lists it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Where the agent works.
    pub fn worktree(&self) -> &Path {
        self.inner.git.worktree()
    }

    pub(crate) fn git(&self) -> &Git {
        &self.inner.git
    }

    pub(super) fn agent(&self) -> Option<AgentUser> {
        self.inner.agent
    }

    pub(super) fn snapshot_index(&self) -> PathBuf {
        self.inner.root.join("snapshot.index")
    }

    /// A file beside git's data for an index, or a directory, that lives as long as one operation.
    pub(super) fn scratch(&self, name: &str) -> PathBuf {
        self.inner.root.join(format!("scratch.{name}"))
    }

    /// Held while the worktree is read or written as a whole.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.inner.turn.lock().await
    }

    /// Held while origin is asked; when it was last asked with success.
    pub(super) async fn fetched_at(&self) -> tokio::sync::MutexGuard<'_, Option<Instant>> {
        self.inner.fetched_at.lock().await
    }

    pub(super) fn fetches(&self) -> &Fetches {
        &self.inner.fetches
    }

    /// The agent's session in this repository with whoever talks in that conversation, if it has one: what one person has said is
    /// not told to another.
    pub fn session(&self, conversation: &ConversationId) -> io::Result<Option<Session>> {
        let mut text = String::new();
        match File::open(self.session_file(conversation)) {
            Ok(file) => file.take(SESSION_BYTES_MAX).read_to_string(&mut text)?,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let (id, cost) = text.split_once('\n').unwrap_or((&text, ""));
        let session = Session { id: id.to_owned(), cost_microusd: cost.trim().parse().unwrap_or(0) };
        Ok((!id.is_empty()).then_some(session))
    }

    /// Remember the agent's session, or forget it. Survives a crash at any point.
    pub fn keep_session(&self, conversation: &ConversationId, session: Option<&Session>) -> io::Result<()> {
        let text = session.map(|session| format!("{}\n{}\n", session.id, session.cost_microusd)).unwrap_or_default();
        fs::create_dir_all(self.inner.root.join(SESSIONS))?;
        files::replace(&self.session_file(conversation), text.as_bytes())
    }

    fn session_file(&self, conversation: &ConversationId) -> PathBuf {
        self.inner.root.join(SESSIONS).join(conversation.as_str())
    }

    /// The address that the repository was cloned from.
    pub(crate) async fn origin(&self) -> Result<RemoteUrl, GitError> {
        let url = self.git().call("config").args(["--get", "remote.origin.url"]).line().await?;
        RemoteUrl::parse(&url, UrlTrust::Operator)
    }

    /// Prepare `git <what>` with what is needed to reach origin. The address that git is to use comes with it.
    pub(crate) async fn call_origin(&self, what: &'static str) -> Result<(Call, String), GitError> {
        let origin = self.origin().await?;
        Ok(reach(self.git().call(what), &origin, self.inner.github.as_ref()))
    }

    /// The branch that is checked out; it may have no commit yet.
    pub(super) async fn branch(&self) -> Result<String, GitError> {
        // Read, because every run asks (gitrepository-layout(5)); written it is by git alone.
        let head = tokio::fs::read_to_string(self.git().git_dir().join("HEAD")).await;
        let head = head.map_err(GitError::io("The current branch could not be read"))?;
        let branch = head.trim_end().strip_prefix("ref: refs/heads/").map(str::to_owned);
        branch.ok_or(GitError::Unexpected { what: "symbolic-ref", why: "HEAD is at no branch" })
    }

    /// Name a branch after the commit that a detached HEAD is at, and be on it: all work here is on a branch.
    pub(crate) async fn attach_head(&self) -> Result<(), GitError> {
        if self.git().call("symbolic-ref").args(["--quiet", "HEAD"]).yes().await? {
            return Ok(());
        }
        let commit = self.git().call("rev-parse").args(["--verify", "HEAD^{commit}"]).object().await?;
        let branch = format!("refs/heads/detached-{}", &commit.as_str()[..DETACHED_DIGITS]);
        self.git().call("update-ref").args([&branch, commit.as_str()]).output().await?;
        self.git().call("symbolic-ref").args(["HEAD", &branch]).output().await?;
        Ok(())
    }

    /// The object that `name` stands for, if any.
    pub(super) async fn resolve(&self, name: &str) -> Result<Option<ObjectId>, GitError> {
        let call = self.git().call("rev-parse").args(["--verify", "--quiet", "--end-of-options", name]);
        let outcome = call.outcome().await?;
        Ok((outcome.code == Some(0))
            .then(|| String::from_utf8_lossy(&outcome.stdout).trim().to_owned())
            .and_then(ObjectId::parse))
    }

    /// Which branch is checked out, and which others there are.
    pub async fn branches(&self) -> Result<Branches, GitError> {
        let current = self.branch().await?;
        let call = self.git().call("for-each-ref").arg("--format=%(refname)");
        let listing = call.args(["refs/heads", "refs/remotes/origin"]).output().await?;
        let listing = String::from_utf8_lossy(&listing);
        let others: BTreeSet<&str> = listing
            .lines()
            .filter_map(|name| name.strip_prefix("refs/heads/").or_else(|| name.strip_prefix("refs/remotes/origin/")))
            .filter(|name| *name != "HEAD" && *name != current)
            .collect();
        let others = others.into_iter().map(str::to_owned).collect();
        Ok(Branches { current, others })
    }

    /// Check out the branch `name`, made first when `create`. Refused when a file that is not committed would be lost, and
    /// when the branch that is to be made is there already, unless it is the current one: then the request is a repeat.
    pub async fn checkout(&self, name: &str, create: bool) -> Result<(), GitError> {
        self.check_branch_name(name).await?;
        let _turn = self.turn().await;
        self.finish_following().await?;
        if create && self.branch().await? == name {
            return Ok(());
        }
        let here = self.resolve(&format!("refs/heads/{name}")).await?.is_some();
        if create && here {
            return Err(GitError::Invalid(format!(
                "There is a branch `{name}` already. Send `checkout {name}` to work on it."
            )));
        }
        let call = self.git().call("checkout").args(["--quiet", "--no-overwrite-ignore", "--no-guess"]);
        let call = if create {
            call.args(["--no-track", "-b", name])
        } else if here {
            call.args([name, "--"])
        } else {
            let remote = format!("refs/remotes/origin/{name}");
            if self.resolve(&remote).await?.is_none() {
                self.fetch().await?;
            }
            if self.resolve(&remote).await?.is_none() {
                return Err(GitError::NotFound(format!(
                    "There is no branch `{name}`. Send `branch` to see which there are, or `checkout -b {name}` to make it."
                )));
            }
            call.args(["--no-track", "-b", name, &remote])
        };
        match call.output().await {
            Err(GitError::Failed { complaint, .. }) => Err(GitError::Invalid(format!(
                "The branch `{name}` was not checked out, and nothing was changed. Git says: {complaint}"
            ))),
            other => other.map(|_| ()),
        }
    }

    async fn check_branch_name(&self, name: &str) -> Result<(), GitError> {
        let bounded = !name.is_empty() && name.len() <= 200 && !name.starts_with('-') && name != "HEAD";
        let full = format!("refs/heads/{name}");
        if bounded && self.git().call("check-ref-format").arg(full).yes().await? {
            return Ok(());
        }
        Err(GitError::Invalid(
            "That cannot be a branch's name. Use letters, digits, dashes and slashes, like `fix/login`.".to_owned(),
        ))
    }

    /// The text of the file at `path` in the worktree, up to `bytes_max` of it. Links are followed as long as they stay
    /// inside the worktree; the kernel sees to that, whatever the agent does meanwhile.
    pub async fn read_file(&self, path: &str, bytes_max: usize) -> Result<FileText, GitError> {
        let (root, wanted) = (self.worktree().to_owned(), path.trim().to_owned());
        blocking(move || {
            let (bytes, content) =
                read_inside(&root, Path::new(&wanted), bytes_max).map_err(|why| unreadable(&wanted, why))?;
            let cut = bytes > content.len() as u64;
            match text_of(&content, cut) {
                Some(text) => Ok(FileText { text: text.to_owned(), bytes, cut }),
                None => Err(GitError::Invalid(format!(
                    "`{wanted}` is not a text file ({bytes} bytes), so it is not shown."
                ))),
            }
        })
        .await
    }

    /// What a person finds at `path` of the worktree.
    pub async fn look(&self, path: &str) -> Result<Found, GitError> {
        let (root, path) = (self.worktree().to_owned(), path.to_owned());
        blocking(move || worktree::look(&root, &path)).await
    }
}

/// Give `call` what is needed to reach `remote`, and only that: its transport and, for a repository on GitHub, the
/// token in the environment of this one process, bound to GitHub's address. GitHub is reached by https when there is a
/// token, also when the address is one for ssh.
pub(crate) fn reach(call: Call, remote: &RemoteUrl, github: Option<&GitHub>) -> (Call, String) {
    let call = call.timeout(NETWORK_TIMEOUT);
    match github.and_then(|github| Some((github, github.push_url(remote)?))) {
        Some((github, url)) => {
            let call = call.env("GIT_ALLOW_PROTOCOL", url.scheme()).env("GIT_CONFIG_COUNT", "1");
            let (key, header) = github.git_header();
            let call = call.env("GIT_CONFIG_KEY_0", key).env("GIT_CONFIG_VALUE_0", header.as_str());
            (github.secrets().into_iter().fold(call, Call::secret), url.to_string())
        }
        None => (call.env("GIT_ALLOW_PROTOCOL", remote.protocols()), remote.as_str().to_owned()),
    }
}

/// Size and beginning of the regular file at `path` below `root`.
fn read_inside(root: &Path, path: &Path, bytes_max: usize) -> io::Result<(u64, Vec<u8>)> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Opening a pipe must not wait for its other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(openat2(&root, path, flags, Mode::empty(), inside)?);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut content = Vec::new();
    file.take(bytes_max as u64).read_to_end(&mut content)?;
    Ok((metadata.len(), content))
}

fn unreadable(path: &str, why: io::Error) -> GitError {
    match why.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            GitError::NotFound(format!("There is no file `{path}` in this repository."))
        }
        io::ErrorKind::CrossesDevices => {
            GitError::Invalid(format!("`{path}` leads out of the repository. Only files inside of it are shown."))
        }
        io::ErrorKind::InvalidInput => GitError::Invalid(format!("`{path}` is not a file that can be shown.")),
        _ => GitError::Io { what: format!("`{path}` could not be read"), source: why },
    }
}

/// `content` as text; none when it is binary. A character that was cut in two at the end is left out.
fn text_of(content: &[u8], cut: bool) -> Option<&str> {
    if content.contains(&0) {
        return None;
    }
    match std::str::from_utf8(content) {
        Ok(text) => Some(text),
        Err(error) if cut && error.error_len().is_none() => std::str::from_utf8(&content[..error.valid_up_to()]).ok(),
        Err(_) => None,
    }
}
