//! A control group of its own for each run (cgroups(7), version 2), where this machine lets vm-agent make one: the kernel then kills all
//! of the run in one step, and counts its memory and its processes itself. It comes on top of the sweep, which needs none.
//!
//! The group lies below vm-agent's own and is named after the run's lock, so that a later vm-agent finds what an earlier one left.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};

use super::confinement::Confinement;

/// Where the kernel kills what is in a group, and with it all that it starts meanwhile.
const KILL: &str = "cgroup.kill";
const PROCESSES: &str = "cgroup.procs";
/// What a group counts only where its parent says so.
const ENABLED: &str = "cgroup.subtree_control";
const MEMORY_MAX: &str = "memory.max";
const PROCESSES_MAX: &str = "pids.max";
/// From one try to remove a group to the next, and how many there are: it is empty a moment after its last process is.
const REMOVAL_INTERVAL: Duration = Duration::from_millis(10);
const REMOVAL_TRIES: u32 = 200;

/// What control groups of this machine are good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupUse {
    /// The kernel holds a run's memory to its limit.
    pub memory: bool,
    /// And the number of its processes.
    pub processes: bool,
}

/// The group of one run. Ended by [`end`].
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
}

impl CgroupUse {
    /// What can be had below the group of this process, found out by making one; the error says why there is none.
    pub fn find() -> Result<Self, String> {
        let parent = own().ok_or("this machine has no control groups of version 2")?;
        Self::find_below(&parent).map_err(|error| format!("{}: {error}", parent.display()))
    }

    fn find_below(parent: &Path) -> io::Result<Self> {
        access(parent.join(PROCESSES), Access::WRITE_OK)?;
        let there = fs::read_to_string(parent.join("cgroup.controllers"))?;
        let enabled = |name: &str| -> io::Result<bool> {
            let has = |list: &str| list.split_whitespace().any(|one| one == name);
            if has(&there) && !has(&fs::read_to_string(parent.join(ENABLED))?) {
                // Refused where a group that is not the root holds processes itself: then there is no limit.
                let _ = fs::write(parent.join(ENABLED), format!("+{name}"));
            }
            Ok(has(&fs::read_to_string(parent.join(ENABLED))?))
        };
        let found = Self { memory: enabled("memory")?, processes: enabled("pids")? };
        let trial = parent.join(format!("textslash-trial-{}", std::process::id()));
        fs::create_dir(&trial)?;
        // Linux has it since 5.14.
        let can_kill = trial.join(KILL).exists();
        fs::remove_dir(&trial)?;
        if can_kill { Ok(found) } else { Err(io::Error::new(io::ErrorKind::Unsupported, "the kernel kills no groups")) }
    }

    /// What is in force, for the log.
    pub fn in_words(self) -> &'static str {
        match (self.memory, self.processes) {
            (true, true) => "a control group that bounds memory and processes",
            (true, false) => "a control group that bounds memory",
            (false, true) => "a control group that bounds processes",
            (false, false) => "a control group without limits",
        }
    }
}

impl Cgroup {
    /// Make the group of the run whose lock this is, with the limits of `confinement`.
    pub fn make(lock: &Path, confinement: &Confinement) -> io::Result<Self> {
        let parent = own().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "there are no control groups"))?;
        Self::make_below(&parent, lock, confinement)
    }

    fn make_below(parent: &Path, lock: &Path, confinement: &Confinement) -> io::Result<Self> {
        let group = Self { directory: parent.join(name(lock)?) };
        match fs::create_dir(&group.directory) {
            // Of an earlier process of the same run.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let usable = confinement.cgroup.unwrap_or(CgroupUse { memory: false, processes: false });
        let memory = confinement.memory_bytes_max.filter(|_| usable.memory);
        let processes = confinement.processes_max.filter(|_| usable.processes);
        for (file, most) in [(MEMORY_MAX, memory), (PROCESSES_MAX, processes)] {
            if let Some(most) = most {
                fs::write(group.directory.join(file), most.to_string())?;
            }
        }
        Ok(group)
    }

    /// The group that an earlier process left of the run whose lock this is, if it did.
    pub fn left_of(lock: &Path) -> Option<Self> {
        let directory = own()?.join(name(lock).ok()?);
        directory.is_dir().then_some(Self { directory })
    }

    /// Start something in the group: this process goes there for the moment, as a child is born where its parent is.
    pub fn within<T>(&self, start: impl FnOnce() -> T) -> io::Result<T> {
        let parent = self.directory.parent().unwrap_or(&self.directory);
        let go_to = |group: &Path| fs::write(group.join(PROCESSES), std::process::id().to_string());
        go_to(&self.directory)?;
        let started = start();
        go_to(parent)?;
        Ok(started)
    }

    /// What is killed is still to be reaped.
    fn kill(&self) {
        // The sweep kills them all the same.
        let _ = fs::write(self.directory.join(KILL), "1");
    }

    /// Once nothing lives in it.
    async fn remove(self) {
        for _ in 0..REMOVAL_TRIES {
            match fs::remove_dir(&self.directory) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
                _ => return,
            }
            tokio::time::sleep(REMOVAL_INTERVAL).await;
        }
    }
}

/// Have everything in the group killed, if there is one, and `sweep` what was killed and what never was in it. Then the group goes.
pub async fn end(group: Option<Cgroup>, sweep: impl Future<Output = ()>) {
    if let Some(group) = &group {
        group.kill();
    }
    sweep.await;
    if let Some(group) = group {
        group.remove().await;
    }
}

/// After the directory that holds the lock, of which there is one.
fn name(lock: &Path) -> io::Result<String> {
    let run = lock.parent().unwrap_or(lock).metadata()?;
    Ok(format!("textslash-{:x}-{:x}", run.dev(), run.ino()))
}

/// The group of this process, where its hierarchy is mounted.
fn own() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    place(&groups, &mounts)
}

/// `/proc/self/cgroup` has `0::PATH`; `/proc/self/mountinfo` (proc(5)) has `ID PARENT DEVICE ROOT PLACE OPTIONS … - cgroup2 …`.
fn place(groups: &str, mounts: &str) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, place) = (fields.next()?, fields.next()?);
        let below = Path::new(path).strip_prefix(root).ok()?;
        system.starts_with("cgroup2 ").then(|| Path::new(place).join(below))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like a group.
    fn group(controllers: &str, enabled: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let files = [("cgroup.controllers", controllers), (ENABLED, enabled), (PROCESSES, "")];
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        directory
    }

    #[test]
    fn the_group_of_a_process_is_found_where_it_is_mounted() {
        let hybrid = "30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n41 30 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(place("4:memory:/x\n0::/\n", hybrid), Some("/sys/fs/cgroup/unified".into()));
        let bound = "41 30 0:38 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup ro\n";
        assert_eq!(place("0::/docker/7/vm\n", bound), Some("/sys/fs/cgroup/vm".into()));
        assert_eq!(place("0::/elsewhere\n", bound), None);
        assert_eq!(place("4:memory:/x\n", hybrid), None);
    }

    #[test]
    fn limits_are_written_where_the_group_above_counts() {
        let lock = tempfile::tempdir().unwrap();
        let lock = lock.path().join("lock");
        let (memory_bytes_max, processes_max) = (Some(1 << 30), Some(512));
        for (memory, processes) in [(true, true), (true, false), (false, false)] {
            let parent = group("cpu memory pids", "");
            let cgroup = Some(CgroupUse { memory, processes });
            let confinement = Confinement { cgroup, memory_bytes_max, processes_max, ..Confinement::default() };
            let made = Cgroup::make_below(parent.path(), &lock, &confinement).unwrap();
            let written = |file| fs::read_to_string(made.directory.join(file)).ok();
            assert_eq!(written(MEMORY_MAX), memory.then(|| "1073741824".to_owned()));
            assert_eq!(written(PROCESSES_MAX), processes.then(|| "512".to_owned()));
        }
    }

    #[test]
    fn what_counts_is_asked_for_and_a_kernel_that_kills_no_groups_has_none() {
        let parent = group("cpu memory pids", "cpu");
        let found = CgroupUse::find_below(parent.path());
        assert_eq!(found.unwrap_err().kind(), io::ErrorKind::Unsupported);
        assert_eq!(fs::read_to_string(parent.path().join(ENABLED)).unwrap(), "+pids");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 3, "the trial is gone");
        assert!(CgroupUse::find_below(&parent.path().join("nowhere")).is_err());
    }
}
