//! The conversation as a person has it, through real processes: the words, the queue, a sleeping VM, deadlines, stopping.

use std::time::Duration;

use serde_json::Value;
use system_tests::console::Console;
use system_tests::stack::{BOUND, Plan, Stack, git};
use system_tests::wait::{wait_for, wait_until};

use crate::common::{contents, pushed, shown_tree};

/// A dead relay's lease, and a machine that is busy with a build.
const RECOVERY: Duration = Duration::from_secs(45);

/// Send a word and read the answer: the relay's next message after it.
async fn ask(console: &Console, word: &str) -> Value {
    let before = console.entries().len();
    console.send(word, BOUND).await;
    wait_for(&format!("an answer to {word:?}"), BOUND, async || {
        let entries = console.entries();
        let answer = entries[before..].iter().find(|entry| entry["from"] == "relay").cloned();
        answer.ok_or(entries)
    })
    .await
}

fn text(answer: &Value) -> &str {
    answer["text"].as_str().expect("an answer has a text")
}

#[tokio::test]
async fn the_words_about_repositories_and_files_are_answered() {
    let stack = Stack::start(Plan::default()).await;
    let worktree = stack.worktree().await;
    let console = stack.console();
    assert!(text(&ask(&console, "help").await).contains("*approve* (a)"));
    assert_eq!(text(&ask(&console, "status").await), "Nothing is running.");
    assert!(text(&ask(&console, "repos").await).contains("origin"));
    assert!(text(&ask(&console, "branch").await).contains("main"));
    let shown = ask(&console, "show README.md").await;
    assert!(shown["code"].as_str().is_some_and(|code| code.contains("# scratch")), "{shown}");
    for escape in ["show ../../relay.db", "show /etc/passwd", "show .git/config", "show nothing.txt"] {
        let answer = ask(&console, escape).await;
        assert!(text(&answer).starts_with("⚠️") && answer.get("code").is_none(), "{escape}: {answer}");
    }
    ask(&console, "checkout -b topic/new").await;
    assert!(text(&ask(&console, "branch").await).contains("topic/new"));
    for hostile in ["checkout --force", "checkout -b -f", "switch ../vm", "switch -x"] {
        assert!(text(&ask(&console, hostile).await).starts_with("⚠️"), "{hostile}");
    }
    let before = contents(&worktree);
    for hostile in ["clone file:///etc", "clone ext::sh", "clone --upload-pack=x", "clone /etc", "clone -x"] {
        let runs = console.count("⚠️");
        console.send(hostile, BOUND).await;
        wait_until(hostile, BOUND, async || console.count("⚠️") > runs).await;
    }
    assert_eq!(contents(&worktree), before);
}

#[tokio::test]
async fn every_diff_ends_with_the_address_of_its_page() {
    let stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    for number in 1..=2 {
        console.send(&format!("write file-{number}.txt"), BOUND).await;
        let question = console.wait_for(&format!("(run {number}"), BOUND).await;
        let address = text(&question).lines().last().and_then(|line| line.strip_prefix("Review: "));
        let signed = address.and_then(|address| address.split_once("/r/")).map(|(_, signed)| signed);
        assert!(signed.is_some_and(|signed| signed.split('.').count() == 3), "{question}");
        assert!(question["code"].is_string() && question["choice"].is_object(), "beside the diff and its buttons");
        console.send("reject", BOUND).await;
        console.wait_for(&format!("Run {number} is rolled back"), BOUND).await;
    }
}

#[tokio::test]
async fn messages_queue_while_a_run_is_on_and_can_be_dropped() {
    let stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    console.send("something slow", BOUND).await;
    console.wait_for("Working on it: run 1", BOUND).await;
    // The run itself may have something to say in between.
    for (message, answer) in
        [("second to b.txt", "position 1"), ("third to c.txt", "position 2"), ("checkout main", "is at work")]
    {
        console.send(message, BOUND).await;
        console.wait_for(answer, BOUND).await;
    }
    let listed = wait_for("the queue", BOUND, async || {
        console.send("queue", BOUND).await;
        console.texts().into_iter().find(|text| text.starts_with("Waiting:"))
    })
    .await;
    assert_eq!(listed, "Waiting:\n1. second to b.txt\n2. third to c.txt");
    console.send("drop 1", BOUND).await;
    console.wait_for("Taken out of the queue: 1. second", BOUND).await;
    console.send("drop 7", BOUND).await;
    console.wait_for("There is no position 7", BOUND).await;
    console.send("cancel", BOUND).await;
    console.wait_for("1 waiting also dropped", BOUND).await;
    console.wait_for("Run 1 is stopped", BOUND).await;
    console.send("cancel", BOUND).await;
    console.wait_for("Nothing is running, so there is nothing to cancel", BOUND).await;
}

#[tokio::test]
async fn a_queued_message_starts_when_the_one_before_it_is_decided() {
    let stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    console.send("first to a.txt", BOUND).await;
    console.wait_for("(run 1,", BOUND).await;
    console.send("second to b.txt", BOUND).await;
    console.wait_for("It starts once you *approve* or *reject* run 1", BOUND).await;
    console.send("r", BOUND).await;
    console.wait_for("Run 1 is rolled back", BOUND).await;
    console.wait_for("(run 2,", BOUND).await;
    console.send("a", BOUND).await;
    console.wait_for("Run 2 is pushed", BOUND).await;
    let (branch, tree) = pushed(&stack.origin()).expect("the origin has the branch");
    assert_eq!(tree, shown_tree(&console.entries()));
    let files = git(&stack.origin(), &["ls-tree", "-r", "--name-only", &branch]);
    assert!(files.contains("b.txt") && !files.contains("a.txt"), "{files}");
}

#[tokio::test]
async fn a_sleeping_vm_is_said_to_be_waking_and_the_message_is_kept() {
    let mut stack = Stack::prepare(Plan::default()).await;
    stack.start_relay().await;
    let console = stack.console();
    console.send("add a line to hello.txt", BOUND).await;
    console.wait_for("Waking up your VM", BOUND).await;
    stack.start_vm().await;
    console.wait_for("*approve* opens", BOUND).await;
    assert_eq!(console.count("Waking up"), 1, "once per wake");
}

#[tokio::test]
async fn a_vm_that_stays_away_is_told_and_the_next_message_tries_again() {
    let mut stack = Stack::prepare(Plan::default().relay("VM_PATIENCE_MS", "4000")).await;
    stack.start_relay().await;
    let console = stack.console();
    console.send("add a line to hello.txt", BOUND).await;
    console.wait_for("Your message is kept (run 1)", BOUND).await;
    stack.start_vm().await;
    console.send("status", BOUND).await;
    console.wait_for("*approve* opens", BOUND).await;
    assert_eq!(console.count("(run 2,"), 0, "tried again under its name");
    assert_eq!(console.count("*approve* opens"), 1);
}

#[tokio::test]
async fn a_diff_that_nobody_answers_is_parked_on_time_though_its_relay_is_gone_and_can_be_resumed() {
    let mut stack = Stack::start(Plan::default().relay("APPROVAL_TIMEOUT_MS", "3000")).await;
    let console = stack.console();
    let worktree = stack.worktree().await;
    let before = contents(&worktree);
    console.send("add a line to hello.txt", BOUND).await;
    console.wait_for("*approve* opens", BOUND).await;
    let tree = shown_tree(&console.entries());
    stack.kill_relay().await;
    stack.start_relay().await;
    console.wait_for("Run 1 is parked on the local branch", RECOVERY).await;
    assert_eq!(console.count("No answer for run 1"), 1, "the deadline fires once");
    assert_eq!(contents(&worktree), before);
    console.send("approve", BOUND).await;
    console.wait_for("Run 1 was parked; *resume 1* brings it back", BOUND).await;
    assert_eq!(pushed(&stack.origin()), None, "never approved by itself");

    console.send("resume 1", BOUND).await;
    console.wait_for("(run 2)", BOUND).await;
    assert_eq!(shown_tree(&console.entries()), tree, "the same work");
    console.send("approve", BOUND).await;
    console.wait_for("Run 2 is pushed", BOUND).await;
    assert_eq!(pushed(&stack.origin()).map(|(_, tree)| tree), Some(tree));
}

#[tokio::test]
async fn a_relay_told_to_stop_gives_everything_back_and_exits_0() {
    let mut stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    console.send("something slow", BOUND).await;
    console.wait_for("Working slowly", BOUND).await;
    let status = stack.relay.take().expect("the relay is up").terminate(BOUND).await;
    assert_eq!(status.code(), Some(0));
    stack.start_relay().await;
    // Given back, not left to a lease: the next relay goes on at once.
    let started = std::time::Instant::now();
    console.send("cancel", BOUND).await;
    console.wait_for("Run 1 is stopped", BOUND).await;
    assert!(started.elapsed() < Duration::from_secs(9), "{:?}: a lease had to run out", started.elapsed());
}

#[tokio::test]
async fn a_vm_told_to_stop_interrupts_its_run_says_so_and_exits_0() {
    let mut stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    let worktree = stack.worktree().await;
    let before = contents(&worktree);
    console.send("something slow", BOUND).await;
    console.wait_for("Working slowly", BOUND).await;
    let status = stack.vm.take().expect("the VM is up").terminate(BOUND).await;
    assert_eq!(status.code(), Some(0));
    console.wait_for("Your VM was restarted while run 1 was at work", BOUND).await;
    assert_eq!(contents(&worktree), before);
    stack.start_vm().await;
    console.send("resume 1", BOUND).await;
    console.wait_for("(run 2)", BOUND).await;
}

#[tokio::test]
async fn an_idle_vm_stops_itself_and_one_that_waits_for_an_answer_does_not() {
    let mut stack = Stack::start(Plan::default().vm("IDLE_TIMEOUT_MS", "1500")).await;
    let console = stack.console();
    console.send("add a line to hello.txt", BOUND).await;
    console.wait_for("*approve* opens", BOUND).await;
    let vm = stack.vm.as_mut().expect("the VM is up");
    let stopped = tokio::time::timeout(Duration::from_secs(4), vm.exited(BOUND)).await;
    assert!(stopped.is_err(), "stopped while a diff waits for its answer");
    console.send("reject", BOUND).await;
    console.wait_for("is rolled back", BOUND).await;
    let status = stack.vm.as_mut().expect("the VM is up").exited(BOUND).await;
    assert_eq!(status.code(), Some(0));
}
