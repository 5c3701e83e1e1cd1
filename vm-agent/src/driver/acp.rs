//! Any agent that speaks the Agent Client Protocol (version 1), over its standard input and output: one process per job.
//!
//! What it heeds of the repository is its own affair, and so is what it does without asking: it is told nothing but the task, and is
//! kept where every agent is. If there is an API key, it finds an Anthropic API at `ANTHROPIC_BASE_URL` with a token for this run
//! in `ANTHROPIC_API_KEY`; the key stays in [`super::proxy`]. An agent of another make has its own login in its home.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::process::{self, Complaints};
use super::proxy::Proxy;
use super::{AgentDriver, AgentEnd, AgentEvent, Job};
use crate::supervise::supervisor::EXIT_NOT_STARTED;
use crate::supervise::{AgentCommand, Supervision};
use crate::tools;
use crate::tools::pictures::Pictures;

pub mod command_line;
mod dialogue;
mod peer;
mod permission;
pub mod progress;
pub mod wire;

use command_line::CommandLine;
use dialogue::{Dialogue, Talk};

/// How an agent is run.
#[derive(Debug)]
pub struct Settings {
    /// What starts it.
    pub command: CommandLine,
    /// The key for Anthropic's API, if the agent is to have the use of it.
    pub api_key: Option<SecretString>,
    /// The API.
    pub api_url: Url,
    /// Where the agent keeps what it keeps, from run to run.
    pub home: PathBuf,
    /// The browser that pages are looked at with.
    pub chromium: PathBuf,
    /// The agent's `PATH`.
    pub search_path: OsString,
    /// An agent that says nothing for so long, while no tool of its is at work, is stopped.
    pub silence_timeout: Duration,
    /// A reply of the person's is waited for so long.
    pub inquiry_timeout: Duration,
}

/// The driver for agents that speak the protocol.
#[derive(Debug)]
pub struct Acp {
    settings: Settings,
    supervision: Supervision,
    /// What the agent called itself when it was last met.
    version: Mutex<Option<String>>,
}

impl Acp {
    /// A driver with these settings.
    pub fn new(settings: Settings, supervision: Supervision) -> Self {
        Self { settings, supervision, version: Mutex::default() }
    }

    async fn attempt(
        &self,
        job: &Job,
        events: &mpsc::Sender<AgentEvent>,
        stop: &CancellationToken,
    ) -> Result<AgentEnd, String> {
        let user = self.supervision.confinement().user;
        process::make_home(&self.settings.home, user)?;
        let proxy = self.settings.api_key.clone().map(|key| Proxy::start(key, self.settings.api_url.clone(), user));
        let proxy = proxy.transpose().map_err(|error| format!("The way to the API could not be opened: {error}"))?;
        let pictures = Pictures::start(user, events.clone())
            .map_err(|error| format!("The agent's tools could not be prepared: {error}"))?;
        let tools = tools::Orders {
            pictures: pictures.socket(),
            directory: pictures.directory().to_owned(),
            worktree: job.worktree.clone(),
            chromium: self.settings.chromium.clone(),
            proxy: None,
        };
        let command = self.command(job, proxy.as_ref(), tools.clone());
        let mut agent =
            self.supervision.start(command).map_err(|error| format!("The agent could not be started: {error}"))?;
        let complaints = Complaints::read(&mut agent);
        let talk = match agent.stdout.take() {
            Some(stdout) => {
                let Settings { silence_timeout, inquiry_timeout, .. } = self.settings;
                let (tools, version, gone) = (&tools, &self.version, CancellationToken::new());
                let dialogue = Dialogue { job, events, stop, silence_timeout, inquiry_timeout, tools, version, gone };
                dialogue.hold(&mut agent, stdout).await
            }
            None => Talk::Silent,
        };
        let may_end_itself = matches!(talk, Talk::Done(_) | Talk::Failed(_) | Talk::Silent);
        let status = process::end(&mut agent, may_end_itself).await.ok();
        Ok(self.judge(talk, status, &complaints.told().await))
    }

    fn judge(&self, talk: Talk, status: Option<ExitStatus>, complaints: &str) -> AgentEnd {
        let failed = |reason| AgentEnd::Failed { reason };
        match talk {
            Talk::Done(text) => AgentEnd::Done { text },
            Talk::Failed(reason) => failed(reason),
            Talk::Stopped => AgentEnd::Stopped,
            Talk::Hung => failed(process::hung(self.settings.silence_timeout)),
            Talk::Silent if status.and_then(|status| status.code()) == Some(EXIT_NOT_STARTED.into()) => {
                let program = self.settings.command.program.display();
                failed(format!(
                    "The agent could not be started ({program}). Install it on the VM, or name another one in AGENT_DRIVER."
                ))
            }
            Talk::Silent => failed(format!("The agent ended before it was done. It said: {complaints}")),
        }
    }

    fn command(&self, job: &Job, proxy: Option<&Proxy>, tools: tools::Orders) -> AgentCommand {
        let Settings { command, home, .. } = &self.settings;
        let mut writable = vec![home.clone(), tools.directory.clone()];
        writable.extend(proxy.map(|proxy| proxy.directory().to_owned()));
        AgentCommand {
            program: command.program.clone(),
            args: command.args.clone(),
            env: self.environment(proxy),
            directory: job.worktree.clone(),
            writable,
            readable: job.readable.clone(),
            tools: Some(tools),
            api: proxy.map(Proxy::socket),
            lock: job.lock.clone(),
        }
    }

    /// What the operator sets comes last, and so counts, but for the address of the API and the proxy: those are set where the run is
    /// started.
    fn environment(&self, proxy: Option<&Proxy>) -> Vec<(String, OsString)> {
        let mut env: Vec<(&str, OsString)> = vec![
            ("PATH", self.settings.search_path.clone()),
            ("HOME", (&self.settings.home).into()),
            ("LANG", "C.UTF-8".into()),
        ];
        env.extend(proxy.map(|proxy| ("ANTHROPIC_API_KEY", proxy.token().into())));
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value));
        env.chain(self.settings.command.env.iter().cloned()).collect()
    }
}

#[async_trait]
impl AgentDriver for Acp {
    fn name(&self) -> &'static str {
        "acp"
    }

    /// Not before the first job: a program that starts agents tells a version of its own.
    async fn version(&self) -> Option<String> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn run(&self, job: &Job, events: mpsc::Sender<AgentEvent>, stop: CancellationToken) -> AgentEnd {
        self.attempt(job, &events, &stop).await.unwrap_or_else(|reason| AgentEnd::Failed { reason })
    }
}
