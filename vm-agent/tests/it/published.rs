//! Reports that go into Redis instead of to a relay's address.

use futures::StreamExt;
use relay_core::protocol::{Decision, DecisionResult, Health, Report, RunOutcome, VmEvent};
use relay_core::store::redis::acl;
use relay_core::store::redis::keys::NAMESPACE;

use crate::support::redis::{RedisServer, keys};
use crate::support::vm::{Vm, conversation};
use crate::support::{bounded, eventually};

async fn publishing(events_url: &str, settings: &[(&str, &str)]) -> Vm {
    let mut all = vec![("AGENT_DRIVER", "demo"), ("EVENTS_URL", events_url)];
    all.extend(settings);
    Vm::start(&all).await
}

/// Make the user `vm`, who may do what a VM may and has this password.
async fn allow(redis: &RedisServer, password: &str) {
    let line = acl::vm_line(NAMESPACE, "vm", &format!(">{password}"), &[conversation()]);
    let rule: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(line.split(' ').skip(1)).collect();
    redis.ask::<()>(&rule).await;
}

async fn unreported(vm: &Vm) -> usize {
    let health: Health = vm.send("GET", "/health", Vec::new()).await.json().await.unwrap();
    health.unreported_events
}

/// Each number is the one before or the next one: nothing is missing, and only a repeat is out of place.
fn assert_in_order(reports: &[Report]) {
    let numbers: Vec<u64> = reports.iter().map(|report| report.seq).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] || pair[1] == pair[0] + 1), "{numbers:?}");
}

#[tokio::test]
async fn the_reports_of_a_whole_run_are_published_in_order() {
    let redis = RedisServer::start().await;
    let mut live = redis.client().get_async_pubsub().await.unwrap();
    live.subscribe(keys().live(&conversation())).await.unwrap();
    let vm = publishing(&redis.url(), &[]).await;
    let run = vm.prompt(1, "a picture of hello.txt please").await;
    let RunOutcome::Changes { tree, .. } = redis.outcome(&run).await else { panic!("no changes") };
    vm.decide(&run, &tree, Decision::Reject).await;
    let reports = eventually("the decision", async || {
        let reports = redis.reports().await;
        matches!(reports.last()?.event, VmEvent::Decided { .. }).then_some(reports)
    })
    .await;

    assert_in_order(&reports);
    assert!(reports.iter().all(|report| report.run == run && report.conversation == conversation()));
    assert_eq!(reports[0].event, VmEvent::Started { driver: "demo".to_owned() });
    assert!(reports.iter().any(|report| matches!(report.event, VmEvent::Image { .. })));
    let rolled_back = VmEvent::Decided { decision: Decision::Reject, result: DecisionResult::RolledBack };
    assert_eq!(reports.last().unwrap().event, rolled_back);
    let wake_ups = redis.take_wake_ups().await;
    assert!(wake_ups.len() >= reports.len() && wake_ups.iter().all(|id| *id == conversation()), "{wake_ups:?}");
    let mut shown = live.on_message();
    for report in &reports {
        let message = bounded("the live copy", shown.next()).await.unwrap().get_payload_bytes().to_vec();
        assert_eq!(serde_json::from_slice::<Report>(&message).unwrap(), *report);
    }
}

#[tokio::test]
async fn nothing_is_lost_when_redis_is_killed_and_started_again() {
    let mut redis = RedisServer::start().await;
    let vm = publishing(&redis.url(), &[]).await;
    let run = vm.prompt(1, "slow work on hello.txt").await;
    eventually("the first reports", async || (redis.reports().await.len() >= 2).then_some(())).await;
    redis.kill().await;
    vm.cancel(&run).await;
    let journal = format!("{}/data/runs/{run}/events.jsonl", vm.root.path().display());
    let reported = eventually("the end in the journal", async || {
        std::fs::read_to_string(&journal).ok().filter(|events| events.contains("finished"))
    })
    .await;
    assert!(unreported(&vm).await > 0);
    redis.restart().await;
    assert_eq!(redis.outcome(&run).await, RunOutcome::Cancelled);
    let mut reports = redis.reports().await;
    assert_in_order(&reports);
    reports.dedup();
    assert_eq!(reports.len(), reported.lines().count());
}

#[tokio::test]
async fn a_relay_is_woken_again_until_everything_is_taken() {
    let redis = RedisServer::start().await;
    let mut vm = publishing(&redis.url(), &[("IDLE_TIMEOUT_MS", "500")]).await;
    let run = vm.prompt(1, "question?").await;
    redis.outcome(&run).await;
    assert!(unreported(&vm).await > 0);
    // The relay that pops this one dies.
    eventually("a wake-up", async || (!redis.take_wake_ups().await.is_empty()).then_some(())).await;
    let again = eventually("another wake-up", async || {
        let wake_ups = redis.take_wake_ups().await;
        (!wake_ups.is_empty()).then_some(wake_ups)
    });
    tokio::select! {
        status = vm.exit() => panic!("it left before its reports were taken: {status}"),
        again = again => assert_eq!(again, [conversation()]),
    }
    redis.take_reports().await;
    assert_eq!(vm.exit().await.code(), Some(0));
    assert_eq!(redis.take_wake_ups().await, []);
}

#[tokio::test]
async fn a_user_who_may_only_report_is_enough() {
    let redis = RedisServer::start().await;
    allow(&redis, "hunter2").await;
    let vm = publishing(&redis.url_of("vm", "hunter2"), &[]).await;
    let run = vm.prompt(1, "question?").await;
    assert!(matches!(redis.outcome(&run).await, RunOutcome::Answered { .. }));
    assert_in_order(&redis.reports().await);
    redis.take_reports().await;
    eventually("the look whether it was taken", async || (unreported(&vm).await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_wrong_password_is_named_in_the_log_and_tried_again() {
    let redis = RedisServer::start().await;
    allow(&redis, "hunter2").await;
    let vm = publishing(&redis.url_of("vm", "hunter3"), &[]).await;
    let run = vm.prompt(1, "question?").await;
    eventually("the complaint", async || vm.log().contains("WRONGPASS").then_some(())).await;
    assert_eq!(redis.reports().await, []);
    allow(&redis, "hunter3").await;
    assert!(matches!(redis.outcome(&run).await, RunOutcome::Answered { .. }));
    // Of the connection, and of the first report that could not go out.
    assert!(vm.log().matches("WRONGPASS").count() <= 2, "{}", vm.log());
    assert!(!vm.log().contains("hunter"), "{}", vm.log());
}
