//! A VM: a volume, an origin to clone from, and the process, which can be killed and started again.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use relay_core::id::{ConversationId, Fence, RunId, TreeHash};
use relay_core::protocol::{
    ApproveRequest, CancelRequest, Command, CommandRequest, Decision, Question, RunOutcome, Task, signature,
};
use relay_core::time::Timestamp;
use reqwest::{Response, StatusCode};
use serde::Serialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use vm_agent::clock;
use vm_agent::supervise::RUN_VARIABLE;

use super::relay::FakeRelay;
use super::{bounded, git, processes_with};

pub(crate) const SECRET: &str = "a secret of the tests, long enough for one";
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_vm-agent");

pub(crate) struct Vm {
    pub(crate) relay: FakeRelay,
    pub(crate) root: TempDir,
    environment: Vec<(String, String)>,
    /// What the process is started by: other words before its own.
    wrapper: Vec<String>,
    process: Child,
    url: String,
    log: Log,
}

/// What the processes of a VM have written, one after the other.
type Log = Arc<Mutex<String>>;

impl Vm {
    /// A VM with the demo agent.
    pub(crate) async fn demo() -> Self {
        Self::start(&[("AGENT_DRIVER", "demo")]).await
    }

    /// A VM with these settings beside the necessary ones.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        make_origin(root.path());
        let relay = FakeRelay::start().await;
        let mut environment: Vec<(String, String)> = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("VM_BIND", "127.0.0.1:0".to_owned()),
            ("VM_SECRET", SECRET.to_owned()),
            ("EVENTS_URL", relay.url.clone()),
            ("DATA_DIR", root.path().join("data").display().to_string()),
            ("REPO_URL", root.path().join("origin.git").display().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let log = Log::default();
        let (process, url) = launch(&[], &environment, &log).await;
        Self { relay, root, environment, wrapper: Vec::new(), process, url, log }
    }

    /// Start it again, by way of another program.
    pub(crate) async fn restart_by(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self.restart().await;
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        (self.process, self.url) = launch(&self.wrapper, &self.environment, &self.log).await;
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.process.id().expect("the process runs").cast_signed();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// The most memory that the process has had, in kB.
    pub(crate) fn peak_kb(&self) -> u64 {
        let pid = self.process.id().expect("the process runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells it");
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        bounded("the end of the process", self.process.wait()).await.unwrap()
    }

    /// Everything logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What the processes of a run have in their environment.
    pub(crate) fn mark(&self, run: &RunId) -> String {
        let lock = self.root.path().join("data/runs").join(run.as_str()).join("supervisor.lock");
        format!("{RUN_VARIABLE}={}", lock.display())
    }

    /// What carries a run's mark.
    pub(crate) fn processes(&self, run: &RunId) -> Vec<String> {
        processes_with(&self.mark(run))
    }

    pub(crate) fn origin(&self) -> PathBuf {
        self.root.path().join("origin.git")
    }

    pub(crate) fn worktree(&self) -> PathBuf {
        self.root.path().join("data/repos/origin/tree")
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Vec<u8>) -> Response {
        let signed = signature::sign(SECRET.as_bytes(), clock::now(), method, path, &body);
        self.send_signed(method, path, body, Some(&signed)).await
    }

    pub(crate) async fn send_signed(&self, method: &str, path: &str, body: Vec<u8>, signed: Option<&str>) -> Response {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = reqwest::Client::new().request(method, format!("{}{path}", self.url)).body(body);
        if let Some(signed) = signed {
            request = request.header(signature::HEADER, signed);
        }
        bounded("an answer", request.send()).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Response {
        self.send("POST", path, serde_json::to_vec(body).unwrap()).await
    }

    pub(crate) async fn command(&self, fence: u64, command: Command) -> Response {
        self.post("/command", &CommandRequest { conversation: conversation(), fence: Fence(fence), command }).await
    }

    pub(crate) async fn ask(&self, question: Question) -> Response {
        self.command(1, Command::Ask { question }).await
    }

    /// Start a run, which must be accepted.
    pub(crate) async fn begin(&self, number: u64, task: Task) -> RunId {
        let answer = self.start_run(number, task).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED, "{}", answer.text().await.unwrap());
        run(number)
    }

    pub(crate) async fn start_run(&self, number: u64, task: Task) -> Response {
        self.command(1, Command::Run { run: run(number), task }).await
    }

    pub(crate) async fn prompt(&self, number: u64, text: &str) -> RunId {
        self.begin(number, Task::prompt(text)).await
    }

    /// Give the agent a task, and wait for its diff.
    pub(crate) async fn prompt_for_changes(&self, number: u64, text: &str) -> (RunId, TreeHash) {
        let run = self.prompt(number, text).await;
        match self.relay.outcome(&run).await {
            RunOutcome::Changes { tree, .. } => (run, tree),
            other => panic!("no changes: {other:?}"),
        }
    }

    pub(crate) async fn decide(&self, run: &RunId, tree: &TreeHash, decision: Decision) -> Response {
        let (run, tree) = (run.clone(), tree.clone());
        let request = ApproveRequest { conversation: conversation(), fence: Fence(1), run, tree, decision };
        self.post("/approve", &request).await
    }

    pub(crate) async fn cancel(&self, run: &RunId) -> Response {
        self.post("/cancel", &CancelRequest { conversation: conversation(), fence: Fence(1), run: run.clone() }).await
    }
}

pub(crate) fn conversation() -> ConversationId {
    ConversationId::parse("c0ffee").unwrap()
}

pub(crate) fn run(number: u64) -> RunId {
    RunId::of(&conversation(), Timestamp(0), number)
}

/// A bare repository with one commit: a program and something to ignore.
fn make_origin(root: &Path) {
    let source = root.join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("README.md"), "# Sample\n").unwrap();
    std::fs::write(source.join(".gitignore"), "target\n").unwrap();
    git(&source, &["init", "--quiet"]);
    git(&source, &["add", "."]);
    git(&source, &["commit", "--quiet", "-m", "First"]);
    git(root, &["clone", "--quiet", "--bare", "source", "origin.git"]);
}

async fn launch(wrapper: &[String], environment: &[(String, String)], log: &Log) -> (Child, String) {
    let mut words = wrapper.iter().map(String::as_str).chain([PROGRAM]);
    let mut process = tokio::process::Command::new(words.next().unwrap())
        .args(words)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let log = log.clone();
    // All of it shows when a test fails.
    let note = move |line: &str| {
        eprintln!("{line}");
        log.lock().unwrap().extend([line, "\n"]);
    };
    let address = bounded("the listening line", async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the process ended before it listened");
            note(&line);
            if let Some((_, rest)) = line.split_once("listening on ") {
                return rest.split(' ').next().unwrap().to_owned();
            }
        }
    });
    let address = address.await;
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            note(&line);
        }
    });
    (process, format!("http://{address}"))
}
