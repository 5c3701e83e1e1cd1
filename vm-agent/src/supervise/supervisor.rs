//! The supervisor process: starts one agent, watches over it, and ends only when nothing of it is left.
//!
//! `vm-agent supervise LOCK PARENT CONFINEMENT PROGRAM [ARGUMENT…]`, with the agent's whole environment, working directory, and
//! standard input, output and error, all of which it hands on untouched. It must never start the agent when PARENT is gone
//! or LOCK is held: then a newer vm-agent has taken over.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::cgroup::{self, Cgroup};
use super::confinement::Confinement;
use super::sweep;

/// Exit code when the agent could not be started.
pub const EXIT_NOT_STARTED: u8 = 127;
/// Exit code when the supervisor itself failed.
const EXIT_BROKEN: u8 = 70;
/// Added to the signal's number when a signal ended the agent, as a shell does.
const EXIT_SIGNALLED: i32 = 128;

/// How long the agent may take to end after SIGTERM.
const TERM_GRACE: Duration = Duration::from_secs(2);
/// How often the supervisor looks whether its parent is still there.
const PARENT_POLL: Duration = Duration::from_millis(50);

/// How often the supervisor looks how much memory is used: memory is filled at gigabytes a second at most.
const MEMORY_POLL: Duration = Duration::from_millis(250);

struct Orders {
    lock: PathBuf,
    parent: i32,
    confinement: Confinement,
    program: PathBuf,
    args: Vec<OsString>,
}

/// Why there is nothing to watch over. Reaches the driver as the last line of standard error.
#[derive(Debug, thiserror::Error)]
enum SupervisorError {
    #[error("usage: vm-agent supervise LOCK PARENT CONFINEMENT PROGRAM [ARGUMENT...]")]
    Usage,
    #[error("the run's lock is not free: {0}")]
    Lock(io::Error),
    #[error("cannot take charge: {0}")]
    Charge(io::Error),
    #[error("the agent cannot be confined: {0}")]
    Unconfined(io::Error),
    #[error("the parent is gone")]
    Orphaned,
    #[error("cannot start {}: {source}", program.display())]
    NotStarted { program: PathBuf, source: io::Error },
}

/// Be the supervisor that `args` (those after `supervise`) describe.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return broken(&SupervisorError::Charge(error)),
    };
    match parse(args).and_then(|orders| runtime.block_on(supervise(orders))) {
        Ok(code) => ExitCode::from(code),
        Err(error) => broken(&error),
    }
}

/// Standard error, which the driver may read, is the supervisor's only way to say why there is no agent.
fn broken(error: &SupervisorError) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    ExitCode::from(if matches!(error, SupervisorError::NotStarted { .. }) { EXIT_NOT_STARTED } else { EXIT_BROKEN })
}

fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Orders, SupervisorError> {
    let lock = args.next().ok_or(SupervisorError::Usage)?.into();
    let parent = args.next().and_then(|pid| pid.to_str()?.parse().ok()).ok_or(SupervisorError::Usage)?;
    let confinement = args.next().and_then(|json| serde_json::from_str(json.to_str()?).ok());
    let confinement = confinement.ok_or(SupervisorError::Usage)?;
    let program = args.next().ok_or(SupervisorError::Usage)?.into();
    Ok(Orders { lock, parent, confinement, program, args: args.collect() })
}

async fn supervise(orders: Orders) -> Result<u8, SupervisorError> {
    let _held_to_the_end = hold(&orders.lock).map_err(SupervisorError::Lock)?;
    let mut terminate = take_charge().map_err(SupervisorError::Charge)?;
    // Looked at after the lock is held: a vm-agent that starts from now on waits for the lock.
    if !is_parent(orders.parent) {
        return Err(SupervisorError::Orphaned);
    }
    orders.confinement.apply().map_err(SupervisorError::Unconfined)?;
    let mut command = Command::new(&orders.program);
    command.args(&orders.args).process_group(0);
    if let Some(user) = orders.confinement.user {
        // Its other groups are given up with it.
        command.uid(user.uid).gid(user.gid);
    }
    let group = orders.confinement.cgroup.map(|_| Cgroup::make(&orders.lock, &orders.confinement));
    let group = group.transpose().map_err(SupervisorError::Unconfined)?;
    let started = match &group {
        Some(group) => group.within(|| command.spawn()).map_err(SupervisorError::Unconfined),
        None => Ok(command.spawn()),
    };
    let not_started = |source| SupervisorError::NotStarted { program: orders.program.clone(), source };
    let mut agent = match started.and_then(|started| started.map_err(not_started)) {
        Ok(agent) => agent,
        Err(error) => {
            cgroup::end(group, sweep::descendants()).await;
            return Err(error);
        }
    };
    let ended = tokio::select! {
        status = agent.wait() => status.ok(),
        _ = terminate.recv() => end(&mut agent).await,
        () = orphaned(orders.parent) => end(&mut agent).await,
        most = too_large(orders.confinement.memory_bytes_max) => {
            let _ = writeln!(io::stderr(), "the agent and what it started used more than {} MB of memory", most >> 20);
            kill(&mut agent).await
        }
    };
    cgroup::end(group, sweep::descendants()).await;
    Ok(exit_code(ended))
}

/// The lock is released by the kernel when this process ends, however it ends. No child inherits it.
fn hold(lock: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(lock)?;
    file.try_lock()?;
    Ok(file)
}

/// Become the leader of a new session and the one who adopts orphans; from now on SIGTERM is an order, not the end.
fn take_charge() -> io::Result<tokio::signal::unix::Signal> {
    rustix::process::setsid()?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    signal(SignalKind::terminate())
}

fn is_parent(pid: i32) -> bool {
    rustix::process::getppid().is_some_and(|parent| parent.as_raw_pid() == pid)
}

/// The kernel's own notice (`PR_SET_PDEATHSIG`) comes when the *thread* that started this process ends, which in vm-agent
/// may be any worker; so this looks.
async fn orphaned(parent: i32) {
    while is_parent(parent) {
        tokio::time::sleep(PARENT_POLL).await;
    }
}

async fn end(agent: &mut Child) -> Option<std::process::ExitStatus> {
    let group = agent.id().and_then(|id| Pid::from_raw(id.cast_signed()))?;
    // The group may be empty by now; what has left it is the sweep's.
    let _ = rustix::process::kill_process_group(group, Signal::TERM);
    if let Ok(status) = tokio::time::timeout(TERM_GRACE, agent.wait()).await {
        return status.ok();
    }
    kill(agent).await
}

async fn kill(agent: &mut Child) -> Option<std::process::ExitStatus> {
    let group = agent.id().and_then(|id| Pid::from_raw(id.cast_signed()))?;
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    agent.wait().await.ok()
}

/// Returns when more memory is used than this, and how much may be.
async fn too_large(most: Option<u64>) -> u64 {
    let Some(most) = most else { return std::future::pending().await };
    while sweep::resident_bytes() <= most {
        tokio::time::sleep(MEMORY_POLL).await;
    }
    most
}

/// As a shell tells how a program ended.
pub(super) fn exit_code(status: Option<std::process::ExitStatus>) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code =
        status.map(|status| status.code().unwrap_or_else(|| EXIT_SIGNALLED + status.signal().unwrap_or_default()));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(EXIT_BROKEN)
}
