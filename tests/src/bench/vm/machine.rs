//! vm-agent with the Claude Code CLI, a repository, and somebody who takes its reports.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use relay_core::id::{ConversationId, Fence, RunId};
use relay_core::protocol::{
    CancelRequest, Command, CommandRequest, Question, Report, RunOutcome, Task, VmEvent, signature,
};
use relay_core::time::Timestamp;
use serde::Serialize;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::fake_anthropic::FakeAnthropic;
use crate::peers::claude_path;
use crate::process::{Process, binary};
use crate::server::{self, Server};
use crate::stack::{SECRET, START_TIMEOUT, free_address, sample_origin};

/// Far longer than any turn of a fake model takes.
const TURN_TIMEOUT: Duration = Duration::from_secs(120);

/// The running process.
#[derive(Debug)]
pub(super) struct Machine {
    process: Process,
    url: String,
    http: reqwest::Client,
    ends: mpsc::UnboundedReceiver<(RunId, RunOutcome, Instant)>,
    runs: u64,
    _reports: Server,
    _folder: TempDir,
}

/// A run that was accepted.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) run: RunId,
    pub(super) began: Instant,
    /// From the command to the answer.
    pub(super) answered_after: Duration,
}

impl Machine {
    /// Start it, and wait until its repository is there.
    pub(super) async fn start(api: &FakeAnthropic) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let origin = folder.path().join("origin.git");
        sample_origin(&origin);
        let (tell, ends) = mpsc::unbounded_channel();
        let reports = Server::start(move |request| {
            if let Ok(Report { run, event: VmEvent::Finished { outcome, .. }, .. }) =
                serde_json::from_slice(&request.body)
            {
                // Whoever measures may be gone.
                let _ = tell.send((run, outcome, Instant::now()));
            }
            async { server::empty(200) }
        })
        .await;
        let address = free_address();
        let vars = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("VM_BIND", address.to_string()),
            ("VM_SECRET", SECRET.to_owned()),
            ("EVENTS_URL", reports.url()),
            ("DATA_DIR", folder.path().join("vm").display().to_string()),
            ("REPO_URL", origin.display().to_string()),
            ("AGENT_DRIVER", "claude".to_owned()),
            ("CLAUDE_PATH", claude_path().display().to_string()),
            ("ANTHROPIC_API_KEY", "sk-for-the-benchmark".to_owned()),
            ("ANTHROPIC_BASE_URL", api.url()),
        ];
        let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut process = Process::start(&binary("vm-agent"), &[], &vars);
        process.wait_for_line("listening on", START_TIMEOUT).await;
        let http = reqwest::Client::new();
        let url = format!("http://{address}");
        let mut machine = Self { process, url, http, ends, runs: 0, _reports: reports, _folder: folder };
        // The first run clones, if that is not done by then.
        machine.turn("hi").await?;
        Ok(machine)
    }

    /// Start a run.
    pub(super) async fn command(&mut self, prompt: &str) -> anyhow::Result<Started> {
        self.runs += 1;
        let run = RunId::of(&conversation(), Timestamp(0), self.runs);
        let command = Command::Run { run: run.clone(), task: Task::prompt(prompt) };
        let began = Instant::now();
        self.post("/command", &request(command)).await?;
        Ok(Started { run, began, answered_after: began.elapsed() })
    }

    /// A run in a session of its own, from the command to the report of its end, which must be a good one.
    pub(super) async fn turn(&mut self, prompt: &str) -> anyhow::Result<Duration> {
        if self.runs > 0 {
            self.post("/command", &request(Command::Ask { question: Question::Clear })).await?;
        }
        let Started { run, began, .. } = self.command(prompt).await?;
        let (outcome, at) = self.end(&run).await?;
        ensure!(
            matches!(outcome, RunOutcome::Answered { .. } | RunOutcome::Changes { .. }),
            "a run failed: {outcome:?}"
        );
        Ok(at - began)
    }

    /// Stop a run, and wait until it is over.
    pub(super) async fn cancel(&mut self, started: &Started) -> anyhow::Result<()> {
        let run = started.run.clone();
        self.post("/cancel", &CancelRequest { conversation: conversation(), fence: Fence(1), run }).await?;
        self.end(&started.run).await.map(drop)
    }

    /// What the kernel says of the process's memory, in MB (10⁶ bytes).
    pub(super) fn resident_mb(&self, name: &str) -> anyhow::Result<f64> {
        let pid = self.process.id().context("vm-agent has ended")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such line")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0 / 1e6)
    }

    async fn end(&mut self, run: &RunId) -> anyhow::Result<(RunOutcome, Instant)> {
        loop {
            let end = timeout(TURN_TIMEOUT, self.ends.recv()).await;
            match end.with_context(|| format!("a run does not end:\n{}", self.process.lines().join("\n")))? {
                Some((ended, outcome, at)) if ended == *run => return Ok((outcome, at)),
                Some(_) => {}
                None => anyhow::bail!("nobody takes reports any more"),
            }
        }
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> anyhow::Result<()> {
        let body = serde_json::to_vec(body)?;
        let now =
            Timestamp(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis().try_into()?);
        let signed = signature::sign(SECRET.as_bytes(), now, "POST", path, &body);
        let call = self.http.post(format!("{}{path}", self.url)).header(signature::HEADER, signed).body(body);
        let answer = call.send().await?;
        ensure!(answer.status().is_success(), "{path}: {} {}", answer.status(), answer.text().await?);
        Ok(())
    }
}

fn conversation() -> ConversationId {
    ConversationId::parse("c0ffee").expect("a name of a conversation")
}

fn request(command: Command) -> CommandRequest {
    CommandRequest { conversation: conversation(), fence: Fence(1), command }
}
