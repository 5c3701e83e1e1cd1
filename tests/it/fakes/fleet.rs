use std::time::Duration;

use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::wait::wait_until;

use super::BOUND;

#[tokio::test]
async fn a_fleet_goes_on_while_one_relay_is_dead_and_no_longer_when_the_last_is_frozen() {
    let mut fleet = Fleet::start(FleetPlan::default()).await;
    let anna = person(0);
    fleet.kill(0).await;
    assert_eq!(fleet.write_via(0, &anna, "SM1", "help").await, None, "it is dead");
    fleet.post().deliver(&anna, "SM1", "help", BOUND).await;
    fleet.reads(&anna, "*approve* (a)", BOUND).await;
    assert_eq!(fleet.read(&anna)[0].by, fleet.relay(1).api_key());
    fleet.freeze(1);
    let hasty = fleet.post().patience(Duration::from_millis(300));
    assert_eq!(hasty.write(&anna, "SM2", "queue").await, None, "it is frozen");
    fleet.thaw(1);
    fleet.post().deliver(&anna, "SM2", "queue", BOUND).await;
    fleet.reads(&anna, "Nothing is waiting", BOUND).await;
    fleet.start_relay(0).await;
    assert!(fleet.relay(0).lines().iter().filter(|line| line.contains("listening on")).count() == 2, "both lives");
}

#[tokio::test]
async fn relays_can_differ_by_days_and_redis_can_refuse_to_be_configured() {
    const TWO_DAYS_S: i64 = 2 * 24 * 3600;
    let plan = FleetPlan { clock_offsets_s: vec![0, TWO_DAYS_S], notifications: false, ..FleetPlan::default() };
    let fleet = Fleet::start(plan).await;
    let day = |number: usize| {
        let line = fleet.relay(number).lines().into_iter().find(|line| line.contains("listening on"));
        line.expect("it listens")[..10].to_owned()
    };
    assert_ne!(day(0), day(1));
    let mut connection = fleet.redis.connect().await;
    let ask = redis::cmd("CONFIG").arg(&["GET", "notify-keyspace-events"]).to_owned();
    let refused = ask.query_async::<String>(&mut connection).await.expect_err("CONFIG is not there");
    assert!(refused.to_string().contains("unknown command"), "{refused}");
}

#[tokio::test]
async fn a_fleet_can_have_a_real_vm_that_publishes() {
    let plan = FleetPlan { vm: system_tests::fleet::VmKind::Real, ..FleetPlan::default() };
    let fleet = Fleet::start(plan).await;
    let anna = person(0);
    assert_eq!(fleet.write(&anna, "SM1", "add a line to hello.txt").await, Some(200));
    fleet.reads(&anna, "*approve* opens", BOUND).await;
    let published = async || fleet.redis.calls().await.iter().any(|(name, calls)| name == "publish" && *calls > 0);
    wait_until("the VM's reports to have gone through Redis", BOUND, published).await;
}
