//! A person is forgotten while a machine is made for them. Whoever does that destroys what is there by then.

use std::sync::Arc;
use std::time::Duration;

use relay_core::store::sqlite::SqliteStore;
use relay_http::config::VmsConfig;
use relay_http::directory::fly::api::Api;
use relay_http::directory::fly::{record, removal};
use relay_http::vm::CallError;
use system_tests::fake_fly::{FakeFly, Operation, Runs};
use system_tests::server::Fault;
use system_tests::wait::wait_for;

use super::making::{PACE, asker, asking, known};
use super::{BOOT, BOUND};

/// Long enough for whoever forgets to look, and see nothing yet.
const LATE: Duration = Duration::from_secs(3);

/// Forget while `operation` is under way: nothing stays, and whoever asked gets nothing.
async fn forgotten_at(operation: Operation, fault: Fault) {
    let fly = FakeFly::start(Runs::Fake(PACE), BOOT, &[]).await;
    fly.faults().push(operation, fault);
    let app = asker(&fly, Arc::new(SqliteStore::in_memory().expect("a store")));
    let VmsConfig::Fly(config) = &app.config.vms else { panic!("machines were asked for") };
    let api = Api::new(reqwest::Client::new(), &config.app);
    let person = asking("c0ffee", 1);
    known(&app, &person.conversation).await;
    let note = record::note(&person.conversation);

    let forgetting = async {
        wait_for("the call", BOUND, async || fly.count(operation) == 1).await;
        assert!(app.store.forget(&person.conversation, &[], std::slice::from_ref(&note)).await.expect("a store"));
        removal::remove(&api, &person.conversation).await.expect("an end");
    };
    let making = wait_for("an end", BOUND, async || match app.vms.find(&person).await {
        Err(CallError::NoAnswer) => Err("not yet".to_owned()),
        ended => Ok(ended),
    });
    let (ended, ()) = tokio::join!(making, forgetting);

    assert!(matches!(ended, Err(CallError::Refused { .. })), "{ended:?}");
    assert!(fly.machines().is_empty() && fly.volumes().is_empty(), "{:#?}{:#?}", fly.machines(), fly.volumes());
    assert_eq!(app.store.note(&note).await.expect("a store"), None);
}

#[tokio::test]
async fn nothing_stays_of_a_person_who_is_forgotten_while_their_volume_is_made() {
    forgotten_at(Operation::CreateVolume, Fault::Late(LATE)).await;
}

#[tokio::test]
async fn nothing_stays_of_a_person_who_is_forgotten_before_their_machine_is_made() {
    forgotten_at(Operation::CreateMachine, Fault::Late(LATE)).await;
}

#[tokio::test]
async fn nothing_stays_of_a_person_who_is_forgotten_while_their_machine_is_made() {
    forgotten_at(Operation::CreateMachine, Fault::Delay(LATE)).await;
}

#[tokio::test]
async fn nothing_stays_of_a_person_who_is_forgotten_while_their_machine_starts() {
    forgotten_at(Operation::Wait, Fault::Delay(LATE)).await;
}
