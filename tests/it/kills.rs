//! Relay and VM agent killed with SIGKILL at named points of one run, and started again: the conversation ends as it
//! would have. The points are reached from outside: a gate holds a request or an answer back, a lock holds the database,
//! a fake delays its reply, and then the process is killed.

use std::time::Duration;

use system_tests::console::Console;
use system_tests::fake_github::{FakeGithub, Operation};
use system_tests::gate::Pass;
use system_tests::server::Fault;
use system_tests::stack::{BOUND, Plan, Stack};
use system_tests::wait::{wait_for, wait_until};

use crate::common::{contents, no_process_left, processes_of_runs, pushed, shown_tree};
use crate::phone::Phone;

/// After a kill the conversation goes on when the dead relay's lease has run out.
const RECOVERY: Duration = Duration::from_secs(45);
const TASK: &str = "add a line to hello.txt";
const GITHUB_TOKEN: &str = "ghp_for_tests_only";

/// Approve what is shown, and check that the origin has exactly that, once.
async fn approve_and_check(stack: &Stack, console: &Console) {
    console.wait_for("*approve* opens", RECOVERY).await;
    console.send("approve", BOUND).await;
    console.wait_for("is pushed as branch", RECOVERY).await;
    let (_, tree) = pushed(&stack.origin()).expect("the origin has the branch");
    assert_eq!(tree, shown_tree(&console.entries()));
    assert_eq!(console.count("is pushed as branch"), 1, "{:#?}", console.texts());
    assert_eq!(console.count("*approve* opens"), 1, "{:#?}", console.texts());
}

#[tokio::test]
async fn relay_killed_before_it_accepted_the_message() {
    let mut stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    {
        // While the test holds the database's write lock, nothing can be made durable.
        let lock = rusqlite::Connection::open(stack.database()).expect("the database opens");
        lock.execute_batch("BEGIN IMMEDIATE").expect("the lock is free");
        let (status, ()) = tokio::join!(console.try_send("web-1", TASK), async {
            tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>()).await.ok();
            stack.kill_relay().await;
        });
        assert_eq!(status, None, "not accepted, so not answered");
    }
    stack.start_relay().await;
    wait_until("the same message to be accepted", BOUND, async || console.try_send("web-1", TASK).await == Some(202))
        .await;
    approve_and_check(&stack, &console).await;
}

#[tokio::test]
async fn relay_killed_right_after_it_accepted_the_message() {
    let mut stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    stack.to_vm.set(Pass::NoRequests);
    assert_eq!(console.try_send("web-1", TASK).await, Some(202));
    stack.kill_relay().await;
    stack.to_vm.set(Pass::All);
    stack.start_relay().await;
    assert_eq!(console.try_send("web-1", TASK).await, Some(202), "a repeat is accepted and changes nothing");
    approve_and_check(&stack, &console).await;
}

/// Kill the relay while its request to start the run, or the answer to that, is held.
async fn relay_killed_while_the_gate_holds(pass: Pass) {
    let mut stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    stack.to_vm.set(pass);
    console.send(TASK, BOUND).await;
    wait_until("something to be held", BOUND, async || stack.to_vm.held() > 0).await;
    stack.kill_relay().await;
    stack.to_vm.set(Pass::All);
    stack.start_relay().await;
    approve_and_check(&stack, &console).await;
}

#[tokio::test]
async fn relay_killed_while_its_request_is_on_the_way_to_the_vm() {
    relay_killed_while_the_gate_holds(Pass::NoRequests).await;
}

#[tokio::test]
async fn relay_killed_after_the_vm_started_the_run_and_before_it_heard_so() {
    relay_killed_while_the_gate_holds(Pass::NoReplies).await;
}

#[tokio::test]
async fn relay_killed_while_the_agent_works() {
    let mut stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    console.send("something slow", BOUND).await;
    console.wait_for("Working on it", BOUND).await;
    stack.kill_relay().await;
    stack.start_relay().await;
    console.send("status", BOUND).await;
    console.wait_for("Run 1 is at work", RECOVERY).await;
    console.send("cancel", BOUND).await;
    console.wait_for("is stopped", RECOVERY).await;
    no_process_left(&stack).await;
}

#[tokio::test]
async fn vm_killed_while_the_agent_works() {
    let mut stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    let worktree = stack.worktree().await;
    let before = contents(&worktree);
    console.send("something slow", BOUND).await;
    console.wait_for("Working on it", BOUND).await;
    wait_until("the run to have changed something", BOUND, async || contents(&worktree) != before).await;
    assert!(!processes_of_runs(&stack).is_empty());
    stack.kill_vm().await;
    no_process_left(&stack).await;
    stack.start_vm().await;
    console.wait_for("was restarted while run 1 was at work", RECOVERY).await;
    assert_eq!(contents(&worktree), before, "the worktree is as it was");
    console.send(TASK, BOUND).await;
    approve_and_check(&stack, &console).await;
    assert_eq!(console.count("was restarted"), 1);
}

/// Kill the VM agent while one of its reports, or the acknowledgement of that, is held. A run that was not over then is
/// interrupted, of one that was the diff is shown: the person is told which, and once.
async fn vm_killed_while_the_gate_holds(pass: Pass) -> Console {
    let mut stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    stack.to_relay.set(pass);
    console.send(TASK, BOUND).await;
    wait_until("something to be held", BOUND, async || stack.to_relay.held() > 0).await;
    stack.kill_vm().await;
    stack.to_relay.set(Pass::All);
    stack.start_vm().await;
    let told = ["*approve* opens", "was restarted while run 1"];
    wait_for("the truth about the run, once", RECOVERY, async || {
        let counts = told.map(|text| console.count(text));
        if counts == [1, 0] || counts == [0, 1] { Ok(()) } else { Err(console.texts()) }
    })
    .await;
    console
}

#[tokio::test]
async fn vm_killed_before_its_result_was_taken() {
    vm_killed_while_the_gate_holds(Pass::NoRequests).await;
}

#[tokio::test]
async fn vm_killed_after_its_result_was_taken_and_before_it_heard_so() {
    let console = vm_killed_while_the_gate_holds(Pass::NoReplies).await;
    assert_eq!(console.count("Working on it"), 1, "a report taken twice counts once");
}

#[tokio::test]
async fn both_killed_while_a_diff_awaits_approval() {
    let mut stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    console.send(TASK, BOUND).await;
    console.wait_for("*approve* opens", BOUND).await;
    stack.kill_relay().await;
    stack.kill_vm().await;
    stack.start_vm().await;
    stack.start_relay().await;
    approve_and_check(&stack, &console).await;
}

/// A stack whose origin is at a fake GitHub, with a diff awaiting approval.
async fn at_github() -> (FakeGithub, Stack, Console) {
    let github = FakeGithub::start(GITHUB_TOKEN).await;
    github.add_repository("octo/demo").await;
    let plan = Plan::default()
        .repo(github.clone_url("octo/demo"))
        .vm("GITHUB_TOKEN", GITHUB_TOKEN)
        .vm("GITHUB_API_URL", github.api_url())
        .vm("GITHUB_URL", github.url());
    let stack = Stack::start(plan).await;
    let console = stack.console();
    console.send(TASK, BOUND).await;
    console.wait_for("*approve* opens", BOUND).await;
    (github, stack, console)
}

async fn one_pull_request(github: &FakeGithub, console: &Console) {
    console.wait_for("is a pull request", RECOVERY).await;
    let pulls = github.pulls();
    assert_eq!(pulls.len(), 1, "{pulls:#?}");
    assert_eq!(github.tree("octo/demo", &pulls[0].head).await, Some(shown_tree(&console.entries())));
    assert_eq!(console.count("is a pull request"), 1, "{:#?}", console.texts());
}

#[tokio::test]
async fn vm_killed_during_the_push() {
    let (github, mut stack, console) = at_github().await;
    github.inject(Operation::Push, Fault::BlackHole);
    console.send("approve", BOUND).await;
    wait_until("the push to be under way", BOUND, async || {
        github.requests().iter().any(|request| request.path.ends_with("git-receive-pack"))
    })
    .await;
    stack.kill_vm().await;
    stack.start_vm().await;
    one_pull_request(&github, &console).await;
}

#[tokio::test]
async fn relay_killed_during_the_push() {
    let (github, mut stack, console) = at_github().await;
    github.inject(Operation::Push, Fault::Delay(Duration::from_secs(3)));
    console.send("approve", BOUND).await;
    wait_until("the push to be under way", BOUND, async || {
        github.requests().iter().any(|request| request.path.ends_with("git-receive-pack"))
    })
    .await;
    stack.kill_relay().await;
    stack.start_relay().await;
    one_pull_request(&github, &console).await;
}

#[tokio::test]
async fn vm_killed_after_the_pull_request_was_opened_and_before_it_heard_so() {
    let (github, mut stack, console) = at_github().await;
    github.inject(Operation::CreatePull, Fault::Delay(Duration::from_secs(60)));
    console.send("approve", BOUND).await;
    wait_until("the pull request to be open", BOUND, async || !github.pulls().is_empty()).await;
    stack.kill_vm().await;
    stack.start_vm().await;
    one_pull_request(&github, &console).await;
}

#[tokio::test]
async fn relay_killed_before_a_chat_message_was_taken() {
    let mut phone = Phone::ready().await;
    phone.twilio.inject(Fault::BlackHole);
    phone.write("SM1", &[("Body", "help")]).await;
    wait_until("the send to be under way", BOUND, async || !phone.twilio.requests().is_empty()).await;
    phone.stack.kill_relay().await;
    assert!(phone.twilio.sent().is_empty());
    phone.stack.start_relay().await;
    wait_until("the message to arrive", RECOVERY, async || !phone.twilio.sent().is_empty()).await;
    assert_eq!(phone.twilio.sent().len(), 1);
}

#[tokio::test]
async fn relay_killed_after_a_chat_message_was_taken_and_before_it_heard_so() {
    let mut phone = Phone::ready().await;
    phone.twilio.inject(Fault::Delay(Duration::from_secs(60)));
    phone.write("SM1", &[("Body", "help")]).await;
    wait_until("the message to be taken", BOUND, async || !phone.twilio.sent().is_empty()).await;
    phone.stack.kill_relay().await;
    phone.stack.start_relay().await;
    phone.write("SM2", &[("Body", "queue")]).await;
    // Twilio has no idempotency key: the message in doubt comes at least once, and order holds all the same.
    let earlier = wait_for("both answers, in order", RECOVERY, async || {
        let bodies: Vec<String> = phone.twilio.sent().into_iter().map(|sent| sent.body).collect();
        match bodies.split_last() {
            Some((last, earlier)) if last.starts_with("Nothing is waiting") => Ok(earlier.to_vec()),
            _ => Err(bodies),
        }
    })
    .await;
    assert!((1..=2).contains(&earlier.len()), "{earlier:#?}");
    assert!(earlier.iter().all(|body| body.contains("*approve* (a)")), "{earlier:#?}");
}

/// The relay's state is gone, and the VM still holds a run that nobody remembers.
#[tokio::test]
async fn relay_killed_and_its_store_lost() {
    let mut stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    console.send(TASK, BOUND).await;
    console.wait_for("*approve* opens", BOUND).await;
    drop(console);
    stack.kill_relay().await;
    for file in ["relay.db", "relay.db-wal", "relay.db-shm"] {
        // The last two are there only while the database is in use.
        let _ = std::fs::remove_file(stack.folder().join(file));
    }
    stack.start_relay().await;
    let console = stack.console();
    console.send("add another line to other.txt", BOUND).await;
    console.wait_for("*approve* opens", RECOVERY).await;
    console.send("approve", BOUND).await;
    console.wait_for("is pushed as branch", RECOVERY).await;
    let (branch, tree) = pushed(&stack.origin()).expect("the origin has the branch");
    assert_eq!(tree, shown_tree(&console.entries()));
    let files = system_tests::stack::git(&stack.origin(), &["ls-tree", "-r", "--name-only", &branch]);
    assert!(files.contains("other.txt") && !files.contains("hello.txt"), "{files}");
}

/// The VM's volume is gone while a run is being stopped.
#[tokio::test]
async fn vm_killed_and_its_volume_lost_while_a_run_is_stopped() {
    let mut stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    console.send("something slow", BOUND).await;
    console.wait_for("Working slowly", BOUND).await;
    stack.kill_vm().await;
    no_process_left(&stack).await;
    std::fs::remove_dir_all(stack.folder().join("vm")).expect("the volume can be removed");
    console.send("cancel", BOUND).await;
    stack.start_vm().await;
    console.wait_for("Run 1 is stopped", RECOVERY).await;
    console.send(TASK, BOUND).await;
    approve_and_check(&stack, &console).await;
}
