//! Every message arrives, in order, once, whatever the way to Twilio is like.

use std::time::{Duration, Instant};

use futures::future::join_all;
use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::server::Fault;
use system_tests::twilio::{Receipts, Weather};
use system_tests::wait::{wait_for, wait_until};

use crate::phone::{PERSON, Phone};

const BOUND: Duration = Duration::from_secs(60);
const PEOPLE: usize = 20;
const MESSAGES: usize = 25;
/// Numbers of runs that there are not: the answer says so, and names them.
const FIRST: usize = 1_000;

/// The numbers that one person reads, in the order in which they read them.
fn numbers(fleet: &Fleet, person: &str) -> Vec<usize> {
    let told = fleet.twilio.sent().into_iter().filter(|sent| sent.to == person);
    let words = told.flat_map(|sent| sent.body.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words.filter_map(|word| word.trim_end_matches(';').parse().ok()).filter(|number| *number >= FIRST).collect()
}

/// 500 answers to 20 people over two relays while one request in twenty is refused as too many, one in twenty fails, one
/// reply in fifty is lost and one request in a hundred vanishes, and receipts come in any order, twice, or not at all.
#[tokio::test]
async fn every_message_arrives_once_and_in_order_through_bad_weather() {
    let plan = FleetPlan { people: PEOPLE, ..FleetPlan::default() };
    // Receipts are waited for as long as it takes the worst of them to come.
    let fleet = Fleet::start(plan).await;
    fleet.twilio.set_weather(Weather {
        delay_max: Duration::from_millis(40),
        refused_per_mille: 50,
        busy_per_mille: 50,
        lost_per_mille: 20,
        black_hole_per_mille: 10,
    });
    fleet.twilio.set_receipts(Receipts::Shuffled {
        delay_max: Duration::from_millis(300),
        twice_per_mille: 100,
        lost_per_mille: 20,
    });
    let fleet = &fleet;
    let people: Vec<String> = (0..PEOPLE).map(person).collect();
    join_all(people.iter().enumerate().map(|(at, person)| async move {
        for message in 0..MESSAGES {
            let sid = format!("SM{at:04}{message:04}");
            let body = format!("resume {}", FIRST + message);
            wait_until("a webhook to be accepted", BOUND, async || {
                fleet.write_via(message % 2, person, &sid, &body).await == Some(200)
            })
            .await;
            // Now and then each answer has a message of its own, now and then they wait for each other.
            if message % 3 == 0 {
                wait_until("the answer", BOUND, async || numbers(fleet, person).contains(&(FIRST + message))).await;
            }
        }
    }))
    .await;
    let last = FIRST + MESSAGES - 1;
    wait_for("everybody to read the last answer", Duration::from_secs(120), async || {
        let missing: Vec<&String> = people.iter().filter(|person| !numbers(fleet, person).contains(&last)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{} do not", missing.len())) }
    })
    .await;
    let mut twice = 0;
    for person in &people {
        let mut read = numbers(fleet, person);
        let count = read.len();
        read.dedup();
        twice += count - read.len();
        assert_eq!(read, (FIRST..=last).collect::<Vec<_>>(), "{person} reads everything in order");
    }
    let counts = [fleet.counters(0).await, fleet.counters(1).await];
    let sum = |name: &str| counts.iter().map(|counts| counts.get(name).copied().unwrap_or_default()).sum::<u64>();
    let doubts = |result| sum(&format!(r#"textslash_chat_messages_total{{channel="twilio",result="{result}"}}"#));
    let (found, resent) = (doubts("found"), doubts("resent"));
    println!(
        "{} answers in {} messages; in doubt and found sent: {found}, sent again: {resent}, read twice: {twice}",
        PEOPLE * MESSAGES,
        fleet.twilio.sent().len()
    );
    assert_eq!(twice, 0, "the list tells of every message that was sent");
}

#[tokio::test]
async fn a_message_whose_reply_is_lost_is_found_and_not_sent_again() {
    let phone = Phone::ready().await;
    phone.twilio.set_receipts(Receipts::Silent);
    phone.twilio.inject(Fault::DropReply);
    phone.write("SM1", &[("Body", "queue")]).await;
    phone.reads("Nothing is waiting").await;
    phone.write("SM2", &[("Body", "status")]).await;
    phone.reads("Nothing is running").await;
    let told: Vec<String> = phone.twilio.sent().into_iter().map(|sent| sent.body).collect();
    assert_eq!(told, ["Nothing is waiting.", "Nothing is running."]);
}

#[tokio::test]
async fn a_receipt_tells_of_a_message_whose_reply_is_lost() {
    let phone = Phone::ready().await;
    phone.twilio.inject(Fault::DropReply);
    phone.write("SM1", &[("Body", "queue")]).await;
    phone.reads("Nothing is waiting").await;
    wait_until("the outbox to be empty", BOUND, async || phone.count("outbox").await == 0).await;
    assert_eq!(phone.twilio.sent().len(), 1);
    let asked = phone
        .twilio
        .requests()
        .iter()
        .filter(|request| request.path.ends_with("/Messages.json") && request.method == "GET")
        // At its start a relay asks whether it may ask.
        .filter(|request| request.query.contains("To="))
        .count();
    assert_eq!(asked, 0, "nothing had to be looked up");
}

#[tokio::test]
async fn a_relay_killed_in_the_middle_of_sending_does_not_send_twice() {
    let mut phone = Phone::ready().await;
    phone.twilio.set_receipts(Receipts::Silent);
    phone.twilio.inject(Fault::Delay(Duration::from_secs(4)));
    phone.write("SM1", &[("Body", "queue")]).await;
    phone.reads("Nothing is waiting").await;
    phone.stack.kill_relay().await;
    phone.stack.start_relay().await;
    wait_until("the outbox to be empty", BOUND, async || phone.count("outbox").await == 0).await;
    assert_eq!(phone.twilio.sent().len(), 1, "it was found at Twilio");
}

/// Nobody is written to outside of the window; what waits comes when they write, in order.
#[tokio::test]
async fn outside_of_the_window_everything_waits_for_the_next_message() {
    let phone = Phone::ready().await;
    phone.twilio.close_window(PERSON);
    phone.write("SM1", &[("Body", "add a line to hello.txt")]).await;
    wait_until("the diff to wait", BOUND, async || phone.phase().await == "awaiting approval").await;
    wait_until("a message to have failed", BOUND, async || {
        phone.twilio.sent().iter().any(|sent| sent.status == "undelivered")
    })
    .await;
    wait_until("everything to be at rest", BOUND, async || {
        phone.count("inbox").await == 0 && phone.count("held").await == 0 && phone.count("outbox").await > 0
    })
    .await;
    let seen = phone.twilio.sent().len();
    phone.twilio.open_window(PERSON);
    phone.write("SM2", &[("Body", "status")]).await;
    let told = wait_for("everything to come", BOUND, async || {
        let sent = phone.twilio.sent_after(seen);
        let told = sent.iter().map(|sent| sent.body.as_str()).collect::<Vec<_>>().join("\n");
        if told.contains("waits for your *approve* or *reject*.") { Ok(told) } else { Err(told) }
    })
    .await;
    let place = |text: &str| told.find(text).unwrap_or_else(|| panic!("{text:?} is not in {told}"));
    assert!(place("Working on it") < place("*approve* opens"), "what was said first comes first: {told}");
    assert!(place("*approve* opens") < place("waits for your *approve* or *reject*."), "{told}");
    phone.write("SM3", &[("Body", "reject")]).await;
    phone.reads("is rolled back").await;
    assert_eq!(phone.count("dead_letters").await, 0);
}

#[tokio::test]
async fn a_picture_that_can_not_be_shown_is_a_dead_letter_and_the_person_is_told() {
    let phone = Phone::ready().await;
    phone.twilio.fail_next(1, 400, 63005);
    phone.write("SM1", &[("Body", "queue")]).await;
    phone.reads("could not be delivered (Twilio error 63005)").await;
    assert_eq!(phone.count("dead_letters").await, 1);
}

/// Measured from before the first webhook, so that a slow machine can only make it slower.
#[tokio::test]
async fn a_fast_sender_is_held_to_its_rate_by_all_relays_together() {
    const PER_SECOND: f64 = 20.0;
    // Of each relay, in each second, before its first turn is asked for.
    const UNASKED: f64 = 2.0;
    let plan =
        FleetPlan { people: 40, ..FleetPlan::default() }.relay("TWILIO_MESSAGES_PER_SECOND", PER_SECOND.to_string());
    let fleet = Fleet::start(plan).await;
    let people: Vec<String> = (0..40).map(person).collect();
    let fleet = &fleet;
    let started = Instant::now();
    join_all(people.iter().enumerate().map(|(at, person)| async move {
        assert_eq!(fleet.write_via(at % 2, person, &format!("SM{at}"), "queue").await, Some(200));
    }))
    .await;
    wait_until("everybody to be answered", BOUND, async || fleet.twilio.sent().len() == 40).await;
    for (sent, number) in fleet.twilio.sent().iter().zip(1u32..) {
        let seconds = (sent.at - started).as_secs_f64();
        let may_be_sent = 1.0 + PER_SECOND * seconds + 2.0 * UNASKED * (seconds + 1.0);
        assert!(f64::from(number) <= may_be_sent, "{number} messages within {seconds:.2} seconds");
    }
}
