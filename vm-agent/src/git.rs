//! The one way in which git is run.
//!
//! The worktree belongs to the agent: whatever lies in it was written by a model, or by whoever wrote the repository.
//! So git is pointed at a trusted directory outside of it (`--git-dir`), with an empty environment, no configuration
//! but what stands here, no hooks, no file system monitor, no filters, no prompts, and limits on time and output.
//! Everything that needs git goes through [`Git::call`]; nothing else in this crate may start it.
//!
//! The modules below build on it: [`repository`] (one repository on the volume), [`capture`] and [`snapshot`] (what the
//! worktree holds), `changed_files` (a diff file by file), [`patch`] (a diff line by line), `review` (laid out for a page), [`restore`] (put it back), [`park`] (commits on local branches), [`agent_git`] (the agent's own
//! `.git`), [`remote`] (addresses).

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

pub mod agent_git;
pub mod capture;
mod changed_files;
mod error;
pub(crate) mod fetch;
mod follow;
mod lines;
pub mod manifest;
mod object_id;
pub mod park;
pub mod patch;
pub mod remote;
pub mod repository;
pub mod restore;
mod review;
pub mod snapshot;
pub mod worktree;

pub use error::GitError;
pub(crate) use error::is_unreachable;
pub use object_id::ObjectId;

/// How long git may work on local files.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(300);
/// How long git may read or write all files of a worktree.
pub(crate) const WORKTREE_TIMEOUT: Duration = Duration::from_secs(900);
/// How long git may talk to a remote.
pub(crate) const NETWORK_TIMEOUT: Duration = Duration::from_secs(900);
/// Bytes of output that are kept in memory at most, unless a call says otherwise.
const OUTPUT_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes of git's complaints that are kept.
const COMPLAINT_BYTES_MAX: usize = 8 * 1024;

/// Settings of every call. They stand on the command line, where no configuration file can overrule them.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.fileMode=true",
    "core.symlinks=true",
    "core.ignoreCase=false",
    // File names that only other systems cannot hold are fine here, and a run may make them.
    "core.protectNTFS=false",
    "core.protectHFS=false",
    "core.quotePath=false",
    "credential.helper=",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "push.recurseSubmodules=no",
    "push.gpgSign=false",
    // Snapshots are reachable from nothing that a branch knows; `capture` prunes by its own rule.
    "gc.auto=0",
    "maintenance.auto=false",
    // Gives up on a connection that stalls long before the time-out does.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
];

/// Variables of this process that git may see: how to find programs, and how the operator's network is reached.
const INHERITED: &[&str] = &[
    "PATH",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "GIT_SSL_CAINFO",
];

/// Where git works: a trusted directory that holds its data, and the worktree that it is applied to.
#[derive(Clone, Debug)]
pub struct Git {
    git_dir: PathBuf,
    worktree: PathBuf,
    index: Option<PathBuf>,
}

impl Git {
    /// Git on `worktree`, with its data in `git_dir`, which must lie outside of it.
    pub fn new(git_dir: PathBuf, worktree: PathBuf) -> Self {
        Self { git_dir, worktree, index: None }
    }

    /// The same, with another index file.
    pub(crate) fn with_index(&self, index: PathBuf) -> Self {
        Self { index: Some(index), ..self.clone() }
    }

    /// The trusted directory.
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The worktree.
    pub fn worktree(&self) -> &Path {
        &self.worktree
    }

    /// Prepare `git <what>`.
    pub fn call(&self, what: &'static str) -> Call {
        let mut call = Call::bare(what, &self.worktree);
        call.place.push("--git-dir".into());
        call.place.push(self.git_dir.clone().into());
        call.place.push("--work-tree".into());
        call.place.push(self.worktree.clone().into());
        match &self.index {
            Some(index) => call.env("GIT_INDEX_FILE", index),
            None => call,
        }
    }
}

/// One call of git, to be run by one of the methods that wait for it.
#[derive(Debug)]
pub struct Call {
    what: &'static str,
    directory: PathBuf,
    place: Vec<OsString>,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    timeout: Duration,
    bytes_max: usize,
    secrets: Vec<SecretString>,
}

/// How a call ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status; none when it was ended by a signal.
    pub code: Option<i32>,
    /// What it wrote, up to the limit.
    pub stdout: Vec<u8>,
    /// True when it wrote more.
    pub cut: bool,
    /// What it complained about, shortened, without credentials.
    pub complaint: String,
}

impl Call {
    /// `git <what>` in `directory`, without a repository: for `clone` and `init`.
    pub(crate) fn bare(what: &'static str, directory: &Path) -> Self {
        Self {
            what,
            directory: directory.to_owned(),
            place: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            timeout: LOCAL_TIMEOUT,
            bytes_max: OUTPUT_BYTES_MAX,
            secrets: Vec::new(),
        }
    }

    /// Add an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Add arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Set a variable.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Give it these bytes on its standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Allow it this long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Keep this much of its output at most.
    pub fn bytes_max(mut self, bytes_max: usize) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Never repeat `secret` in a message.
    pub(crate) fn secret(mut self, secret: SecretString) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Run it, whatever its exit status.
    pub async fn outcome(self) -> Result<Outcome, GitError> {
        let mut child = self.command().spawn().map_err(GitError::NotStarted)?;
        let group = Group::led_by(&child);
        let work = self.attend(&mut child);
        let (status, stdout, cut, complaint) = tokio::time::timeout(self.timeout, work)
            .await
            .map_err(|_| GitError::TimedOut { what: self.what, limit: self.timeout })?
            .map_err(GitError::io(format!("`git {}` could not be followed", self.what)))?;
        group.ended();
        Ok(Outcome { code: status.code(), stdout, cut, complaint: scrub(&complaint, &self.secrets) })
    }

    /// Run it to a successful end and give what it wrote.
    pub async fn output(self) -> Result<Vec<u8>, GitError> {
        let what = self.what;
        let outcome = self.outcome().await?;
        if outcome.cut {
            return Err(GitError::Unexpected { what, why: "it is longer than can be handled" });
        }
        if outcome.code != Some(0) {
            return Err(GitError::Failed { what, complaint: outcome.complaint });
        }
        Ok(outcome.stdout)
    }

    /// Run it to a successful end and give the one line it wrote.
    pub async fn line(self) -> Result<String, GitError> {
        let what = self.what;
        let bytes = self.output().await?;
        let text = String::from_utf8(bytes).map_err(|_| GitError::Unexpected { what, why: "it is not UTF-8" })?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// Run it to a successful end and give the object that it names.
    pub async fn object(self) -> Result<ObjectId, GitError> {
        let what = self.what;
        ObjectId::parse(self.line().await?).ok_or(GitError::Unexpected { what, why: "it is not an object's name" })
    }

    /// Run it as a question: 0 is yes, 1 is no, anything else an error.
    pub async fn yes(self) -> Result<bool, GitError> {
        let what = self.what;
        let outcome = self.outcome().await?;
        match outcome.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(GitError::Failed { what, complaint: outcome.complaint }),
        }
    }

    /// Start it, for a caller that talks with it. It is killed when the child is dropped.
    pub(crate) fn spawn(&self) -> Result<Child, GitError> {
        self.command().spawn().map_err(GitError::NotStarted)
    }

    fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.arg("--no-pager").args(&self.place);
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        command.arg(self.what).args(&self.args).current_dir(&self.directory);
        command.env_clear();
        for key in INHERITED {
            if let Some(value) = std::env::var_os(key) {
                command.env(key, value);
            }
        }
        command
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_EDITOR", "false")
            .env("GIT_OPTIONAL_LOCKS", "0")
            // A replacement would be shown in the place of what is pushed.
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            // No transport at all, unless the call names the one it needs.
            .env("GIT_ALLOW_PROTOCOL", "none")
            .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=15 -oStrictHostKeyChecking=accept-new")
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    async fn attend(&self, child: &mut Child) -> io::Result<(std::process::ExitStatus, Vec<u8>, bool, Vec<u8>)> {
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A git that stops reading early says why in its exit status.
                let _ = stdin.write_all(&self.stdin).await;
            }
        };
        let stdout = read_start(child.stdout.take(), self.bytes_max);
        let stderr = read_all_keep_start(child.stderr.take(), COMPLAINT_BYTES_MAX);
        let ((), stdout, stderr) = tokio::join!(feed, stdout, stderr);
        let (stdout, cut) = stdout?;
        Ok((child.wait().await?, stdout, cut, stderr?))
    }
}

/// Read up to `bytes_max`, then hang up, which ends the writer.
async fn read_start(from: Option<impl AsyncRead + Unpin>, bytes_max: usize) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let Some(from) = from else { return Ok((bytes, false)) };
    from.take(bytes_max as u64 + 1).read_to_end(&mut bytes).await?;
    let cut = bytes.len() > bytes_max;
    bytes.truncate(bytes_max);
    Ok((bytes, cut))
}

/// Read to the end, so that the writer never waits, and keep the first `bytes_max`.
async fn read_all_keep_start(from: Option<impl AsyncRead + Unpin>, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut from) = from else { return Ok(kept) };
    let mut buffer = [0; 4096];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(kept);
        }
        let room = bytes_max - kept.len();
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
}

/// The process group of a running git: its helpers (`git-remote-https`, `index-pack`, `ssh`) end with it.
struct Group(Option<Pid>);

impl Group {
    fn led_by(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// The leader was waited for: its number may belong to someone else by now.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Fails only when nothing is left to kill.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Git's complaint in one paragraph: without progress, without the secrets, without the credentials of an address.
fn scrub(complaint: &[u8], secrets: &[SecretString]) -> String {
    let mut text = String::from_utf8_lossy(complaint).into_owned();
    for secret in secrets {
        if !secret.expose_secret().is_empty() {
            text = text.replace(secret.expose_secret(), "***");
        }
    }
    let words = text.split_whitespace().map(remote::without_credentials).collect::<Vec<_>>();
    if words.is_empty() { "it gave no reason".to_owned() } else { words.join(" ") }
}

/// Run work that blocks on a thread where that is allowed.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, GitError> + Send + 'static,
) -> Result<T, GitError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failure| {
        Err(GitError::Io { what: "Work on the files was broken off".to_owned(), source: io::Error::other(failure) })
    })
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
