use std::time::Duration;

use relay_core::id::{Address, ChannelKind, Fence, RunId, TreeHash};
use relay_core::protocol::{ApproveRequest, Command, CommandRequest, Decision, Report, RunState, Task, VmEvent};
use relay_core::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use system_tests::fake_vm::{FakeVm, Reports, Run};
use system_tests::server::{Server, empty, json};
use system_tests::wait::wait_for;

use super::{BOUND, client};

const SECRET: &str = "a-secret-for-tests-0123456789abcdef";

fn command(text: &str, number: u64, fence: u64) -> CommandRequest {
    let conversation = Address { channel: ChannelKind::Console, name: "console:main".into() }.conversation(b"key");
    let run = RunId::of(&conversation, Timestamp(1), number);
    let task = Task::prompt(text);
    CommandRequest { conversation, fence: Fence(fence), command: Command::Run { run, task } }
}

fn approval(run: &Run, tree: TreeHash, fence: u64) -> ApproveRequest {
    let (conversation, run) = (run.conversation.clone(), run.run.clone());
    ApproveRequest { conversation, fence: Fence(fence), run, tree, decision: Decision::Approve }
}

async fn post(vm: &FakeVm, path: &str, body: &impl Serialize) -> (u16, Value) {
    let body = serde_json::to_vec(body).expect("plain data");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let now = Timestamp(u64::try_from(now.as_millis()).expect("before the year 500 million"));
    let signed = relay_core::protocol::signature::sign(SECRET.as_bytes(), now, "POST", path, &body);
    let request = client().post(format!("{}{path}", vm.url())).header("x-textslash-signature", signed).body(body);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn run_in(vm: &FakeVm, state: RunState) -> Run {
    wait_for(&format!("the run to be {state:?}"), BOUND, async || {
        vm.runs().into_iter().find(|run| run.state == state).ok_or_else(|| vm.runs())
    })
    .await
}

/// A VM, and a relay that takes every report, but each only at the second try.
async fn vm_and_relay() -> (FakeVm, Server) {
    let tries = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let relay = Server::start(move |_| {
        let first = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(2);
        async move { if first { json(503, Value::Null) } else { empty(204) } }
    })
    .await;
    let vm = FakeVm::start(SECRET, Duration::from_millis(20)).await;
    vm.report_to(vec![Reports::Callback(relay.url())]);
    (vm, relay)
}

#[tokio::test]
async fn the_fake_vm_starts_a_run_once_and_reports_it_in_order_until_it_is_taken() {
    let (vm, relay) = vm_and_relay().await;
    let start = command("a change", 1, 5);
    let (status, first) = post(&vm, "/command", &start).await;
    assert_eq!((status, &first["repeated"]), (202, &Value::Bool(false)));
    assert_eq!(post(&vm, "/command", &start).await.1["repeated"], true);
    let run = run_in(&vm, RunState::AwaitingApproval).await;
    assert_eq!(post(&vm, "/approve", &approval(&run, run.tree.clone(), 5)).await.0, 202);
    run_in(&vm, RunState::Over).await;
    let seqs = wait_for("the decision to be reported", BOUND, async || {
        let reports = relay.requests().into_iter().map(|request| serde_json::from_slice::<Report>(&request.body));
        let reports: Vec<Report> = reports.map(|report| report.expect("a report")).collect();
        // The last one has been tried twice, so it is taken.
        let decided = reports.iter().filter(|report| matches!(report.event, VmEvent::Decided { .. })).count() == 2;
        let seqs: Vec<u64> = reports.iter().map(|report| report.seq).collect();
        if decided { Ok(seqs) } else { Err(seqs) }
    })
    .await;
    assert!(seqs.chunks(2).all(|tries| tries[0] == tries[1]), "each twice: {seqs:?}");
    assert!(seqs.chunks(2).zip(seqs.chunks(2).skip(1)).all(|(a, b)| a[0] + 1 == b[0]), "without gaps: {seqs:?}");
    assert_eq!((vm.runs().len(), vm.violations()), (1, Vec::new()));
}

#[tokio::test]
async fn the_fake_vm_refuses_a_stale_fence_and_a_forged_signature() {
    let (vm, _relay) = vm_and_relay().await;
    assert_eq!(post(&vm, "/command", &command("long", 1, 5)).await.0, 202);
    let (status, refusal) = post(&vm, "/command", &command("long", 2, 4)).await;
    assert_eq!((status, refusal["refused"].as_str()), (409, Some("stale_fence")));
    assert_eq!(vm.stale(), 1);
    let forged = client().post(format!("{}/command", vm.url())).json(&command("long", 1, 5)).send().await;
    assert_eq!(forged.expect("an answer").status(), 401);
    assert_eq!((vm.runs().len(), vm.violations()), (1, Vec::new()));
}

#[tokio::test]
async fn the_fake_vm_tells_of_what_no_relay_may_ask_for() {
    let (vm, _relay) = vm_and_relay().await;
    post(&vm, "/command", &command("a change", 1, 5)).await;
    let run = run_in(&vm, RunState::AwaitingApproval).await;
    assert_eq!(post(&vm, "/command", &command("a change", 2, 5)).await.0, 503);
    let other = TreeHash::parse("00ff").expect("a tree");
    assert_eq!(post(&vm, "/approve", &approval(&run, other, 5)).await.0, 409);
    let mut reject = approval(&run, run.tree.clone(), 5);
    assert_eq!(post(&vm, "/approve", &reject).await.0, 202);
    reject.decision = Decision::Reject;
    assert_eq!(post(&vm, "/approve", &reject).await.0, 409);
    assert_eq!(vm.violations().len(), 3, "{:#?}", vm.violations());
    assert_eq!(run_in(&vm, RunState::Over).await.decision, Some(Decision::Approve));
}
