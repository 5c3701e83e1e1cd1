//! What an agent's processes may not do, whatever they try. The supervisor takes it upon itself before it starts the agent, so
//! that everything below inherits it and nothing can take it off.
//!
//! Without a user of its own the agent may do all that this process may; see the README, "What the agent can reach".

use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::Path;

use rustix::process::{Resource, Rlimit, nice, setrlimit};
use rustix::thread::set_no_new_privs;
use serde::{Deserialize, Serialize};

use super::cgroup::CgroupUse;

/// Files that a process may have open; builds of large projects need thousands.
const OPEN_FILES_MAX: u64 = 16_384;
/// The largest file that can be written.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// How much further back than vm-agent the agent stands in the queue for the processor.
const NICENESS: i32 = 5;
/// Of the processes of a machine that is out of memory, the kernel is to take the agent's first (proc(5), `oom_score_adj`).
const OOM_SCORE: &str = "500";
/// Of the machine's memory, what an agent may use where nothing else is said.
const MEMORY_SHARE: (u64, u64) = (3, 4);

/// The user that the agent runs as, when it is not this process's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The confinement of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confinement {
    /// Its user.
    pub user: Option<AgentUser>,
    /// Memory that all of its processes together may use, in bytes.
    pub memory_bytes_max: Option<u64>,
    /// Processes and threads that it may have; counted for its user, or in its control group, so only where it has one of its own.
    pub processes_max: Option<u64>,
    /// The control group of a run, where there is one.
    pub cgroup: Option<CgroupUse>,
}

impl AgentUser {
    /// Make what is at `path` this user's. Needs the right to give files away.
    pub fn own(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }
}

impl Confinement {
    /// Confine this process, but for its user and its memory, and with it everything that it starts from now on.
    pub fn apply(&self) -> io::Result<()> {
        set_no_new_privs(true)?;
        limit(Resource::Core, 0)?;
        limit(Resource::Nofile, OPEN_FILES_MAX)?;
        limit(Resource::Fsize, FILE_BYTES_MAX)?;
        if let (Some(_), Some(processes_max)) = (self.user, self.processes_max) {
            limit(Resource::Nproc, processes_max)?;
        }
        nice(NICENESS)?;
        // A kernel without it has its own idea of whom to take.
        let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
        Ok(())
    }

    /// What is in force, for the log.
    pub fn in_words(&self) -> String {
        let user = match self.user {
            Some(user) => format!("a user of its own (uid {})", user.uid),
            None => "the user of this process".to_owned(),
        };
        let memory = self.memory_bytes_max.map_or_else(String::new, |bytes| format!(", {} MB of memory", bytes >> 20));
        let are_counted = self.user.is_some() || self.cgroup.is_some_and(|cgroup| cgroup.processes);
        let processes =
            self.processes_max.filter(|_| are_counted).map_or_else(String::new, |max| format!(", {max} processes"));
        let group = self.cgroup.map_or_else(String::new, |cgroup| format!(", {}", cgroup.in_words()));
        format!("{user}{memory}{processes}{group}")
    }
}

/// Never raised: a lower limit that is there already stays.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = rustix::process::getrlimit(resource).maximum.map_or(most, |there| there.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

/// What an agent may use of this machine's memory; nothing where the machine does not tell how much it has.
pub fn memory_share() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes * 1024 / MEMORY_SHARE.1 * MEMORY_SHARE.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_is_said() {
        let all = Confinement {
            user: Some(AgentUser { uid: 1777, gid: 1777 }),
            memory_bytes_max: Some(2 << 30),
            processes_max: Some(512),
            cgroup: None,
        };
        assert_eq!(all.in_words(), "a user of its own (uid 1777), 2048 MB of memory, 512 processes");
        let none = Confinement { processes_max: Some(512), ..Confinement::default() };
        assert_eq!(none.in_words(), "the user of this process", "which has other processes, too");
        let cgroup = Some(CgroupUse { memory: false, processes: true });
        let counted = Confinement { processes_max: Some(512), cgroup, ..Confinement::default() };
        let words = "the user of this process, 512 processes, a control group that bounds processes";
        assert_eq!(counted.in_words(), words);
        assert!(memory_share().is_some_and(|share| share > 64 << 20));
    }
}
