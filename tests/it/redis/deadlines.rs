//! An unanswered diff is parked on time and once, also when the relay that set its deadline is gone.

use std::time::{Duration, Instant};

use relay_core::protocol::Decision;
use system_tests::fleet::{Fleet, FleetPlan, person};

use super::{BOUND, given_back};

/// Looks into the store come at most this far apart, whatever else fails.
const SWEEP: Duration = Duration::from_secs(38);
/// What is on time.
const ON_TIME: Duration = Duration::from_secs(1);
/// Shorter than the time between two looks: no other relay has seen this deadline coming.
const SHORT: Duration = Duration::from_secs(6);
/// Longer than that.
const LONG: Duration = Duration::from_secs(45);

/// Let a diff be shown, kill the relay that showed it and thus set its deadline, and see how late it is parked.
async fn lateness(plan: FleetPlan, timeout: Duration, before: impl AsyncFn(&Fleet)) -> Duration {
    let mut fleet = Fleet::start(plan.relay("APPROVAL_TIMEOUT_MS", timeout.as_millis().to_string())).await;
    before(&fleet).await;
    let someone = person(0);
    assert_eq!(fleet.write(&someone, "SM1", "make a button").await, Some(200));
    let shown = fleet.reads(&someone, "*approve* opens", BOUND).await;
    let setter = (0..fleet.len()).find(|number| fleet.relay(*number).api_key() == shown.by).expect("one of the relays");
    // Then its deadline is in the store.
    given_back(&fleet).await;
    fleet.kill(setter).await;
    fleet.reads(&someone, "No answer for", timeout + SWEEP + BOUND).await;
    let parked = fleet.reads(&someone, "is parked on the local branch", BOUND).await;
    let told = fleet.reads(&someone, "No answer for", BOUND).await;
    let runs = fleet.fake_vm.as_ref().expect("a fake VM").runs();
    assert_eq!(runs.iter().map(|run| run.decision).collect::<Vec<_>>(), [Some(Decision::Park)]);
    let texts: Vec<String> = fleet.read(&someone).into_iter().map(|sent| sent.body).collect();
    assert_eq!(texts.iter().filter(|text| text.contains("No answer for")).count(), 1, "{texts:#?}");
    assert!(parked.at >= told.at);
    let deadline: Instant = shown.at + timeout;
    assert!(told.at >= deadline, "too early");
    told.at - deadline
}

async fn nothing(_: &Fleet) {}

/// Keys with a TTL that have nothing to do with us: the server finds expired keys by sampling, and these dilute ours.
async fn ten_thousand_other_keys(fleet: &Fleet) {
    let mut connection = fleet.redis.connect().await;
    let mut pipe = redis::pipe();
    for number in 0..10_000 {
        pipe.cmd("SET").arg(format!("other:{number}")).arg("x").arg("EX").arg(86_400).ignore();
    }
    pipe.query_async::<()>(&mut connection).await.expect("ten thousand keys are set");
}

#[tokio::test]
async fn with_notifications_a_deadline_is_on_time_though_its_relay_is_gone() {
    let late = lateness(FleetPlan::default(), SHORT, nothing).await;
    assert!(late <= ON_TIME, "{late:?} late");
}

#[tokio::test]
async fn without_notifications_a_deadline_is_found_by_the_sweep() {
    let late = lateness(FleetPlan { notifications: false, ..FleetPlan::default() }, SHORT, nothing).await;
    assert!(late <= SWEEP, "{late:?} late");
}

#[tokio::test]
async fn a_deadline_that_every_relay_has_seen_coming_is_on_time_without_notifications() {
    let late = lateness(FleetPlan { notifications: false, ..FleetPlan::default() }, LONG, nothing).await;
    assert!(late <= ON_TIME, "{late:?} late");
}

#[tokio::test]
async fn among_ten_thousand_other_keys_with_a_ttl_a_deadline_still_comes_once_and_in_time() {
    let late = lateness(FleetPlan::default(), SHORT, ten_thousand_other_keys).await;
    assert!(late <= SWEEP, "{late:?} late");
    let late = lateness(FleetPlan::default(), LONG, ten_thousand_other_keys).await;
    assert!(late <= ON_TIME, "{late:?} late");
}
