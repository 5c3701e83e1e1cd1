//! However many relays ask, whatever is lost and whoever dies: one machine and one volume for each person.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use futures::future::join_all;
use relay_core::id::{ConversationId, EffectSeq, EventId, Nonce};
use relay_core::machine::Event;
use relay_core::store::redis::RedisStore;
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Ingest, Store};
use relay_core::telemetry::Identity;
use relay_core::telemetry::metrics::Metrics;
use relay_core::time::Timestamp;
use relay_http::app::App;
use relay_http::config::Config;
use relay_http::directory::{Asking, Place};
use relay_http::vm::CallError;
use serde_json::json;
use system_tests::fake_fly::{FakeFly, Operation, Runs};
use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::redis::RedisServer;
use system_tests::server::Fault;
use system_tests::stack::SECRET;
use system_tests::wait::wait_for;
use tokio::sync::mpsc;

use super::{BOOT, BOUND, logs_hold_no_secret};

pub(super) const PACE: Duration = Duration::from_millis(50);

/// What a relay asks for its machines, without the relay.
pub(super) fn asker(fly: &FakeFly, store: Arc<dyn Store>) -> App {
    let mut settings = fly.settings();
    settings.extend(["RELAY_SECRET", "VM_SECRET"].map(|name| (name.to_owned(), SECRET.to_owned())));
    let settings: HashMap<&str, &str> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let config = Config::read(&settings).expect("good settings");
    App::new(config, Metrics::new(&Identity::default()), store, mpsc::channel(1).0).expect("an app")
}

pub(super) fn asking(name: &str, effect: u64) -> Asking {
    let conversation = ConversationId::parse(name).expect("a name");
    Asking { conversation, effect: EffectSeq(effect), is_told: true, written_at: now() }
}

fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().expect("a time after 1970");
    Timestamp(u64::try_from(since.as_millis()).expect("a time of this age"))
}

/// Have the store know whoever is asked for: nothing is made for anybody else.
pub(super) async fn known(app: &App, conversation: &ConversationId) {
    let ingest = Ingest {
        conversation: conversation.clone(),
        id: EventId::parse(conversation.as_str()).expect("an id"),
        event: Event::Garbled,
        node: app.node.clone(),
        nonce: Nonce::parse("hello").expect("a nonce"),
        now: now(),
    };
    app.store.ingest(ingest).await.expect("a store");
}

/// Ask as a turn does: again, as long as nobody answers.
pub(super) async fn found(app: &App, asking: &Asking) -> Place {
    known(app, &asking.conversation).await;
    wait_for("a machine", BOUND, async || match app.vms.find(asking).await {
        Err(CallError::NoAnswer) => Err("not yet".to_owned()),
        Err(error) => panic!("{error:?}"),
        Ok(place) => Ok(place),
    })
    .await
}

fn one_each(fly: &FakeFly, people: usize) {
    let (machines, volumes) = (fly.machines(), fly.volumes());
    let users: BTreeSet<_> = machines.iter().map(|machine| &machine.user).collect();
    assert_eq!((machines.len(), volumes.len(), users.len()), (people, people, people), "{machines:#?}\n{volumes:#?}");
    assert!(volumes.iter().all(|volume| volume.machine.is_some()));
}

#[tokio::test]
async fn twenty_who_ask_at_three_relays_get_the_same_machine() {
    let (redis, fly) = (RedisServer::start(&[]).await, FakeFly::start(Runs::Fake(PACE), BOOT, &[]).await);
    // Long enough for the others to look and see none.
    fly.slow_volumes(Duration::from_secs(5));
    let store = || -> Arc<dyn Store> { Arc::new(RedisStore::open(&redis.url(), "textslash").expect("a store")) };
    let relays = [asker(&fly, store()), asker(&fly, store()), asker(&fly, store())];
    let people = [asking("c0ffee", 1), asking("decade", 1)];
    let all = (0..20).flat_map(|number| people.iter().map(move |person| (number, person)));
    let places = join_all(all.map(|(number, person)| {
        let relay = &relays[number % relays.len()];
        async move { (&person.conversation, found(relay, person).await.machine.expect("a machine")) }
    }))
    .await;
    let found: BTreeSet<_> = places.into_iter().collect();
    assert_eq!(found.len(), people.len(), "{found:?}");
    one_each(&fly, people.len());
    assert_eq!(fly.count(Operation::CreateVolume), people.len());
}

#[tokio::test]
async fn failures_and_lost_answers_make_nothing_twice() {
    let fly = FakeFly::start(Runs::Fake(PACE), BOOT, &[]).await;
    let app = asker(&fly, Arc::new(SqliteStore::in_memory().expect("a store")));
    let error = |status| Fault::Answer(status, json!({ "error": "try again" }));
    let faults = fly.faults();
    faults.push(Operation::ListMachines, error(StatusCode::BAD_GATEWAY));
    faults.push(Operation::ListVolumes, error(StatusCode::TOO_MANY_REQUESTS));
    faults.push(Operation::CreateVolume, Fault::DropReply);
    faults.push(Operation::CreateMachine, error(StatusCode::SERVICE_UNAVAILABLE));
    faults.push(Operation::CreateMachine, Fault::DropReply);
    faults.push(Operation::GetMachine, error(StatusCode::TOO_MANY_REQUESTS));
    faults.push(Operation::Wait, Fault::DropReply);
    let place = found(&app, &asking("c0ffee", 1)).await;
    assert_eq!(place.machine.expect("a machine").as_str(), fly.machines()[0].id);
    one_each(&fly, 1);
}

/// Let the relay that got the task die while it waits for the answer to `operation`.
async fn killed_at(operation: Operation, fault: Fault) {
    let fly = FakeFly::start(Runs::Fake(PACE), BOOT, &[]).await;
    fly.faults().push(operation, fault);
    let mut fleet = Fleet::start(FleetPlan { relay: fly.settings(), ..FleetPlan::default() }).await;
    assert_eq!(fleet.write_via(0, &person(0), "SM1", "make a button").await, Some(200));
    wait_for("the call", BOUND, async || fly.count(operation) == 1).await;
    // What it is for is done, if it is to be done, before the answer is held back.
    wait_for("the volume", BOUND, async || fly.volumes().len() == 1).await;
    fleet.kill(0).await;
    fleet.reads(&person(0), "*approve* opens", BOUND).await;
    one_each(&fly, 1);
    assert_eq!(fly.count(Operation::CreateVolume), 1);
    logs_hold_no_secret(&fleet, &fly);
}

#[tokio::test]
async fn a_relay_that_dies_between_volume_and_machine_leaves_one_of_each() {
    killed_at(Operation::CreateMachine, Fault::BlackHole).await;
}

#[tokio::test]
async fn a_relay_that_dies_before_it_can_remember_the_volume_leaves_one_of_each() {
    killed_at(Operation::CreateVolume, Fault::Delay(BOUND)).await;
}

/// Its request leaves it, or reaches Fly.io, when another relay has long been given the right, and has made the machine.
#[tokio::test]
async fn a_relay_that_is_frozen_before_it_makes_a_volume_leaves_one_of_each() {
    let fly = FakeFly::start(Runs::Fake(PACE), BOOT, &[]).await;
    fly.faults().push(Operation::CreateVolume, Fault::Late(Duration::from_secs(45)));
    let fleet = Fleet::start(FleetPlan { relay: fly.settings(), ..FleetPlan::default() }).await;
    assert_eq!(fleet.write_via(0, &person(0), "SM1", "make a button").await, Some(200));
    wait_for("the call", BOUND, async || fly.count(Operation::CreateVolume) == 1).await;
    fleet.freeze(0);
    fleet.reads(&person(0), "*approve* opens", BOUND).await;
    wait_for("a second volume", BOUND, async || fly.volumes().len() == 2).await;
    fleet.thaw(0);
    wait_for("one volume", BOUND, async || if fly.volumes().len() == 1 { Ok(()) } else { Err(fly.volumes()) }).await;
    one_each(&fly, 1);
    assert_eq!((fly.count(Operation::CreateVolume), fly.count(Operation::CreateMachine)), (2, 1));
    logs_hold_no_secret(&fleet, &fly);
}
