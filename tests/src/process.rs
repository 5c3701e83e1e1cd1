//! A real binary as a child process: started with exactly the given environment, listened to, and killed in earnest.

use std::collections::VecDeque;
use std::env::current_exe;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::wait::wait_for;

/// How many lines of output are kept for searching and for failure messages.
const LINES_MAX: usize = 10_000;

/// The binary `name` of this workspace, as built beside the running test or program.
///
/// # Panics
/// When it is not built: tests never use a binary from elsewhere.
pub fn binary(name: &str) -> PathBuf {
    let own = current_exe().expect("a running program has a path");
    // Programs lie in target/<profile>, tests in target/<profile>/deps.
    let mut places = own.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let path = places.find(|path| path.is_file());
    path.unwrap_or_else(|| panic!("{name} is not built: run ./dev test, or `cargo build --bins` first"))
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
    readers: [JoinHandle<()>; 2],
}

impl Process {
    /// Start `program` with these arguments and no environment but `vars`; its standard input is empty.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(program: &Path, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let mut child = Command::new(program)
            .args(args)
            .env_clear()
            .envs(vars.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("starting {}: {error}", program.display()));
        let lines = Arc::default();
        let readers = [
            tokio::spawn(keep_lines(child.stdout.take().expect("stdout is piped"), Arc::clone(&lines))),
            tokio::spawn(keep_lines(child.stderr.take().expect("stderr is piped"), Arc::clone(&lines))),
        ];
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        Self { name, child, lines, readers }
    }

    /// The process id, while it has not been found ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has written so far to stdout and stderr, line by line; the oldest lines go first when there are many.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The first line that holds `text`, as soon as it is written.
    ///
    /// # Panics
    /// When the process ends without it, or `bound` passes; with everything it wrote.
    pub async fn wait_for_line(&mut self, text: &str, bound: Duration) -> String {
        let what = format!("{} to write {text:?}", self.name);
        wait_for(&what, bound, async || {
            let over = !self.is_running() && self.readers.iter().all(JoinHandle::is_finished);
            let lines = self.lines();
            match lines.iter().find(|line| line.contains(text)) {
                Some(line) => Ok(line.clone()),
                None if over => panic!("{} ended without writing {text:?}:\n{}", self.name, lines.join("\n")),
                None => Err(lines),
            }
        })
        .await
    }

    /// kill -9, and wait until it is gone.
    ///
    /// # Panics
    /// When the kernel does not let it be killed.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap_or_else(|error| panic!("killing {}: {error}", self.name));
    }

    /// Send a signal; nothing happens when it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = self.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        // A process that ended a moment ago is as good as signalled.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }

    /// SIGTERM, and its exit status.
    ///
    /// # Panics
    /// When it has not ended within `bound`; with everything it wrote.
    pub async fn terminate(&mut self, bound: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.exited(bound).await
    }

    /// Its exit status, once it ends by itself.
    ///
    /// # Panics
    /// When it has not ended within `bound`; with everything it wrote.
    pub async fn exited(&mut self, bound: Duration) -> ExitStatus {
        match timeout(bound, self.child.wait()).await {
            Ok(status) => status.unwrap_or_else(|error| panic!("waiting for {}: {error}", self.name)),
            Err(_) => panic!("{} still runs after {bound:?}:\n{}", self.name, self.lines().join("\n")),
        }
    }
}

async fn keep_lines(output: impl AsyncRead + Unpin, kept: Arc<Mutex<VecDeque<String>>>) {
    let mut reader = BufReader::new(output);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == LINES_MAX {
            kept.pop_front();
        }
        kept.push_back(text);
        line.clear();
    }
}

/// The live processes, other than this one, that carry `marker` in an environment variable or in their command line:
/// one text for each, pid first. What is left of a run shows here, whoever its parent is by now. A zombie is no longer
/// alive and does not count.
///
/// # Panics
/// When there is no `/proc`.
pub fn descendants_alive(marker: &str) -> Vec<String> {
    let own_pid = std::process::id().to_string();
    let carries = |file: PathBuf| {
        // A process may end, or belong to another user, between the listing and this look.
        let bytes = fs::read(file).unwrap_or_default();
        bytes.windows(marker.len()).any(|window| window == marker.as_bytes())
    };
    fs::read_dir("/proc")
        .expect("a Linux /proc")
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.bytes().all(|byte| byte.is_ascii_digit()) && name != own_pid
        })
        .filter(|entry| carries(entry.path().join("environ")) || carries(entry.path().join("cmdline")))
        .map(|entry| {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            format!("{} {}", entry.file_name().display(), String::from_utf8_lossy(&command).replace('\0', " "))
        })
        .collect()
}

/// kill -9 to every process that [`descendants_alive`] finds: for cleaning up after a test that leaves some on purpose.
///
/// # Panics
/// When there is no `/proc`.
pub fn kill_descendants(marker: &str) {
    for process in descendants_alive(marker) {
        let pid = process.split(' ').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        // One that ended meanwhile needs no signal.
        let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
    }
}
