//! What of its secrets the process shows to other processes, and to the agent.

use std::os::unix::fs::{MetadataExt, chown};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::vm::{PROGRAM, SECRET, Vm};
use crate::support::{bounded, environments_with, eventually};

/// Any user but root.
const SOMEONE: u32 = 65_534;

#[tokio::test]
async fn another_process_of_the_same_user_cannot_read_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("vm-agent");
    std::fs::copy(PROGRAM, &program).unwrap();
    let mut command = Command::new(&program);
    if rustix::process::geteuid().is_root() {
        chown(directory.path(), Some(SOMEONE), Some(SOMEONE)).unwrap();
        command.uid(SOMEONE).gid(SOMEONE);
    }
    command
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .envs([("VM_BIND", "127.0.0.1:0"), ("VM_SECRET", SECRET), ("AGENT_DRIVER", "demo")])
        .env("EVENTS_URL", "http://127.0.0.1:9")
        .env("DATA_DIR", directory.path().join("data"));
    let mut process = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    bounded("the listening line", async {
        while !lines.next_line().await.unwrap().expect("the process listens").contains("listening on ") {}
    })
    .await;
    let environment = format!("/proc/{}/environ", process.id().unwrap());
    // Only its owner may read it, and of a process that may not be looked into that is root (proc(5)).
    let metadata = std::fs::metadata(environment).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.uid()), (0o400, 0));
}

#[tokio::test]
async fn the_agent_does_not_see_what_vm_agent_knows() {
    let events_url = "redis://vm:hunter2@127.0.0.1:9";
    let token = ("GITHUB_TOKEN", "ghp_of_nobody");
    let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20of-the-backend");
    let settings =
        [("AGENT_DRIVER", "demo"), ("EVENTS_URL", events_url), ("RELAY_NAMESPACE", "elsewhere"), token, headers];
    let vm = Vm::start(&settings).await;
    let run = vm.prompt(1, "slow work").await;
    let daemon = || vm.processes(&run).iter().any(|line| line.starts_with("sleep"));
    eventually("the agent's daemon", async || daemon().then_some(())).await;
    for environment in environments_with(&vm.mark(&run)) {
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let others = ["EVENTS_URL", "hunter2", "RELAY_NAMESPACE", "elsewhere", "VM_SECRET", SECRET];
        for word in others.into_iter().chain([token.0, token.1, headers.0, headers.1]) {
            assert!(!environment.contains(word), "{environment:?}");
        }
    }
    // Nor is any of it on the volume, for whoever gets to read that.
    for secret in ["hunter2", SECRET, token.1] {
        let found =
            Command::new("grep").args(["-rlF", secret]).arg(vm.root.path().join("data")).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
    assert!(!vm.log().contains("hunter2"), "{}", vm.log());
}
