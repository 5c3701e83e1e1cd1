//! A run from the command to its end, with the demo agent.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use relay_core::id::TreeHash;
use relay_core::protocol::{
    Accepted, Answer, Decision, DecisionResult, Health, Question, RunOutcome, RunState, RunStatus, Task, VmEvent,
};
use reqwest::StatusCode;

use crate::support::vm::{Vm, run};
use crate::support::{eventually, git};

fn decided(event: VmEvent) -> Option<DecisionResult> {
    match event {
        VmEvent::Decided { result, .. } => Some(result),
        _ => None,
    }
}

/// Every file and its contents, git's own left out.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() && name != ".git" {
            found.extend(files(&entry.path()).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else if name != ".git" {
            found.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    found
}

#[tokio::test]
async fn an_approved_diff_is_pushed_as_it_was_shown_and_once() {
    let vm = Vm::demo().await;
    let (run, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    assert_eq!(vm.decide(&run, &tree, Decision::Approve).await.status(), StatusCode::ACCEPTED);
    let result = vm.relay.event(&run, 0, decided).await;
    assert!(
        matches!(&result, DecisionResult::Pushed { branch, .. } if *branch == format!("textslash/{run}")),
        "{result:?}"
    );
    let pushed = git(&vm.origin(), &["rev-parse", &format!("textslash/{run}^{{tree}}")]);
    assert_eq!(pushed, tree.as_str());
    assert_eq!(git(&vm.origin(), &["show", &format!("textslash/{run}:hello.txt")]), "- write hello.txt");
    let commit = git(&vm.origin(), &["rev-parse", &format!("textslash/{run}")]);

    // The worktree is free again, and the same approval only tells the same result again.
    assert!(!vm.worktree().join("hello.txt").exists());
    assert_eq!(vm.decide(&run, &tree, Decision::Approve).await.status(), StatusCode::ACCEPTED);
    assert_eq!(vm.relay.event(&run, 1, decided).await, result);
    assert_eq!(git(&vm.origin(), &["rev-parse", &format!("textslash/{run}")]), commit);
    assert_eq!(vm.decide(&run, &tree, Decision::Reject).await.status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn reports_come_in_order_without_gaps_though_the_relay_fails_at_first() {
    let vm = Vm::demo().await;
    vm.relay.refuse(&[503, 500, 429, 401]);
    let (run, _) = vm.prompt_for_changes(1, "picture please").await;
    let arrivals = vm.relay.arrivals(&run);
    let first = arrivals[0];
    assert_eq!(arrivals, (first..first + arrivals.len() as u64).collect::<Vec<_>>());
    let reports = vm.relay.reports(&run);
    assert_eq!(reports[0].event, VmEvent::Started { driver: "demo".to_owned() });
    assert!(reports.iter().filter(|report| matches!(report.event, VmEvent::Progress { .. })).count() >= 3);
}

#[tokio::test]
async fn a_picture_can_be_fetched_and_nothing_else() {
    let vm = Vm::demo().await;
    let (run, _) = vm.prompt_for_changes(1, "a picture please").await;
    let name = vm.relay.event(&run, 0, |event| match event {
        VmEvent::Image { name, .. } => Some(name),
        _ => None,
    });
    let image = vm.send("GET", &format!("/images/{}", name.await), Vec::new()).await;
    assert_eq!((image.status(), image.headers()["content-type"].to_str().unwrap()), (StatusCode::OK, "image/png"));
    assert!(image.bytes().await.unwrap().starts_with(b"\x89PNG"));
    for name in ["none.png", "..%2Ffences.json", "%2e%2e%2fruns", "x.json"] {
        let answer = vm.send("GET", &format!("/images/{name}"), Vec::new()).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{name}");
    }
}

#[tokio::test]
async fn a_rejected_diff_leaves_the_files_as_they_were() {
    let vm = Vm::demo().await;
    let (first, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    vm.decide(&first, &tree, Decision::Reject).await;
    assert_eq!(vm.relay.event(&first, 0, decided).await, DecisionResult::RolledBack);
    std::fs::write(vm.worktree().join("mine.txt"), "not committed").unwrap();
    let before = files(&vm.worktree());

    let (second, tree) = vm.prompt_for_changes(2, "write README.md").await;
    assert_ne!(files(&vm.worktree()), before);
    vm.decide(&second, &tree, Decision::Reject).await;
    assert_eq!(vm.relay.event(&second, 0, decided).await, DecisionResult::RolledBack);
    assert_eq!(files(&vm.worktree()), before);
}

#[tokio::test]
async fn parked_work_can_be_brought_back_under_a_new_run() {
    let vm = Vm::demo().await;
    let (parked, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    vm.decide(&parked, &tree, Decision::Park).await;
    let branch = format!("textslash/{parked}");
    assert_eq!(vm.relay.event(&parked, 0, decided).await, DecisionResult::Parked { branch });
    assert!(!vm.worktree().join("hello.txt").exists());

    let resumed = vm.begin(2, Task::Resume { parked }).await;
    let outcome = vm.relay.outcome(&resumed).await;
    assert!(matches!(&outcome, RunOutcome::Changes { tree: again, .. } if *again == tree), "{outcome:?}");
    vm.decide(&resumed, &tree, Decision::Approve).await;
    assert!(matches!(vm.relay.event(&resumed, 0, decided).await, DecisionResult::Pushed { .. }));
    let nothing = vm.begin(3, Task::Resume { parked: run(77) }).await;
    assert!(matches!(vm.relay.outcome(&nothing).await, RunOutcome::Failed { .. }));
}

/// Two pieces of work lie side by side on their branches: the one that comes back is neither mixed with the other nor in its way.
#[tokio::test]
async fn of_two_parked_runs_the_one_that_is_resumed_is_approved_as_it_was() {
    let vm = Vm::demo().await;
    let mut parked = Vec::new();
    for (number, text) in [(1, "write hello.txt the first way"), (2, "write hello.txt the second way")] {
        let (run, tree) = vm.prompt_for_changes(number, text).await;
        vm.decide(&run, &tree, Decision::Park).await;
        assert!(matches!(vm.relay.event(&run, 0, decided).await, DecisionResult::Parked { .. }));
        parked.push((run, tree));
    }
    let [(first, tree), (second, other)] = &parked[..] else { panic!("two are parked") };
    assert_ne!(tree, other);
    let resumed = vm.begin(3, Task::Resume { parked: first.clone() }).await;
    let outcome = vm.relay.outcome(&resumed).await;
    assert!(matches!(&outcome, RunOutcome::Changes { tree: shown, .. } if shown == tree), "{outcome:?}");
    vm.decide(&resumed, tree, Decision::Approve).await;
    assert!(matches!(vm.relay.event(&resumed, 0, decided).await, DecisionResult::Pushed { .. }));
    assert_eq!(git(&vm.origin(), &["rev-parse", &format!("textslash/{resumed}^{{tree}}")]), tree.as_str());
    // And the other one is still where it was.
    let resumed = vm.begin(4, Task::Resume { parked: second.clone() }).await;
    let outcome = vm.relay.outcome(&resumed).await;
    assert!(matches!(&outcome, RunOutcome::Changes { tree: shown, .. } if shown == other), "{outcome:?}");
}

#[tokio::test]
async fn a_run_begins_with_what_is_new_at_origin_and_works_without_it() {
    let mut vm = Vm::demo().await;
    let source = vm.root.path().join("source");
    std::fs::write(source.join("news.txt"), "new at origin\n").unwrap();
    git(&source, &["add", "."]);
    git(&source, &["commit", "--quiet", "-m", "News"]);
    git(&source, &["push", "--quiet", &vm.origin().display().to_string(), "HEAD"]);
    let (run, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    assert!(vm.worktree().join("news.txt").exists());
    vm.decide(&run, &tree, Decision::Reject).await;
    assert_eq!(vm.relay.event(&run, 0, decided).await, DecisionResult::RolledBack);
    assert!(vm.worktree().join("news.txt").exists(), "not of the run");

    std::fs::rename(vm.origin(), vm.root.path().join("gone.git")).unwrap();
    vm.kill().await;
    vm.restart().await;
    let (run, _) = vm.prompt_for_changes(2, "write hello.txt").await;
    let told = vm.relay.event(&run, 0, |event| match event {
        VmEvent::Progress { text } if text.contains("Origin could not be asked") => Some(text),
        _ => None,
    });
    told.await;
}

#[tokio::test]
async fn another_tree_than_the_shown_one_is_never_decided_on() {
    let vm = Vm::demo().await;
    let (run, _) = vm.prompt_for_changes(1, "write hello.txt").await;
    let other = TreeHash::parse("0123456789012345678901234567890123456789").unwrap();
    for decision in [Decision::Approve, Decision::Reject, Decision::Park] {
        let answer = vm.decide(&run, &other, decision).await;
        assert_eq!(answer.status(), StatusCode::CONFLICT);
        assert!(answer.text().await.unwrap().contains("stale_tree"));
    }
}

#[tokio::test]
async fn a_refused_push_keeps_the_work_and_can_be_tried_again() {
    let vm = Vm::demo().await;
    let (run, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    let away = vm.root.path().join("away.git");
    std::fs::rename(vm.origin(), &away).unwrap();
    vm.decide(&run, &tree, Decision::Approve).await;
    assert!(matches!(vm.relay.event(&run, 0, decided).await, DecisionResult::Failed { .. }));
    assert!(vm.worktree().join("hello.txt").exists());
    std::fs::rename(&away, vm.origin()).unwrap();
    eventually("the second approval", async || {
        (vm.decide(&run, &tree, Decision::Approve).await.status() == StatusCode::ACCEPTED).then_some(())
    })
    .await;
    assert!(matches!(vm.relay.event(&run, 1, decided).await, DecisionResult::Pushed { .. }));
}

#[tokio::test]
async fn a_failed_run_keeps_its_work_on_a_branch() {
    let vm = Vm::demo().await;
    let run = vm.prompt(1, "fail with hello.txt").await;
    let outcome = vm.relay.outcome(&run).await;
    let RunOutcome::Failed { kept: Some(branch), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(branch, format!("textslash/{run}"));
    assert!(!vm.worktree().join("hello.txt").exists());
    let answer: Answer = vm.ask(Question::Branch).await.json().await.unwrap();
    assert!(answer.text.contains(&branch), "{}", answer.text);
}

#[tokio::test]
async fn a_cancelled_run_leaves_no_process_and_no_change() {
    let vm = Vm::demo().await;
    let run = vm.prompt(1, "slow work on hello.txt").await;
    let daemon = || vm.processes(&run).iter().any(|line| line.starts_with("sleep 120"));
    eventually("the agent's daemon", async || daemon().then_some(())).await;
    assert_eq!(vm.cancel(&run).await.status(), StatusCode::ACCEPTED);
    assert_eq!(vm.relay.outcome(&run).await, RunOutcome::Cancelled);
    assert_eq!(vm.processes(&run), Vec::<String>::new());
    assert!(!vm.worktree().join("hello.txt").exists());
    vm.prompt_for_changes(2, "go on").await;
    assert_eq!(vm.relay.outcomes(&run).len(), 1);
}

#[tokio::test]
async fn a_diff_that_waits_is_told_again_to_whoever_starts_its_run() {
    let vm = Vm::demo().await;
    let (run, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    let shown = vm.relay.outcome(&run).await;
    eventually("the report to be delivered", async || {
        let health: Health = vm.send("GET", "/health", Vec::new()).await.json().await.unwrap();
        (health.unreported_events == 0).then_some(())
    })
    .await;
    let again = vm.start_run(1, Task::prompt("again")).await;
    assert!(again.json::<Accepted>().await.unwrap().repeated);
    eventually("the diff again", async || (vm.relay.outcomes(&run).len() == 2).then_some(())).await;
    assert_eq!(vm.relay.outcomes(&run), [shown.clone(), shown]);
    vm.decide(&run, &tree, Decision::Reject).await;
    assert_eq!(vm.relay.event(&run, 0, decided).await, DecisionResult::RolledBack);
}

#[tokio::test]
async fn a_run_that_is_over_tells_its_end_again_to_whoever_starts_or_cancels_it() {
    let vm = Vm::demo().await;
    let (decided_on, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    vm.decide(&decided_on, &tree, Decision::Reject).await;
    vm.relay.event(&decided_on, 0, decided).await;
    let answered = vm.prompt(2, "question?").await;
    let outcome = vm.relay.outcome(&answered).await;
    let repeated = async |response: reqwest::Response| {
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert!(response.json::<Accepted>().await.unwrap().repeated);
    };
    for time in 1..=2 {
        for (run, number) in [(&decided_on, 1), (&answered, 2)] {
            // The last report is written before its run is over.
            eventually("the run's end", async || {
                let status: RunStatus = vm.send("GET", &format!("/runs/{run}"), Vec::new()).await.json().await.unwrap();
                (status.state == RunState::Over).then_some(())
            })
            .await;
            match time {
                1 => repeated(vm.cancel(run).await).await,
                _ => repeated(vm.start_run(number, Task::prompt("again")).await).await,
            }
        }
        assert_eq!(vm.relay.event(&decided_on, time, decided).await, DecisionResult::RolledBack);
        eventually("the outcome again", async || (vm.relay.outcomes(&answered).len() > time).then_some(())).await;
    }
    assert_eq!(vm.relay.outcomes(&answered), [outcome.clone(), outcome.clone(), outcome]);
    assert!(!vm.worktree().join("hello.txt").exists());
}

#[tokio::test]
async fn a_run_that_ends_by_itself_leaves_no_process() {
    let vm = Vm::demo().await;
    let run = vm.prompt(1, "question?").await;
    let RunOutcome::Answered { text } = vm.relay.outcome(&run).await else { panic!("changes") };
    assert!(text.contains("demo agent"));
    assert_eq!(vm.processes(&run), Vec::<String>::new());
}

#[tokio::test]
async fn a_run_cancelled_before_it_came_never_starts() {
    let vm = Vm::demo().await;
    assert_eq!(vm.cancel(&run(1)).await.status(), StatusCode::ACCEPTED);
    assert_eq!(vm.relay.outcome(&run(1)).await, RunOutcome::Cancelled);
    let run = vm.prompt(1, "write hello.txt").await;
    vm.prompt_for_changes(2, "write other.txt").await;
    eventually("the cancellation again", async || (vm.relay.outcomes(&run).len() > 1).then_some(())).await;
    assert_eq!(vm.relay.outcomes(&run), [RunOutcome::Cancelled, RunOutcome::Cancelled]);
    assert!(!vm.worktree().join("hello.txt").exists());
}

#[tokio::test]
async fn a_diff_that_waits_can_still_be_cancelled() {
    let vm = Vm::demo().await;
    let (run, tree) = vm.prompt_for_changes(1, "write hello.txt").await;
    assert_eq!(vm.cancel(&run).await.status(), StatusCode::ACCEPTED);
    eventually("the cancellation", async || vm.relay.outcomes(&run).contains(&RunOutcome::Cancelled).then_some(()))
        .await;
    assert!(!vm.worktree().join("hello.txt").exists());
    assert_eq!(vm.decide(&run, &tree, Decision::Approve).await.status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_cancellation_at_any_moment_is_told_once() {
    let vm = Vm::demo().await;
    for number in 1..=14 {
        let run = vm.prompt(number, "write hello.txt").await;
        // Not to wait for something: to meet the run in each of its phases.
        tokio::time::sleep(Duration::from_millis(number * 25)).await;
        vm.cancel(&run).await;
        let cancelled =
            || vm.relay.outcomes(&run).into_iter().filter(|outcome| *outcome == RunOutcome::Cancelled).count();
        eventually("the cancellation", async || (cancelled() > 0).then_some(())).await;
        let path = format!("/runs/{run}");
        let status = || vm.send("GET", &path, Vec::new());
        let is_over = |status: RunStatus| (status.state == RunState::Over).then_some(());
        eventually("the run's end", async || is_over(status().await.json().await.unwrap())).await;
        assert_eq!(cancelled(), 1, "after {} ms", number * 25);
        assert!(!vm.worktree().join("hello.txt").exists());
    }
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_stopped_and_says_so() {
    let vm = Vm::start(&[("AGENT_DRIVER", "demo"), ("RUN_TIMEOUT_MS", "1500")]).await;
    let run = vm.prompt(1, "slow work").await;
    let outcome = vm.relay.outcome(&run).await;
    assert!(
        matches!(&outcome, RunOutcome::Failed { reason, kept: Some(_) } if reason.contains("longer")),
        "{outcome:?}"
    );
}
