//! What of the machine an agent sees: its own processes, its own network, and of the files the system's to read and its work to
//! write. Made by bubblewrap, which needs no rights of its own where the kernel lets users have namespaces.
//!
//! The supervisor starts bubblewrap in place of the agent's first process, and that starts it (see [`super::inside`]).

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::AgentCommand;
use super::confinement::AgentUser;
use super::inside::{Inside, Orders};
use crate::files;

/// Where people, services and other programs keep what is theirs.
const HIDDEN: [&str; 8] = ["/home", "/root", "/tmp", "/var/tmp", "/run", "/mnt", "/media", "/srv"];
/// Bytes that fit into what stands in for such a place: they are memory, and go with the run.
const STAND_IN_BYTES: &str = "536870912";
const BWRAP: &str = "bwrap";
/// How long the trial may take: namespaces are made in milliseconds.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How much of the network an agent has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// None but for what the egress proxy lets through.
    Listed,
    /// The machine's.
    Open,
}

/// The sandbox of every agent.
#[derive(Debug)]
pub struct Sandbox {
    /// Also hidden: the volume.
    hidden: Vec<PathBuf>,
    network: Network,
    /// Who starts it.
    agent: Option<AgentUser>,
}

impl Sandbox {
    /// A sandbox that hides `hidden` from an agent of this user, if this machine has one to give; the error says why not.
    pub async fn new(
        hidden: Vec<PathBuf>,
        network: Network,
        agent: Option<AgentUser>,
        inside: &Inside,
    ) -> Result<Self, String> {
        let sandbox = Self { hidden, network, agent };
        let first = inside.command(&Orders::default()).map_err(|error| error.to_string())?;
        sandbox.probe(&first).await?;
        Ok(sandbox)
    }

    /// How much of the network there is in it.
    pub fn network(&self) -> Network {
        self.network
    }

    /// The same command in the sandbox, begun by `first`.
    pub fn wrap(&self, agent: AgentCommand, first: [OsString; 3]) -> AgentCommand {
        let mut args = self.namespaces();
        args.extend(self.files(&agent));
        args.push("--".into());
        args.extend(first);
        args.push(agent.program.into());
        args.extend(agent.args);
        AgentCommand { program: BWRAP.into(), args, ..agent }
    }

    /// Whether it can be had, tried out with this program in the place of an agent.
    async fn probe(&self, first: &[OsString; 3]) -> Result<(), String> {
        let mut probe = Command::new(BWRAP);
        probe.args(self.namespaces()).arg("--").args(first).arg("true");
        probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        if let Some(agent) = self.agent {
            probe.uid(agent.uid).gid(agent.gid);
        }
        let Ok(tried) = tokio::time::timeout(TRIAL_TIMEOUT, probe.output()).await else {
            return Err(format!("bubblewrap did not answer within {} s", TRIAL_TIMEOUT.as_secs()));
        };
        match tried {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(said.lines().next_back().unwrap_or("bubblewrap fails and does not say why").trim().to_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err("bubblewrap is not installed".to_owned()),
            Err(error) => Err(format!("bubblewrap can't be started: {error}")),
        }
    }

    fn namespaces(&self) -> Vec<OsString> {
        let mut args =
            vec!["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"];
        if self.network == Network::Listed {
            args.push("--unshare-net");
        }
        args.extend([
            "--die-with-parent",
            "--cap-drop",
            "ALL",
            "--ro-bind",
            "/",
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
        ]);
        args.into_iter().map(OsString::from).collect()
    }

    fn files(&self, agent: &AgentCommand) -> Vec<OsString> {
        let mut args = Vec::new();
        let hidden: Vec<&Path> = HIDDEN.iter().map(Path::new).chain(self.hidden.iter().map(PathBuf::as_path)).collect();
        let is_nested = |path: &Path| hidden.iter().any(|other| *other != path && path.starts_with(other));
        for path in hidden.iter().filter(|path| path.is_dir() && !is_nested(path)) {
            args.extend(["--size".into(), STAND_IN_BYTES.into(), "--tmpfs".into(), path.into()]);
        }
        let is_hidden = |path: &Path| hidden.iter().any(|hidden| path.starts_with(hidden));
        let mut bind = |how: &str, path: &Path| args.extend([how.into(), path.into(), path.into()]);
        let search_path = search_path(agent);
        let programs = std::env::split_paths(&search_path);
        // Where programs lie that are led to by links.
        let real = files::program(&agent.program, &search_path);
        let real = real.and_then(|program| Some(program.canonicalize().ok()?.parent()?.to_owned()));
        for directory in programs.chain(agent.program.parent().map(Path::to_owned)).chain(real) {
            // What its user can't reach anyway would be no directory to bubblewrap, but a mistake.
            if directory.is_absolute() && is_hidden(&directory) && self.is_reachable(&directory) {
                bind("--ro-bind-try", &directory);
            }
        }
        for path in &agent.readable {
            bind("--ro-bind-try", path);
        }
        for path in agent.writable.iter().chain([&agent.directory]) {
            bind("--bind-try", path);
        }
        args.extend(["--chdir".into(), (&agent.directory).into()]);
        args
    }

    /// Whether the agent's user gets there.
    fn is_reachable(&self, directory: &Path) -> bool {
        let Some(agent) = self.agent else { return true };
        directory.ancestors().all(|step| {
            step.metadata().is_ok_and(|step| {
                let (is_owner, is_group) = (step.uid() == agent.uid, step.gid() == agent.gid);
                let mode = step.mode();
                mode & 0o001 != 0 || (is_owner && mode & 0o100 != 0) || (is_group && mode & 0o010 != 0)
            })
        })
    }
}

fn search_path(agent: &AgentCommand) -> OsString {
    agent.env.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone()).unwrap_or_default()
}
