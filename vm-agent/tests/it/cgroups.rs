//! A run's control group. Where this machine lets nobody make one there is none, and these tests have nothing to look at.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use relay_core::protocol::{Health, RunOutcome};

use crate::support::eventually;
use crate::support::vm::Vm;

/// The group of this process and of whatever it starts, if groups can be made below it and killed.
fn own_group() -> Option<PathBuf> {
    // Tests that look at the same time must not meet.
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find_own_group).clone()
}

fn find_own_group() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?.split(' ').nth(1)?;
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = PathBuf::from(mount).join(path);
    let trial = own.join(format!("textslash-tests-{}", std::process::id()));
    fs::create_dir(&trial).ok()?;
    let can_kill = trial.join("cgroup.kill").exists();
    fs::remove_dir(&trial).unwrap();
    can_kill.then_some(own)
}

/// Where the group of a run is, while there is one.
fn group_of(vm: &Vm, run: &relay_core::id::RunId) -> Option<PathBuf> {
    let run = vm.root.path().join("data/runs").join(run.as_str()).metadata().unwrap();
    Some(own_group()?.join(format!("textslash-{:x}-{:x}", run.dev(), run.ino())))
}

#[tokio::test]
async fn a_run_has_a_control_group_of_its_own_and_leaves_none() {
    if own_group().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (program, notes) = (directory.path().join("claude"), directory.path().join("notes"));
    let done = r#"{"result":"All done.","is_error":false,"type":"result","num_turns":1}"#;
    let script = format!("#!/bin/sh\nsetsid cat /proc/self/cgroup > {}\necho '{done}'\n", notes.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.to_str().unwrap();
    let vm = Vm::start(&[("ANTHROPIC_API_KEY", "sk"), ("CLAUDE_PATH", program), ("AGENT_SANDBOX", "off")]).await;
    let run = vm.prompt(1, "do it").await;
    let outcome = vm.relay.outcome(&run).await;
    assert!(matches!(outcome, RunOutcome::Answered { .. }), "{outcome:?}");
    let group = group_of(&vm, &run).unwrap();
    let name = group.file_name().unwrap().to_str().unwrap();
    assert!(fs::read_to_string(notes).unwrap().lines().any(|line| line.starts_with("0::") && line.ends_with(name)));
    assert!(!group.exists());
    let health: Health = vm.send("GET", "/health", Vec::new()).await.json().await.unwrap();
    assert!(health.isolation.contains("a control group"), "{}", health.isolation);
}

/// When vm-agent and a supervisor are killed at the same moment, the group is what is left of the run.
#[tokio::test]
async fn what_is_left_in_a_control_group_is_killed_at_the_next_start() {
    if own_group().is_none() {
        return;
    }
    let mut vm = Vm::demo().await;
    let run = vm.prompt(1, "slow work on hello.txt").await;
    eventually("the edit", async || vm.worktree().join("hello.txt").exists().then_some(())).await;
    vm.kill().await;
    let group = group_of(&vm, &run).unwrap();
    eventually("the agent's end", async || (!group.exists()).then_some(())).await;
    fs::create_dir(&group).unwrap();
    // Nothing else tells that it is the run's.
    let mut left = Command::new("sleep").arg("600").spawn().unwrap();
    fs::write(group.join("cgroup.procs"), left.id().to_string()).unwrap();
    vm.restart().await;
    eventually("its end", async || (!group.exists()).then_some(())).await;
    assert!(left.try_wait().unwrap().is_some());
}
