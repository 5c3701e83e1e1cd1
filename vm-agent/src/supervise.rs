//! Why nothing of a run outlives it: agents start daemons, change sessions and get killed, and all of that must end with
//! the run.
//!
//! Each agent is started by a small process of its own, the *supervisor* (`vm-agent supervise`, in [`supervisor`]), which
//! adopts whatever the agent leaves behind and sweeps it when the agent ends, when it is told to stop (SIGTERM), and when
//! vm-agent is gone. vm-agent adopts in turn what a killed supervisor leaves behind, and sweeps that before it believes
//! that a run is over. This module is vm-agent's side; the drivers call it.
//!
//! A supervisor is the leader of a session of its own. No process can join another session, so everything below vm-agent
//! that is not of vm-agent's session comes from an agent, whatever it did to hide.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

pub mod cgroup;
pub mod confinement;
pub mod egress;
pub mod inside;
pub mod sandbox;
pub mod socket;
pub mod supervisor;
pub mod sweep;

use cgroup::Cgroup;
use confinement::Confinement;
use egress::{AllowList, Egress};
use inside::{Inside, Orders, PROXY_PORT};
use sandbox::{Network, Sandbox};

use crate::tools;

/// The environment variable that holds the path of the run's lock in every process of an agent. What is left of a run when
/// supervisor and vm-agent were killed at the same moment is found by it.
pub const RUN_VARIABLE: &str = "TEXTSLASH_RUN";

/// The first argument that makes this program a supervisor.
pub const SUPERVISE: &str = "supervise";

/// How long a supervisor may take from the order to stop to its end, before it is killed itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a supervisor of an earlier vm-agent may take to clear up after itself.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(30);

/// What an agent reaches by itself: its own machine, and the API by its socket.
const NOT_BY_PROXY: &str = "localhost,127.0.0.1,::1,vm-agent.invalid";

/// An agent's command line and surroundings.
#[derive(Debug)]
pub struct AgentCommand {
    /// The program; looked up in the `PATH` of `env` unless it holds a slash.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment, but for [`RUN_VARIABLE`], which is added.
    pub env: Vec<(String, OsString)>,
    /// Where it works.
    pub directory: PathBuf,
    /// What else of the volume and of the temporary files it may write.
    pub writable: Vec<PathBuf>,
    /// And what it may read.
    pub readable: Vec<PathBuf>,
    /// The tools that it is given.
    pub tools: Option<tools::Orders>,
    /// The socket of the way to the API, for an agent that knows no sockets: it finds a port in [`inside::API_VARIABLE`].
    pub api: Option<PathBuf>,
    /// The file that its supervisor keeps locked while it lives.
    pub lock: PathBuf,
}

/// Starts agents under supervisors.
#[derive(Clone, Debug)]
pub struct Supervision {
    program: PathBuf,
    confinement: Confinement,
    inside: Arc<Inside>,
    sandbox: Option<Arc<Sandbox>>,
    allowed: AllowList,
}

/// A running agent.
#[derive(Debug)]
pub struct Supervised {
    supervisor: Child,
    /// What the agent reads. Drop it to end the agent's input.
    pub stdin: Option<ChildStdin>,
    /// What the agent says. Ends at the latest when [`Supervised::wait`] returns.
    pub stdout: Option<ChildStdout>,
    /// What the agent, and the supervisor, complain about.
    pub stderr: Option<ChildStderr>,
    lock: PathBuf,
    _egress: Option<Egress>,
}

impl Supervision {
    /// `program` is this program, which becomes the supervisor. From now on this process adopts what its descendants
    /// leave behind. Every agent begins with `inside`, is confined as `confinement` says, and put into `sandbox`, if there is one; if that has no
    /// network, the agent reaches the hosts that are `allowed`.
    pub fn new(
        program: PathBuf,
        confinement: Confinement,
        inside: Inside,
        sandbox: Option<Sandbox>,
        allowed: AllowList,
    ) -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let (inside, sandbox) = (Arc::new(inside), sandbox.map(Arc::new));
        Ok(Self { program, confinement, inside, sandbox, allowed })
    }

    /// How every agent is confined.
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// Start an agent. The error is the supervisor's own; that the agent cannot be started shows as the exit code
    /// [`supervisor::EXIT_NOT_STARTED`].
    pub fn start(&self, agent: AgentCommand) -> io::Result<Supervised> {
        let (agent, egress) = self.surrounded(agent)?;
        let mut supervisor = Command::new(&self.program)
            .arg(SUPERVISE)
            .arg(&agent.lock)
            .arg(rustix::process::getpid().to_string())
            .arg(serde_json::to_string(&self.confinement)?)
            .arg(&agent.program)
            .args(&agent.args)
            .env_clear()
            .envs(agent.env.iter().map(|(name, value)| (name, value)))
            .env(RUN_VARIABLE, &agent.lock)
            .current_dir(&agent.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (stdin, stdout, stderr) = (supervisor.stdin.take(), supervisor.stdout.take(), supervisor.stderr.take());
        Ok(Supervised { supervisor, stdin, stdout, stderr, lock: agent.lock, _egress: egress })
    }

    /// The command with its first process, its sandbox and its way to the network, as far as it has them.
    fn surrounded(&self, mut agent: AgentCommand) -> io::Result<(AgentCommand, Option<Egress>)> {
        let has_network = self.sandbox.as_ref().is_none_or(|sandbox| sandbox.network() == Network::Open);
        let egress = if has_network { None } else { Some(Egress::start(self.allowed.clone(), self.confinement.user)?) };
        let (egress_socket, tools, api) = (egress.as_ref().map(Egress::socket), agent.tools.take(), agent.api.take());
        let mut orders = Orders { egress: egress_socket, tools, api };
        if let Some(egress) = &egress {
            let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
            agent.writable.push(egress.directory().to_owned());
            for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"] {
                agent.env.push((name.to_owned(), proxy.clone().into()));
            }
            for name in ["NO_PROXY", "no_proxy"] {
                agent.env.push((name.to_owned(), NOT_BY_PROXY.into()));
            }
            if let Some(tools) = &mut orders.tools {
                tools.proxy = Some(proxy);
            }
        }
        let first = self.inside.command(&orders)?;
        let agent = match &self.sandbox {
            Some(sandbox) => sandbox.wrap(agent, first),
            None if orders.tools.is_none() && orders.api.is_none() => agent,
            None => {
                let [program, rest @ ..] = first;
                let args = rest.into_iter().chain([agent.program.into()]).chain(agent.args).collect();
                AgentCommand { program: program.into(), args, ..agent }
            }
        };
        Ok((agent, egress))
    }
}

impl Supervised {
    /// Wait for the agent to end by itself. On return no process of the run is left.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.supervisor.wait().await;
        // A supervisor that was killed has left its group.
        cgroup::end(Cgroup::left_of(&self.lock), sweep::strangers()).await;
        status
    }

    /// Make the agent end, and everything it started. On return no process of the run is left.
    pub async fn stop(&mut self) -> io::Result<ExitStatus> {
        self.stdin = None;
        if let Some(pid) = self.supervisor.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            // It may be gone already; then there is nobody to tell.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.supervisor.wait()).await.is_err() {
            tracing::warn!("the supervisor does not end; killing it");
            let _ = self.supervisor.start_kill();
        }
        self.wait().await
    }
}

/// Make sure that nothing is left of a run which an earlier vm-agent started: wait for its supervisor, which noticed that
/// its parent died, and kill what is in the run's group or carries its mark.
pub async fn clear_leftovers(lock: &Path) {
    let deadline = tokio::time::Instant::now() + LEFTOVER_TIMEOUT;
    while lock.exists() && !is_free(lock) && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut mark = OsString::from(format!("{RUN_VARIABLE}="));
    mark.push(lock);
    cgroup::end(Cgroup::left_of(lock), sweep::marked(&mark)).await;
}

fn is_free(lock: &Path) -> bool {
    match std::fs::File::open(lock) {
        Ok(file) => file.try_lock().is_ok(),
        Err(_) => true,
    }
}
