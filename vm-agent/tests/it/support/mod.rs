//! What the tests share: a VM with its surroundings, and waiting for a condition with a bound.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) mod redis;
pub(crate) mod relay;
pub(crate) mod vm;

/// How long anything may take that these tests wait for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Wait until `look` gives something; fail after a bound, saying what was waited for.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Fail when `step` takes too long.
pub(crate) async fn bounded<T>(what: &str, step: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, step).await.unwrap_or_else(|_| panic!("took too long: {what}"))
}

/// Run git and give back what it wrote.
pub(crate) fn git(directory: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(directory)
        .args(["-c", "user.name=Test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main"])
        .args(args)
        .output()
        .expect("git is installed");
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("git writes UTF-8 here").trim().to_owned()
}

/// What the processes, zombies left out, whose environment holds `entry` were started with.
pub(crate) fn processes_with(entry: &str) -> Vec<String> {
    marked(entry)
        .filter_map(|(process, _)| std::fs::read_to_string(process.join("cmdline")).ok())
        .map(|line| line.replace('\0', " "))
        .collect()
}

/// The environments of the processes that hold `entry` in it.
pub(crate) fn environments_with(entry: &str) -> Vec<Vec<u8>> {
    marked(entry).map(|(_, environment)| environment).collect()
}

fn marked(entry: &str) -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    let processes = std::fs::read_dir("/proc").expect("/proc is mounted").filter_map(Result::ok);
    processes
        .filter_map(|process| Some((process.path(), std::fs::read(process.path().join("environ")).ok()?)))
        .filter(move |(_, environment)| environment.split(|byte| *byte == 0).any(|found| found == entry.as_bytes()))
}
