//! A request without an answer is a failed one, and its span says why; a slow call of the store has one.

use std::net::TcpListener;
use std::time::Duration;

use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::otlp::{OtlpSink, SpanSeen};
use system_tests::stack::free_address;

use super::traces::{BOUND, exported, observed};

/// The store stands still for so long.
const STALL: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_call_of_the_store_is_told_in_its_trace() {
    let sink = OtlpSink::start().await;
    let fleet = Fleet::start(FleetPlan { relays: 1, relay: observed(&sink), ..FleetPlan::default() }).await;
    assert_eq!(fleet.write(&person(0), "SM1", "queue").await, Some(200));
    let quick = exported(&sink, "send mailbox", |_| true).await;
    let someone = person(0);
    fleet.cut.freeze();
    let (status, ()) = tokio::join!(fleet.write_via(0, &someone, "SM2", "queue"), async {
        tokio::time::sleep(STALL).await;
        fleet.cut.thaw();
    });
    assert_eq!(status, Some(200));
    let slow = exported(&sink, "ingest", |_| true).await;
    assert!(slow.trace != quick.trace && !slow.is_error, "{slow:?}");
    assert_eq!(slow.attributes.get("db.system.name").map(String::as_str), Some("redis"));
    let above = exported(&sink, "send mailbox", |span| span.trace == slow.trace).await;
    assert_eq!(slow.parent, above.id, "{}", sink.tree(&slow.trace));
}

/// The relay's call of a VM that is said to be there.
async fn call_of(vm: &str) -> SpanSeen {
    let sink = OtlpSink::start().await;
    let plan = FleetPlan { relays: 1, relay: observed(&sink), ..FleetPlan::default() }.relay("VM_URL", vm);
    let fleet = Fleet::start(plan).await;
    assert_eq!(fleet.write(&person(0), "SM1", "make a button").await, Some(200));
    fleet.reads(&person(0), "VM", BOUND).await;
    exported(&sink, "POST /command", |_| true).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_answers_tells_that_nobody_is_there() {
    let span = call_of(&format!("http://{}", free_address())).await;
    assert_eq!((span.is_error, span.attributes.get("error.type").map(String::as_str)), (true, Some("connect")));
    assert!(!span.attributes.contains_key("http.response.status_code"), "{span:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_answered_in_time_tells_that_it_was_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let span = call_of(&format!("http://{}", silent.local_addr().expect("an address"))).await;
    assert_eq!((span.is_error, span.attributes.get("error.type").map(String::as_str)), (true, Some("given_up")));
}
