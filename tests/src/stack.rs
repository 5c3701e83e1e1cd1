//! A relay and a VM agent as real processes, with a bare origin between them and the world, and a person at the console.
//! Every part can be killed and started again on the same data and the same ports.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::console::Console;
use crate::gate::Gate;
use crate::process::{Process, binary};
use crate::wait::wait_for;

/// Signs between relay and VM, and names conversations.
pub const SECRET: &str = "a-secret-for-tests-0123456789abcdef";
/// Starting a process takes well under a second; this is for a machine that is busy with a build.
pub const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Anything that a demo run does.
pub const BOUND: Duration = Duration::from_secs(30);

/// What a stack is made of.
#[derive(Debug, Default)]
pub struct Plan {
    /// Settings of the relay beyond the least that it needs.
    pub relay: Vec<(String, String)>,
    /// Settings of the VM agent beyond the least that it needs; `AGENT_DRIVER=demo` unless told otherwise.
    pub vm: Vec<(String, String)>,
    /// What the VM clones; a bare origin of the stack's own when absent.
    pub repo_url: Option<String>,
}

impl Plan {
    /// Also give this setting to the relay.
    #[must_use]
    pub fn relay(mut self, name: &str, value: impl Into<String>) -> Self {
        self.relay.push((name.to_owned(), value.into()));
        self
    }

    /// Also give this setting to the VM agent.
    #[must_use]
    pub fn vm(mut self, name: &str, value: impl Into<String>) -> Self {
        self.vm.push((name.to_owned(), value.into()));
        self
    }

    /// Let the VM clone this.
    #[must_use]
    pub fn repo(mut self, url: impl Into<String>) -> Self {
        self.repo_url = Some(url.into());
        self
    }
}

/// The running parts.
#[derive(Debug)]
pub struct Stack {
    /// The relay, while it is up.
    pub relay: Option<Process>,
    /// The VM agent, while it is up.
    pub vm: Option<Process>,
    /// Stands between the relay and the VM: the relay calls through it.
    pub to_vm: Gate,
    /// Stands between the VM and the relay: the VM reports through it.
    pub to_relay: Gate,
    folder: TempDir,
    plan: Plan,
    relay_address: SocketAddr,
    vm_address: SocketAddr,
}

impl Stack {
    /// Start everything and wait until it serves.
    pub async fn start(plan: Plan) -> Self {
        let mut stack = Self::prepare(plan).await;
        stack.start_vm().await;
        stack.start_relay().await;
        stack
    }

    /// Everything but the processes.
    ///
    /// # Panics
    /// When a port, a folder or git is not to be had.
    pub async fn prepare(plan: Plan) -> Self {
        let folder = tempfile::Builder::new().prefix("textslash-stack-").tempdir().expect("a temporary directory");
        let (relay_address, vm_address) = (free_address(), free_address());
        let stack = Self {
            relay: None,
            vm: None,
            to_vm: Gate::before(vm_address).await,
            to_relay: Gate::before(relay_address).await,
            folder,
            plan,
            relay_address,
            vm_address,
        };
        sample_origin(&stack.origin());
        stack
    }

    /// Start the relay on the data that it left.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_relay(&mut self) {
        let state_store = format!("sqlite:{}", self.path("relay.db"));
        let mut vars = vec![
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("RUST_LOG", "info".to_owned()),
            ("RELAY_BIND", self.relay_address.to_string()),
            ("PUBLIC_URL", self.relay_url()),
            ("STATE_STORE", state_store),
            ("RELAY_SECRET", SECRET.to_owned()),
            ("VM_URL", self.to_vm.url()),
            ("VM_SECRET", SECRET.to_owned()),
        ];
        vars.extend(self.plan.relay.iter().map(|(name, value)| (name.as_str(), value.clone())));
        let mut relay = start(&binary("relay"), &[], &vars);
        relay.wait_for_line("listening on", START_TIMEOUT).await;
        self.relay = Some(relay);
    }

    /// Start the VM agent on the data that it left.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_vm(&mut self) {
        let mut vm = start(&binary("vm-agent"), &[], &self.vm_vars());
        vm.wait_for_line("listening on", START_TIMEOUT).await;
        self.vm = Some(vm);
    }

    /// Start the VM agent so that SIGKILL ends it when it enters the system call `call` for the `nth` time. Its calls until then
    /// are written, line by line, to the file that comes back. It may be dead before it serves.
    pub fn start_vm_that_dies_at(&mut self, call: &str, nth: usize) -> PathBuf {
        let trace = self.folder.path().join("trace");
        // Traced by a grandchild, so that the VM agent is this process's child; what it starts is let go.
        let args = [
            "-D",
            "-f",
            "--seccomp-bpf",
            "-b",
            "execve",
            "-qq",
            "-y",
            "-o",
            &trace.display().to_string(),
            "-e",
            &format!("trace={call}"),
            "-e",
            &format!("inject={call}:signal=SIGKILL:when={nth}"),
            &binary("vm-agent").display().to_string(),
        ];
        let mut vars = self.vm_vars();
        // Calls are counted for each thread.
        vars.push(("TOKIO_WORKER_THREADS", "1".to_owned()));
        self.vm = Some(start(Path::new("/usr/bin/strace"), &args, &vars));
        trace
    }

    fn vm_vars(&self) -> Vec<(&str, String)> {
        let repo_url = self.plan.repo_url.clone().unwrap_or_else(|| self.origin().display().to_string());
        let mut vars = vec![
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
            ("RUST_LOG", "info".to_owned()),
            ("VM_BIND", self.vm_address.to_string()),
            ("VM_SECRET", SECRET.to_owned()),
            ("EVENTS_URL", self.to_relay.url()),
            ("DATA_DIR", self.path("vm")),
            ("REPO_URL", repo_url),
            ("AGENT_DRIVER", "demo".to_owned()),
        ];
        vars.extend(self.plan.vm.iter().map(|(name, value)| (name.as_str(), value.clone())));
        vars
    }

    /// kill -9 the relay.
    ///
    /// # Panics
    /// When it is not up.
    pub async fn kill_relay(&mut self) {
        self.relay.take().expect("the relay is up").kill().await;
    }

    /// kill -9 the VM agent.
    ///
    /// # Panics
    /// When it is not up.
    pub async fn kill_vm(&mut self) {
        self.vm.take().expect("the VM agent is up").kill().await;
    }

    /// A person at the console, who sees everything from the beginning.
    pub fn console(&self) -> Console {
        Console::open(&self.relay_url())
    }

    /// The relay's address for people and providers.
    pub fn relay_url(&self) -> String {
        format!("http://{}", self.relay_address)
    }

    /// The VM agent's own address, past the gate.
    pub fn vm_url(&self) -> String {
        format!("http://{}", self.vm_address)
    }

    /// Where both processes keep what they keep.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The bare origin.
    pub fn origin(&self) -> PathBuf {
        self.folder.path().join("origin.git")
    }

    /// The worktree in which the agent works, once the repository is cloned.
    ///
    /// # Panics
    /// When it is not cloned in time.
    pub async fn worktree(&self) -> PathBuf {
        let repos = self.folder.path().join("vm/repos");
        let name = wait_for("the repository to be cloned", START_TIMEOUT, async || {
            fs::read_to_string(repos.join(".current")).map_err(|error| error.to_string())
        })
        .await;
        repos.join(name.trim()).join("tree")
    }

    /// Where the relay keeps its state.
    pub fn database(&self) -> PathBuf {
        self.folder.path().join("relay.db")
    }

    /// Everything that both processes have logged since they were last started.
    pub fn logs(&self) -> String {
        let lines = |process: &Option<Process>| process.as_ref().map(Process::lines).unwrap_or_default().join("\n");
        format!("relay:\n{}\nvm:\n{}", lines(&self.relay), lines(&self.vm))
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

fn start(program: &Path, args: &[&str], vars: &[(&str, String)]) -> Process {
    let vars: Vec<(&str, &str)> = vars.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Process::start(program, args, &vars)
}

/// Below the ports that Linux gives to outgoing connections (`ip_local_port_range` begins at 32768), so that no connection
/// takes the port of a process while that is being started again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A loopback address that is free, and that nobody else in this process is given.
///
/// # Panics
/// When no port is free.
pub fn free_address() -> SocketAddr {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Test processes that run at the same time begin at different places.
    let first = std::process::id().wrapping_mul(97);
    for _ in PORTS {
        let number =
            first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed).into()) % u32::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(number).expect("smaller than the range");
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            return listener.local_addr().expect("a bound socket has an address");
        }
    }
    panic!("no port of {PORTS:?} is free");
}

/// Run git in `directory` and return what it prints.
///
/// # Panics
/// When it fails.
pub fn git(directory: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .arg("-C")
        .arg(directory)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.invalid"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A bare repository at `origin` with a few files on `main`.
///
/// # Panics
/// When git, or a file, is not to be had.
pub fn sample_origin(origin: &Path) {
    let work = tempfile::tempdir().expect("a temporary directory");
    git(work.path(), &["init", "--quiet", "--initial-branch=main"]);
    fs::write(work.path().join("README.md"), "# scratch\n\nA repository for tests.\n").expect("a file is written");
    fs::create_dir(work.path().join("src")).expect("a folder is made");
    fs::write(work.path().join("src/main.py"), "print('hello')\n").expect("a file is written");
    fs::write(work.path().join(".gitignore"), "*.log\n").expect("a file is written");
    git(work.path(), &["add", "."]);
    git(work.path(), &["commit", "--quiet", "--message", "first"]);
    git(work.path(), &["clone", "--quiet", "--bare", ".", &origin.display().to_string()]);
}
