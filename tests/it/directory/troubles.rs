//! What is stopped, lost or out of reach.

use std::sync::Arc;

use axum::http::StatusCode;
use relay_core::protocol::RefusalReason;
use relay_core::store::sqlite::SqliteStore;
use relay_http::app::App;
use relay_http::directory::Asking;
use relay_http::vm::CallError;
use serde_json::json;
use system_tests::fake_fly::{FakeFly, Operation, Runs};
use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::server::Fault;
use system_tests::wait::wait_for;

use super::making::{PACE, asker, asking, found, known};
use super::{BOOT, BOUND};

async fn start() -> (FakeFly, App) {
    let fly = FakeFly::start(Runs::Fake(PACE), BOOT, &[]).await;
    let app = asker(&fly, Arc::new(SqliteStore::in_memory().expect("a store")));
    (fly, app)
}

/// What whoever asks is told instead.
async fn told(app: &App, asking: &Asking) -> String {
    known(app, &asking.conversation).await;
    match app.vms.find(asking).await {
        Err(CallError::Busy { message: Some(message), in_use: false }) => message,
        Err(CallError::Refused { reason: RefusalReason::NotFound, message }) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_machine_that_stopped_is_started_and_one_that_was_destroyed_is_made_again_on_its_volume() {
    let (fly, app) = start().await;
    let person = asking("c0ffee", 1);
    let place = found(&app, &person).await;
    let machine = place.machine.clone().expect("a machine");
    let looks = fly.requests().len();
    app.vms.answered(&person.conversation, place);
    found(&app, &person).await;
    assert_eq!(fly.requests().len(), looks, "where it answered is known");

    fly.stop(machine.as_str()).await;
    assert_eq!(found(&app, &person).await.machine, Some(machine.clone()));
    assert_eq!(fly.machines()[0].state, "started");

    let volume = fly.volumes()[0].id.clone();
    fly.lose_machine(machine.as_str()).await;
    let another = found(&app, &person).await.machine.expect("a machine");
    assert_ne!(another, machine);
    assert_eq!(fly.machines()[0].volume, volume);
    assert_eq!(fly.count(Operation::CreateVolume), 1);
}

#[tokio::test]
async fn a_host_out_of_reach_is_told_and_gets_no_second_machine() {
    let (fly, app) = start().await;
    let person = asking("c0ffee", 1);
    let machine = found(&app, &person).await.machine.expect("a machine");
    fly.cut_host(machine.as_str(), true);
    assert!(told(&app, &person).await.contains("can't be reached"));
    assert_eq!(fly.machines().len(), 1);
    fly.cut_host(machine.as_str(), false);
    assert_eq!(found(&app, &person).await.machine, Some(machine));
}

#[tokio::test]
async fn a_lost_volume_is_told_for_as_long_as_nobody_asks_for_something_else() {
    let (fly, app) = start().await;
    found(&app, &asking("c0ffee", 1)).await;
    fly.lose_volume(&fly.volumes()[0].id).await;
    let unheard = |effect| Asking { is_told: false, ..asking("c0ffee", effect) };
    // Written before the third was refused, and asked for after it.
    let behind = asking("c0ffee", 5);
    for asking in [&unheard(2), &asking("c0ffee", 3), &asking("c0ffee", 3), &unheard(4), &behind] {
        assert!(told(&app, asking).await.contains("disk is gone"));
    }
    assert!(fly.volumes().is_empty());
    // The machine's name is free, and so is the right to make a volume once it has run out.
    found(&app, &asking("c0ffee", 6)).await;
    assert_eq!((fly.machines().len(), fly.volumes().len()), (1, 1));
}

#[tokio::test]
async fn a_person_hears_that_the_disk_is_gone_before_there_is_another() {
    let fly = FakeFly::start(Runs::Fake(PACE), BOOT, &[]).await;
    let fleet = Fleet::start(FleetPlan { relay: fly.settings(), ..FleetPlan::default() }).await;
    let someone = person(0);
    assert_eq!(fleet.write(&someone, "SM1", "make a button").await, Some(200));
    fleet.reads(&someone, "*approve* opens", BOUND).await;
    assert_eq!(fleet.write(&someone, "SM2", "reject").await, Some(200));
    fleet.reads(&someone, "is rolled back; everything", BOUND).await;
    fly.lose_volume(&fly.volumes()[0].id).await;
    assert_eq!(fleet.write(&someone, "SM3", "make a button").await, Some(200));
    assert_eq!(fleet.write(&someone, "SM4", "and another").await, Some(200));
    // For what waited behind it, nothing is made either.
    let told = wait_for("both refusals", BOUND, async || {
        let read = fleet.read(&someone);
        let refusals = |body: &str| body.matches("disk is gone").count();
        let last = read.iter().rfind(|sent| refusals(&sent.body) > 0).cloned();
        if read.iter().map(|sent| refusals(&sent.body)).sum::<usize>() == 2 { last.ok_or(read) } else { Err(read) }
    })
    .await;
    assert_eq!(fleet.write(&someone, "SM5", "make a button").await, Some(200));
    wait_for("another diff", BOUND, async || {
        let read = fleet.read(&someone);
        if read.iter().filter(|sent| sent.body.contains("*approve* opens")).count() == 2 { Ok(()) } else { Err(read) }
    })
    .await;
    assert_eq!((fly.machines().len(), fly.volumes().len()), (1, 1));
    let made =
        fly.requests().into_iter().filter(|request| request.method == "POST" && request.path.ends_with("/volumes"));
    let made: Vec<_> = made.map(|request| request.at).collect();
    assert!(made.len() == 2 && made[1] > told.at, "{made:?}, told at {:?}", told.at);
}

#[tokio::test]
async fn what_fly_refuses_is_told_without_its_words() {
    let (fly, app) = start().await;
    let refused = json!({ "error": "organization has reached its limit" });
    fly.faults().push(Operation::CreateMachine, Fault::Answer(StatusCode::UNPROCESSABLE_ENTITY, refused));
    let said = told(&app, &asking("c0ffee", 1)).await;
    assert!(said.contains("Fly.io refuses") && !said.contains("limit"), "{said}");
    found(&app, &asking("c0ffee", 1)).await;
    assert_eq!((fly.machines().len(), fly.volumes().len()), (1, 1));
}
