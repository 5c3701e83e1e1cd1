//! The process killed and started again, at the points that matter.

use relay_core::protocol::{Decision, DecisionResult, RunOutcome, VmEvent};
use reqwest::StatusCode;
use rustix::process::Signal;

use crate::support::vm::Vm;
use crate::support::{eventually, git};

fn decided(event: VmEvent) -> Option<DecisionResult> {
    match event {
        VmEvent::Decided { result, .. } => Some(result),
        _ => None,
    }
}

async fn working(vm: &Vm, number: u64) -> relay_core::id::RunId {
    let run = vm.prompt(number, "slow work on hello.txt").await;
    eventually("the edit", async || vm.worktree().join("hello.txt").exists().then_some(())).await;
    run
}

#[tokio::test]
async fn a_run_interrupted_by_a_kill_is_told_once_and_its_work_kept() {
    let mut vm = Vm::demo().await;
    let run = working(&vm, 1).await;
    vm.kill().await;
    eventually("the agent's end", async || vm.processes(&run).is_empty().then_some(())).await;
    vm.restart().await;
    let branch = format!("textslash/{run}");
    assert_eq!(vm.relay.outcome(&run).await, RunOutcome::Interrupted { kept: Some(branch) });
    assert!(!vm.worktree().join("hello.txt").exists());
    vm.kill().await;
    vm.restart().await;
    vm.prompt_for_changes(2, "go on").await;
    assert_eq!(vm.relay.outcomes(&run).len(), 1);
}

#[tokio::test]
async fn a_restart_right_after_the_kill_waits_for_what_is_left() {
    let mut vm = Vm::demo().await;
    let run = working(&vm, 1).await;
    vm.kill().await;
    vm.restart().await;
    assert!(matches!(vm.relay.outcome(&run).await, RunOutcome::Interrupted { kept: Some(_) }));
    assert_eq!(vm.processes(&run), Vec::<String>::new());
}

#[tokio::test]
async fn a_diff_outlives_a_kill_and_can_be_approved() {
    let mut vm = Vm::demo().await;
    let (run, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    vm.kill().await;
    vm.restart().await;
    assert_eq!(vm.decide(&run, &tree, Decision::Approve).await.status(), StatusCode::ACCEPTED);
    assert!(matches!(vm.relay.event(&run, 0, decided).await, DecisionResult::Pushed { .. }));
    assert_eq!(git(&vm.origin(), &["rev-parse", &format!("textslash/{run}^{{tree}}")]), tree.as_str());
}

#[tokio::test]
async fn a_decision_that_a_kill_interrupts_is_carried_out_after_the_restart() {
    let mut vm = Vm::demo().await;
    let (run, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    vm.decide(&run, &tree, Decision::Approve).await;
    vm.kill().await;
    vm.restart().await;
    let result = vm.relay.event(&run, 0, decided).await;
    assert!(matches!(result, DecisionResult::Pushed { .. }), "{result:?}");
    eventually("the files put back", async || (!vm.worktree().join("hello.txt").exists()).then_some(())).await;
}

#[tokio::test]
async fn a_cancellation_that_a_kill_interrupts_is_finished_after_the_restart() {
    let mut vm = Vm::demo().await;
    let run = working(&vm, 1).await;
    vm.cancel(&run).await;
    vm.kill().await;
    vm.restart().await;
    assert_eq!(vm.relay.outcome(&run).await, RunOutcome::Cancelled);
    assert!(!vm.worktree().join("hello.txt").exists());
}

#[tokio::test]
async fn reports_that_no_relay_took_are_delivered_after_the_restart() {
    let mut vm = Vm::demo().await;
    vm.relay.refuse(&[503; 100]);
    let run = vm.prompt(1, "question?").await;
    let reported = format!("{}/data/runs/{run}/events.jsonl", vm.root.path().display());
    eventually("the end in the journal", async || {
        std::fs::read_to_string(&reported).ok().filter(|events| events.contains("finished"))
    })
    .await;
    vm.kill().await;
    assert_eq!(vm.relay.outcomes(&run), []);
    vm.relay.accept();
    vm.restart().await;
    assert!(matches!(vm.relay.outcome(&run).await, RunOutcome::Answered { .. }));
}

#[tokio::test]
async fn a_signal_ends_the_process_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut vm = Vm::demo().await;
        let run = working(&vm, 1).await;
        vm.signal(signal);
        assert_eq!(vm.exit().await.code(), Some(0));
        assert_eq!(vm.processes(&run), Vec::<String>::new());
        vm.restart().await;
        assert!(matches!(vm.relay.outcome(&run).await, RunOutcome::Interrupted { kept: Some(_) }));
        assert_eq!(vm.relay.outcomes(&run).len(), 1);
    }
}
