//! All relays are restarted, one after the other, while people write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::wait::wait_for;

use super::BOUND;

const PEOPLE: usize = 40;
/// Between two messages of one person.
const PAUSE: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_refuses_and_loses_nothing() {
    restart_all(FleetPlan { relays: 3, ..FleetPlan::default() }).await;
}

/// Restart every relay of this fleet, each once the one before it is ready, while many people write; every message is accepted, and
/// answered once.
pub(crate) async fn restart_all(plan: FleetPlan) {
    let mut fleet = Fleet::start(FleetPlan { people: PEOPLE, ..plan }).await;
    let over = Arc::new(AtomicBool::new(false));
    let accepted: Arc<Vec<AtomicUsize>> = Arc::new((0..PEOPLE).map(|_| AtomicUsize::new(0)).collect());
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..PEOPLE {
        let (over, accepted, post) = (Arc::clone(&over), Arc::clone(&accepted), fleet.post());
        writers.spawn(async move {
            let mut pace = tokio::time::interval(PAUSE);
            while !over.load(Ordering::Relaxed) {
                pace.tick().await;
                let message = accepted[number].load(Ordering::Relaxed);
                let status = post.write(&person(number), &format!("SM{number}x{message}"), "queue").await;
                assert_eq!(status, Some(200), "message {message} of person {number}");
                accepted[number].fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for number in 0..fleet.len() {
        fleet.stop(number).await;
        fleet.start_relay(number).await;
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.expect("no webhook is refused");
    }
    let expected: BTreeMap<String, usize> =
        (0..PEOPLE).map(|number| (person(number), accepted[number].load(Ordering::Relaxed))).collect();
    assert!(expected.values().all(|count| *count > 1), "{expected:?}");
    let answered = async || super::counts(&fleet, "Nothing is waiting");
    wait_for("every message to be answered", BOUND, async || {
        let answered = answered().await;
        let all = expected.iter().all(|(person, count)| answered.get(person).is_some_and(|have| have >= count));
        if all { Ok(()) } else { Err(answered) }
    })
    .await;
    assert_eq!(answered().await, expected, "each message is answered once");
}
