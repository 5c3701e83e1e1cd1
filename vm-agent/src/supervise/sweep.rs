//! Finding processes in `/proc` and killing them until none is left.
//!
//! Whoever sweeps is the adopter of the swept (a *subreaper*), so that a process whose parent is killed turns up among its
//! children in the next round and cannot slip away. Children are reaped by their own pids, never by "any child": the
//! runtime waits for some of them itself.
//!
//! A sweep takes as long as it takes, which is the one thing here without a limit: a killed process that stays is held by
//! the kernel (a hanging disk, usually), and a run must not be called over while it is there.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};

/// From the first round of kill and look to the second, and twice as long each time, up to the interval: most of what is killed
/// is gone at once, and every run waits for it.
const FIRST_INTERVAL: Duration = Duration::from_millis(1);
const ROUND_INTERVAL: Duration = Duration::from_millis(16);
/// Rounds from one complaint about what is left to the next.
const ROUNDS_PER_COMPLAINT: u32 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    session: i32,
}

/// Kill everything below this process.
pub async fn descendants() {
    sweep(|| below(own_pid(), &processes())).await;
}

/// Kill everything below this process that is not of its session: what an agent left whose supervisor was killed.
pub async fn strangers() {
    sweep(|| {
        let all = processes();
        let session = all.iter().find(|process| process.pid == own_pid()).map(|own| own.session);
        let mut strangers = below(own_pid(), &all);
        strangers.retain(|process| Some(process.session) != session);
        strangers
    })
    .await;
}

/// Kill every process, wherever it is, whose environment holds `variable` (`NAME=value`).
pub async fn marked(variable: &OsStr) {
    sweep(|| {
        let mut marked = processes();
        marked.retain(|process| process.pid != own_pid() && carries(process.pid, variable));
        marked
    })
    .await;
}

/// Memory that everything below this process keeps for itself.
pub fn resident_bytes() -> u64 {
    below(own_pid(), &processes()).iter().map(|process| resident_bytes_of(process.pid)).sum()
}

/// Without files, which the kernel can read again (proc(5), `/proc/PID/status`).
fn resident_bytes_of(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = |line: &str| {
        let amount = line.strip_prefix("RssAnon:").or_else(|| line.strip_prefix("RssShmem:"))?;
        amount.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    status.lines().filter_map(kilobytes).sum::<u64>() * 1024
}

async fn sweep(find: impl Fn() -> Vec<Process>) {
    let mut interval = FIRST_INTERVAL;
    for round in 1_u32.. {
        let found = find();
        if found.is_empty() {
            return;
        }
        found.iter().for_each(end);
        if round % ROUNDS_PER_COMPLAINT == 0 {
            tracing::warn!(count = found.len(), "killed processes are still there");
        }
        tokio::time::sleep(interval).await;
        interval = ROUND_INTERVAL.min(interval * 2);
    }
}

/// Errors mean that the process is gone, which is what was wanted.
fn end(process: &Process) {
    let Some(pid) = Pid::from_raw(process.pid) else { return };
    let _ = rustix::process::kill_process(pid, Signal::KILL);
    if process.parent == own_pid() {
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

/// All processes, dead ones that nobody has waited for included.
fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
        })
        .collect()
}

/// `/proc/PID/stat` (proc(5)): `pid (name) state parent group session …`, where the name may hold anything.
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(1);
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    Some(Process { pid, parent, session })
}

fn below(root: i32, all: &[Process]) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(*process);
    }
    let (mut found, mut seen, mut next) = (Vec::new(), HashSet::from([root]), vec![root]);
    while let Some(parent) = next.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            if seen.insert(child.pid) {
                found.push(child);
                next.push(child.pid);
            }
        }
    }
    found
}

fn carries(pid: i32, variable: &OsStr) -> bool {
    // The environment of a dead process reads as empty, that of a foreign one not at all.
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, parent: i32) -> Process {
        Process { pid, parent, session: 1 }
    }

    #[test]
    fn a_process_name_cannot_fake_its_parent() {
        let stat = "77 (a) S 1 1 (x) S 5 6 7 8";
        assert_eq!(parse_stat(77, stat), Some(Process { pid: 77, parent: 5, session: 7 }));
        assert_eq!(parse_stat(77, "nonsense"), None);
    }

    #[test]
    fn everything_below_is_found_and_nothing_else() {
        let all = [process(1, 0), process(5, 1), process(6, 5), process(7, 6), process(8, 1)];
        let mut found: Vec<i32> = below(5, &all).iter().map(|process| process.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [6, 7]);
    }

    #[test]
    fn this_process_is_seen_in_proc() {
        assert!(processes().iter().any(|process| process.pid == own_pid()));
    }
}
