//! Claude Code, run headless and spoken to in JSON lines: one process per job, told the task on standard input, read on
//! standard output. The command line was settled against version 2.1.330; the protocol on standard input belongs to the
//! program's own SDK, so its version is pinned where it is installed.
//!
//! What the repository says about Claude Code's settings, hooks and servers is not heeded (`--setting-sources user
//! --strict-mcp-config`): it could run commands or send the API key elsewhere. Its `CLAUDE.md` is only text, and is given
//! to the agent. The key stays in [`super::proxy`]; the environment holds a token for this run.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::process::Command;
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::process::{self, Complaints};
use super::proxy::Proxy;
use super::{AgentDriver, AgentEnd, AgentEvent, Job, SESSION_GONE};
use crate::supervise::supervisor::EXIT_NOT_STARTED;
use crate::supervise::{AgentCommand, Supervision};
use crate::text::clip;
use crate::tools;
use crate::tools::pictures::Pictures;

mod dialogue;
mod inquiry;
pub mod progress;
pub mod stream;

use dialogue::{Dialogue, Talk};
use stream::Verdict;

/// How long the program may take to tell its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(2);
const VERSION_CHARS_MAX: usize = 40;

/// How Claude Code is run.
#[derive(Debug)]
pub struct Settings {
    /// The program.
    pub program: PathBuf,
    /// The key, or nothing: then every job fails with a line that says so.
    pub api_key: Option<SecretString>,
    /// The API.
    pub api_url: Url,
    /// Where sessions and the program's own settings are kept, from run to run.
    pub home: PathBuf,
    /// The browser that pages are looked at with.
    pub chromium: PathBuf,
    /// The agent's `PATH`.
    pub search_path: OsString,
    /// Calls to the model per job at most; the program's default when absent.
    pub turns_max: Option<u32>,
    /// What a job may cost, in US dollars; no limit when absent. A call to the model that was begun is paid for all the same.
    pub budget_usd: Option<f64>,
    /// An agent that says nothing for so long, while no tool of its is at work, is stopped.
    pub silence_timeout: Duration,
    /// A reply of the person's is waited for so long.
    pub inquiry_timeout: Duration,
    /// The model; the program's default when absent.
    pub model: Option<String>,
}

/// The driver for Claude Code.
#[derive(Debug)]
pub struct Claude {
    settings: Settings,
    supervision: Supervision,
    version: OnceCell<String>,
}

/// How one process ended.
enum Attempt {
    Over(AgentEnd),
    UnknownSession,
}

impl Claude {
    /// A driver with these settings.
    pub fn new(settings: Settings, supervision: Supervision) -> Self {
        Self { settings, supervision, version: OnceCell::new() }
    }

    /// `2.1.330 (Claude Code)`. No agent is started by this.
    async fn ask_version(&self) -> io::Result<String> {
        let mut program = Command::new(&self.settings.program);
        program.arg("--version").env_clear().env("PATH", &self.settings.search_path).kill_on_drop(true);
        program.current_dir("/");
        if let Some(user) = self.supervision.confinement().user {
            program.uid(user.uid).gid(user.gid);
        }
        let output = tokio::time::timeout(VERSION_TIMEOUT, program.output()).await??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.split_whitespace().next().map(|word| clip(word, VERSION_CHARS_MAX));
        version.filter(|_| output.status.success()).ok_or_else(|| io::Error::other("it tells no version"))
    }

    async fn attempt(
        &self,
        job: &Job,
        session: Option<&str>,
        events: &mpsc::Sender<AgentEvent>,
        stop: &CancellationToken,
    ) -> Result<Attempt, String> {
        let Some(key) = self.settings.api_key.clone() else {
            return Err("Claude Code has no API key. Set ANTHROPIC_API_KEY on the VM and restart it.".to_owned());
        };
        let user = self.supervision.confinement().user;
        let proxy = Proxy::start(key, self.settings.api_url.clone(), user)
            .map_err(|error| format!("The way to the Anthropic API could not be opened: {error}"))?;
        let pictures = Pictures::start(user, events.clone())
            .map_err(|error| format!("The agent's tools could not be prepared: {error}"))?;
        let command = self.command(job, session, &proxy, &pictures);
        let mut agent =
            self.supervision.start(command).map_err(|error| format!("The agent could not be started: {error}"))?;
        let complaints = Complaints::read(&mut agent);
        let talk = match agent.stdout.take() {
            Some(stdout) => {
                let Settings { silence_timeout, inquiry_timeout, .. } = self.settings;
                Dialogue { job, events, stop, silence_timeout, inquiry_timeout }.hold(&mut agent, stdout).await
            }
            None => Talk::Silent,
        };
        let may_end_itself = matches!(talk, Talk::Verdict(_) | Talk::Silent);
        let status = process::end(&mut agent, may_end_itself).await.ok();
        Ok(self.judge(talk, status, &complaints.told().await))
    }

    fn judge(&self, talk: Talk, status: Option<ExitStatus>, complaints: &str) -> Attempt {
        let failed = |reason| Attempt::Over(AgentEnd::Failed { reason });
        match talk {
            Talk::Verdict(Verdict::Done(text)) => Attempt::Over(AgentEnd::Done { text }),
            Talk::Verdict(Verdict::Failed(reason)) => failed(reason),
            Talk::Verdict(Verdict::UnknownSession) => Attempt::UnknownSession,
            Talk::KeyRefused => failed(stream::KEY_REFUSED.to_owned()),
            Talk::Stopped => Attempt::Over(AgentEnd::Stopped),
            Talk::Hung => failed(process::hung(self.settings.silence_timeout)),
            Talk::Silent if status.and_then(|status| status.code()) == Some(EXIT_NOT_STARTED.into()) => {
                failed(format!(
                    "Claude Code could not be started ({}). Install it on the VM, or set CLAUDE_PATH to where it is.",
                    self.settings.program.display()
                ))
            }
            Talk::Silent => failed(format!("Claude Code ended without a result. It said: {complaints}")),
        }
    }

    fn command(&self, job: &Job, session: Option<&str>, proxy: &Proxy, pictures: &Pictures) -> AgentCommand {
        let tools = tools::Orders {
            pictures: pictures.socket(),
            directory: pictures.directory().to_owned(),
            worktree: job.worktree.clone(),
            chromium: self.settings.chromium.clone(),
            proxy: None,
        };
        let mut args = self.arguments(&job.worktree, session);
        args.extend(["--mcp-config".into(), tools.settings().into()]);
        AgentCommand {
            program: self.settings.program.clone(),
            args,
            env: self.environment(proxy),
            directory: job.worktree.clone(),
            writable: vec![self.settings.home.clone(), proxy.directory().to_owned(), pictures.directory().to_owned()],
            readable: job.readable.clone(),
            tools: Some(tools),
            api: None,
            lock: job.lock.clone(),
        }
    }

    fn arguments(&self, worktree: &Path, session: Option<&str>) -> Vec<OsString> {
        let fixed = "-p --input-format stream-json --output-format stream-json --verbose \
                     --permission-mode bypassPermissions --permission-prompt-tool stdio --setting-sources user --strict-mcp-config";
        let mut args: Vec<OsString> = fixed.split_whitespace().map(OsString::from).collect();
        let guide = worktree.join("CLAUDE.md");
        // Not through a link, which could lead anywhere on the VM.
        if guide.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
            args.extend(["--append-system-prompt-file".into(), guide.into()]);
        }
        if let Some(turns) = self.settings.turns_max {
            args.extend(["--max-turns".into(), turns.to_string().into()]);
        }
        // Counted by the program for each of its processes, and so for each job, whatever the session has cost before.
        if let Some(budget) = self.settings.budget_usd {
            args.extend(["--max-budget-usd".into(), budget.to_string().into()]);
        }
        if let Some(model) = &self.settings.model {
            args.extend(["--model".into(), model.into()]);
        }
        if let Some(session) = session {
            args.extend(["--resume".into(), session.into()]);
        }
        args
    }

    fn environment(&self, proxy: &Proxy) -> Vec<(String, OsString)> {
        let home = &self.settings.home;
        let mut env: Vec<(&str, OsString)> = vec![
            ("PATH", self.settings.search_path.clone()),
            ("HOME", home.into()),
            ("LANG", "C.UTF-8".into()),
            ("CLAUDE_CONFIG_DIR", home.join(".claude").into()),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".into()),
            ("CLAUDE_CODE_MAX_RETRIES", "3".into()),
            ("CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST", "1".into()),
            ("ENABLE_TOOL_SEARCH", "false".into()),
            // Never resolved: every call goes to the socket.
            ("ANTHROPIC_BASE_URL", "http://vm-agent.invalid".into()),
            ("ANTHROPIC_UNIX_SOCKET", proxy.socket().into()),
            ("ANTHROPIC_AUTH_TOKEN", proxy.token().into()),
        ];
        // Claude Code refuses to work without asking when it is root, unless it is told that the machine is its own.
        if rustix::process::getuid().is_root() && self.supervision.confinement().user.is_none() {
            env.push(("IS_SANDBOX", "1".into()));
        }
        env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[async_trait]
impl AgentDriver for Claude {
    fn name(&self) -> &'static str {
        "claude"
    }

    fn provider(&self) -> Option<&'static str> {
        Some("anthropic")
    }

    async fn version(&self) -> Option<String> {
        self.version.get_or_try_init(|| self.ask_version()).await.ok().cloned()
    }

    async fn run(&self, job: &Job, events: mpsc::Sender<AgentEvent>, stop: CancellationToken) -> AgentEnd {
        if let Err(reason) = process::make_home(&self.settings.home, self.supervision.confinement().user) {
            return AgentEnd::Failed { reason };
        }
        // One of another driver's is nothing for a command line.
        let session = job.session.as_deref().filter(|id| stream::is_uuid(id));
        let mut attempt = self.attempt(job, session, &events, &stop).await;
        if matches!(attempt, Ok(Attempt::UnknownSession)) && session.is_some() {
            let _ = events.send(AgentEvent::Progress(SESSION_GONE.to_owned())).await;
            attempt = self.attempt(job, None, &events, &stop).await;
        }
        match attempt {
            Ok(Attempt::Over(end)) => end,
            Ok(Attempt::UnknownSession) => AgentEnd::Failed { reason: "Claude Code lost its session.".to_owned() },
            Err(reason) => AgentEnd::Failed { reason },
        }
    }
}
