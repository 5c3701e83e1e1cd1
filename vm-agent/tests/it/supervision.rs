//! The supervisor alone, with a shell as the agent: whatever the agent leaves behind goes.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::vm::PROGRAM;
use crate::support::{bounded, eventually, processes_with};

/// Daemons of every kind; then `ready`.
const DAEMONS: &str = "
setsid sleep 300 > /dev/null 2>&1 &
nohup sleep 301 > /dev/null 2>&1 &
(setsid sh -c 'trap \"\" TERM HUP; sleep 302 & sleep 303' > /dev/null 2>&1 &)
setsid setsid sh -c 'sleep 304 & sleep 305 & exit' > /dev/null 2>&1
while ! pgrep -f 'sleep 305' > /dev/null; do sleep 0.01; done
echo ready
";

struct Agent {
    supervisor: Child,
    marker: String,
    _directory: tempfile::TempDir,
}

impl Agent {
    /// An agent that starts daemons and goes on with `then`; returned when it is ready. `wrapper` starts the supervisor.
    async fn start(then: &str, wrapped: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let marker = format!("MARK={}", directory.path().display());
        let script = format!("{DAEMONS}{then}");
        let lock = directory.path().join("lock");
        let mut command = if wrapped { through_a_parent(&lock, &script) } else { directly(&lock, &script) };
        command.env_clear().env("PATH", std::env::var("PATH").unwrap());
        let (name, value) = marker.split_once('=').unwrap();
        let mut supervisor = command.env(name, value).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(supervisor.stdout.take().unwrap()).lines();
        let ready = bounded("the daemons", lines.next_line()).await.unwrap();
        assert_eq!(ready.as_deref(), Some("ready"));
        Self { supervisor, marker, _directory: directory }
    }

    fn alive(&self) -> Vec<String> {
        processes_with(&self.marker)
    }

    async fn is_gone(&self) {
        eventually("the end of everything", async || self.alive().is_empty().then_some(())).await;
    }
}

fn directly(lock: &Path, script: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("supervise").arg(lock).arg(std::process::id().to_string()).args(["{}", "sh", "-c", script]);
    command
}

fn through_a_parent(lock: &Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "\"$1\" supervise \"$2\" $$ {} sh -c \"$3\" & wait", "parent", PROGRAM]).arg(lock).arg(script);
    command
}

fn send(process: &Child, signal: Signal) {
    kill_process(Pid::from_raw(process.id().unwrap().cast_signed()).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn daemons_die_when_the_agent_ends_by_itself() {
    let mut agent = Agent::start("exit 7", false).await;
    let status = bounded("the supervisor's end", agent.supervisor.wait()).await.unwrap();
    assert_eq!(status.code(), Some(7));
    assert_eq!(agent.alive(), Vec::<String>::new());
}

#[tokio::test]
async fn daemons_die_when_the_supervisor_is_told_to_stop() {
    let mut agent = Agent::start("trap '' TERM; while :; do sleep 1; done", false).await;
    assert!(agent.alive().len() >= 5, "{:?}", agent.alive());
    send(&agent.supervisor, Signal::TERM);
    bounded("the supervisor's end", agent.supervisor.wait()).await.unwrap();
    assert_eq!(agent.alive(), Vec::<String>::new());
}

#[tokio::test]
async fn daemons_die_when_the_parent_is_killed() {
    let mut agent = Agent::start("sleep 306", true).await;
    assert!(agent.alive().len() >= 5, "{:?}", agent.alive());
    send(&agent.supervisor, Signal::KILL);
    agent.supervisor.wait().await.unwrap();
    agent.is_gone().await;
}

#[tokio::test]
async fn nothing_starts_under_a_held_lock_or_a_lost_parent() {
    let directory = tempfile::tempdir().unwrap();
    let lock = directory.path().join("lock");
    let file = std::fs::File::create(&lock).unwrap();
    file.lock().unwrap();
    let output = bounded("the refusal", directly(&lock, "echo started").output()).await.unwrap();
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(70), true));
    file.unlock().unwrap();
    let mut orphan = Command::new(PROGRAM);
    orphan.arg("supervise").arg(&lock).args(["1", "{}", "echo", "started"]);
    let output = bounded("the refusal", orphan.output()).await.unwrap();
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(70), true));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_by_the_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .arg("supervise")
        .arg(directory.path().join("lock"))
        .arg(std::process::id().to_string())
        .args(["{}", "/no/such/program"]);
    let output = bounded("the supervisor's end", command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such/program"));
}
