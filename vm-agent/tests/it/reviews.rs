//! The review of a diff, from the run to its end, and work that is revised after one.

use std::os::unix::fs::PermissionsExt;

use relay_core::id::{RunId, TreeHash};
use relay_core::protocol::review::{Review, ReviewIndex, ReviewPart, Row};
use relay_core::protocol::{Decision, DecisionResult, RunOutcome, Task, VmEvent};
use reqwest::StatusCode;

use crate::support::vm::{Vm, run};
use crate::support::{eventually, git};

/// It writes twenty files of nearly a megabyte each.
const CLAUDE: &str = r#"#!/bin/bash
echo '{"type":"system","subtype":"init","session_id":"0af60324-d1fa-46c3-b4db-69a37af57c7a"}'
for file in $(seq 20); do seq 20000 | sed 's/$/ is a line of the usual length, more or less/' > many-$file.txt; done
echo '{"result":"All done.","is_error":false,"type":"result","num_turns":1}'
"#;
/// Less than that diff is long.
const GROWTH_KB_MAX: u64 = 14 * 1024;

fn decided(event: VmEvent) -> Option<DecisionResult> {
    match event {
        VmEvent::Decided { result, .. } => Some(result),
        _ => None,
    }
}

fn review(outcome: &RunOutcome) -> Review {
    let RunOutcome::Changes { review, .. } = outcome else { panic!("{outcome:?}") };
    review.expect("every diff is laid out")
}

async fn part(vm: &Vm, run: &RunId, tree: &TreeHash, part: &str) -> (StatusCode, Vec<u8>) {
    let answer = vm.send("GET", &format!("/reviews/{run}/{tree}/{part}"), Vec::new()).await;
    (answer.status(), answer.bytes().await.unwrap().to_vec())
}

async fn is_gone(vm: &Vm, run: &RunId, tree: &TreeHash) {
    eventually("the review to go", async || (part(vm, run, tree, "0").await.0 == StatusCode::NOT_FOUND).then_some(()))
        .await;
    eventually("its files to go", async || {
        (!vm.root.path().join("data/reviews").join(run.as_str()).exists()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_diff_that_waits_can_be_fetched_part_by_part_also_after_a_restart() {
    let mut vm = Vm::demo().await;
    let (run, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    assert_eq!(review(&vm.relay.outcome(&run).await), Review { parts: 2 });
    vm.kill().await;
    vm.restart().await;
    let (status, index) = part(&vm, &run, &tree, "0").await;
    assert_eq!(status, StatusCode::OK);
    let index: ReviewIndex = serde_json::from_slice(&index).unwrap();
    assert_eq!((index.files[0].path.as_str(), index.rows, index.cut), ("hello.txt", 2, false));
    let rows: ReviewPart = serde_json::from_slice(&part(&vm, &run, &tree, "1").await.1).unwrap();
    assert_eq!(rows.rows[1], Row::Added { new: 1, text: "- write hello.txt".into() });
    for bad in ["2", "-1", "x", "..%2F0", "4294967296"] {
        assert!(part(&vm, &run, &tree, bad).await.0.is_client_error(), "{bad}");
    }
    for path in ["/reviews/..%2F../fences.json/0", "/reviews/../runs/0", "/reviews/%2e%2e/aa/0"] {
        assert!(vm.send("GET", path, Vec::new()).await.status().is_client_error(), "{path}");
    }
    vm.decide(&run, &tree, Decision::Reject).await;
    assert_eq!(vm.relay.event(&run, 0, decided).await, DecisionResult::RolledBack);
    is_gone(&vm, &run, &tree).await;
}

#[tokio::test]
async fn a_review_goes_with_a_run_that_is_cancelled() {
    let vm = Vm::demo().await;
    let (run, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    vm.cancel(&run).await;
    is_gone(&vm, &run, &tree).await;
}

#[tokio::test]
async fn what_a_process_that_was_killed_left_of_reviews_goes_with_the_next_one() {
    let mut vm = Vm::demo().await;
    let (waiting, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    vm.kill().await;
    let left = vm.root.path().join("data/reviews").join(run(77).as_str()).join("aa11");
    std::fs::create_dir_all(&left).unwrap();
    vm.restart().await;
    eventually("what was left to go", async || (!left.exists()).then_some(())).await;
    assert_eq!(part(&vm, &waiting, &tree, "0").await.0, StatusCode::OK);
}

#[tokio::test]
async fn revised_work_holds_what_was_parked_and_what_was_asked_for() {
    let vm = Vm::demo().await;
    let (parked, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    vm.decide(&parked, &tree, Decision::Park).await;
    assert!(matches!(vm.relay.event(&parked, 0, decided).await, DecisionResult::Parked { .. }));
    assert!(!vm.worktree().join("hello.txt").exists());
    let revised = vm.begin(2, Task::Revise { parked: parked.clone(), text: "write other.txt".into() }).await;
    let outcome = vm.relay.outcome(&revised).await;
    let RunOutcome::Changes { tree, stat, .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!((stat.files, review(&outcome).parts), (2, 2));
    vm.decide(&revised, tree, Decision::Approve).await;
    assert!(matches!(vm.relay.event(&revised, 0, decided).await, DecisionResult::Pushed { .. }));
    let branch = format!("textslash/{revised}");
    assert_eq!(git(&vm.origin(), &["show", &format!("{branch}:hello.txt")]), "- write hello.txt");
    assert_eq!(git(&vm.origin(), &["show", &format!("{branch}:other.txt")]), "- write other.txt");
    assert_eq!(
        git(&vm.origin(), &["log", "-1", "--format=%s", &branch]),
        "write hello.txt",
        "named after the first task"
    );
    // What was parked is where it was.
    let nothing = vm.begin(3, Task::Revise { parked: run(77), text: "write other.txt".into() }).await;
    assert!(matches!(vm.relay.outcome(&nothing).await, RunOutcome::Failed { kept: None, .. }));
    let again = vm.begin(4, Task::Resume { parked }).await;
    assert!(matches!(vm.relay.outcome(&again).await, RunOutcome::Changes { .. }));
}

#[tokio::test]
async fn a_revision_that_is_cut_off_loses_neither_the_parked_work_nor_its_own() {
    let mut vm = Vm::demo().await;
    let (parked, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    vm.decide(&parked, &tree, Decision::Park).await;
    assert!(matches!(vm.relay.event(&parked, 0, decided).await, DecisionResult::Parked { .. }));
    let revised = vm.begin(2, Task::Revise { parked: parked.clone(), text: "slow work on other.txt".into() }).await;
    eventually("the agent's first change", async || vm.worktree().join("other.txt").exists().then_some(())).await;
    vm.kill().await;
    vm.restart().await;
    let outcome = vm.relay.outcome(&revised).await;
    let RunOutcome::Interrupted { kept: Some(branch) } = outcome else { panic!("{outcome:?}") };
    assert_eq!(branch, format!("textslash/{revised}"));
    assert!(!vm.worktree().join("hello.txt").exists(), "the worktree is as it was");
    let resumed = vm.begin(3, Task::Resume { parked: revised }).await;
    let RunOutcome::Changes { stat, tree, .. } = vm.relay.outcome(&resumed).await else { panic!("changes") };
    assert_eq!(stat.files, 2, "both are kept");
    vm.decide(&resumed, &tree, Decision::Reject).await;
    assert_eq!(vm.relay.event(&resumed, 0, decided).await, DecisionResult::RolledBack);

    let cancelled = vm.begin(4, Task::Revise { parked: parked.clone(), text: "slow work on other.txt".into() }).await;
    eventually("the agent's first change", async || vm.worktree().join("other.txt").exists().then_some(())).await;
    vm.cancel(&cancelled).await;
    assert_eq!(vm.relay.outcome(&cancelled).await, RunOutcome::Cancelled);
    assert!(!vm.worktree().join("hello.txt").exists());
    let again = vm.begin(5, Task::Resume { parked }).await;
    assert!(matches!(vm.relay.outcome(&again).await, RunOutcome::Changes { .. }));
}

#[tokio::test]
async fn a_diff_of_many_megabytes_costs_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("claude");
    std::fs::write(&program, CLAUDE).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.display().to_string();
    let settings =
        [("ANTHROPIC_API_KEY", "not used"), ("CLAUDE_PATH", &program), ("CHROMIUM_PATH", "/nowhere/chromium")];
    let vm = Vm::start(&settings).await;
    let before = vm.peak_kb();
    let (run, tree) = vm.prompt_for_changes(1, "write much").await;
    let growth = vm.peak_kb() - before;
    assert!(growth < GROWTH_KB_MAX, "{growth} kB");
    let index: ReviewIndex = serde_json::from_slice(&part(&vm, &run, &tree, "0").await.1).unwrap();
    assert!(index.stat.insertions == 400_000 && index.rows > 100_000 && index.cut, "as much as there is room for");
}
