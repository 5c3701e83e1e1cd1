//! A volume that is full, can't be written, or is not there. The first two are made by bubblewrap, around vm-agent itself; where the
//! kernel gives users no namespaces there is none.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use relay_core::protocol::{Health, Refusal, RefusalReason, RunOutcome, Task, VmEvent};
use reqwest::StatusCode;

use crate::support::eventually;
use crate::support::vm::Vm;

const DONE: &str = r#"echo '{"result":"All done.","is_error":false,"type":"result","num_turns":1}'"#;

/// Asked of another program than the one that is needed.
fn kernel_has_namespaces() -> bool {
    let asked = Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).status();
    asked.is_ok_and(|status| status.success())
}

async fn refusal(vm: &Vm, number: u64) -> Refusal {
    let answer = vm.start_run(number, Task::prompt("write hello.txt")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    answer.json().await.unwrap()
}

async fn told_of_the_volume(vm: &Vm, run: &relay_core::id::RunId) -> String {
    let told = |event| match event {
        VmEvent::Progress { text } if text.contains("disk") => Some(text),
        _ => None,
    };
    vm.relay.event(run, 0, told).await
}

/// A VM on a small disk, with this shell script as its Claude Code.
async fn on_a_small_disk(script: &str) -> (Vm, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("claude");
    // Asked for its version it does nothing: that happens outside of the volume.
    std::fs::write(&program, format!("#!/bin/sh\n[ \"$1\" = --version ] && exit\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut vm = Vm::start(&[
        ("ANTHROPIC_API_KEY", "sk-ant-the-real-one"),
        ("CLAUDE_PATH", program.to_str().unwrap()),
        ("AGENT_SANDBOX", "off"),
    ])
    .await;
    vm.kill().await;
    let data = vm.root.path().join("data").display().to_string();
    vm.restart_by(&["bwrap", "--die-with-parent", "--dev-bind", "/", "/", "--size", "100000000", "--tmpfs", &data])
        .await;
    (vm, directory)
}

#[tokio::test]
async fn a_run_that_goes_on_filling_the_disk_can_be_cancelled() {
    if !kernel_has_namespaces() {
        return;
    }
    // It takes whatever becomes free, until it is gone.
    let (vm, _directory) =
        on_a_small_disk("trap '' TERM\nwhile :; do cat /dev/zero >> filled; done 2> /dev/null").await;
    let run = vm.prompt(1, "fill the disk").await;
    eventually("the disk to be full", async || {
        let health: Health = vm.send("GET", "/health", Vec::new()).await.json().await.unwrap();
        (health.free_bytes == 0).then_some(())
    })
    .await;
    assert_eq!(vm.cancel(&run).await.status(), StatusCode::ACCEPTED);
    let outcome = vm.relay.outcome(&run).await;
    let is_stopped = match &outcome {
        RunOutcome::Cancelled => true,
        RunOutcome::Failed { reason, .. } => reason.contains("is stopped"),
        _ => false,
    };
    assert!(is_stopped, "{outcome:?}");
    assert_eq!(vm.processes(&run), Vec::<String>::new());
}

#[tokio::test]
async fn a_run_that_fills_the_disk_ends_with_words_and_the_next_one_is_refused() {
    if !kernel_has_namespaces() {
        return;
    }
    // Once, so that the second run finds nothing to do.
    let (vm, _directory) =
        on_a_small_disk(&format!("[ -e filled ] || head -c 300M /dev/urandom > filled\n{DONE}")).await;
    let run = vm.prompt(1, "fill the disk").await;
    let outcome = vm.relay.outcome(&run).await;
    assert!(
        matches!(&outcome, RunOutcome::Failed { reason, .. } if reason.contains("left as they are")),
        "{outcome:?}"
    );
    assert!(told_of_the_volume(&vm, &run).await.contains("The VM's disk is full"));
    let health: Health = vm.send("GET", "/health", Vec::new()).await.json().await.unwrap();
    assert!(health.volume_trouble.is_some_and(|trouble| trouble.contains("disk is full")), "{}", health.free_bytes);
    let refused = refusal(&vm, 2).await;
    assert!(refused.refused == RefusalReason::Unavailable && refused.message.contains("disk is full"), "{refused:?}");
}

#[tokio::test]
async fn a_volume_that_can_not_be_written_is_told_and_nothing_is_taken_on() {
    if !kernel_has_namespaces() {
        return;
    }
    let mut vm = Vm::demo().await;
    let (_, _) = vm.prompt_for_changes(1, "write hello.txt").await;
    vm.kill().await;
    let data = vm.root.path().join("data").display().to_string();
    vm.restart_by(&["bwrap", "--die-with-parent", "--dev-bind", "/", "/", "--ro-bind", &data, &data]).await;
    let refused = refusal(&vm, 2).await;
    assert!(refused.refused == RefusalReason::Unavailable && refused.message.contains("not written"), "{refused:?}");
    let health = vm.send("GET", "/health", Vec::new()).await;
    assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(health.text().await.unwrap().contains("not written"));
    let unsigned = vm.send_signed("GET", "/health", Vec::new(), None).await;
    assert_eq!(unsigned.text().await.unwrap(), r#"{"status":"ok"}"#);
    let unsigned = vm.send_signed("POST", "/command", Vec::new(), None).await;
    assert_eq!(unsigned.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_volume_that_is_missing_is_told_and_waited_for() {
    let mut vm = Vm::demo().await;
    let (run, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    vm.kill().await;
    let (data, elsewhere) = (vm.root.path().join("data"), vm.root.path().join("elsewhere"));
    std::fs::rename(&data, &elsewhere).unwrap();
    // Where a volume is not mounted there is no place for it either.
    std::os::unix::fs::symlink(vm.root.path().join("nowhere/data"), &data).unwrap();
    vm.restart().await;
    let refused = refusal(&vm, 2).await;
    assert!(refused.refused == RefusalReason::Unavailable && refused.message.contains("not there"), "{refused:?}");

    std::fs::remove_file(&data).unwrap();
    std::fs::rename(&elsewhere, &data).unwrap();
    eventually("the volume to be found", async || {
        (vm.send("GET", "/health", Vec::new()).await.status() == StatusCode::OK).then_some(())
    })
    .await;
    let answer = vm.decide(&run, &tree, relay_core::protocol::Decision::Reject).await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED, "what it holds is known again");
}
