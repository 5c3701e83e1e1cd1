//! What people wrote while no relay was there.

use std::time::Duration;

use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::twilio::Receipts;
use system_tests::wait::{wait_for, wait_until};

use crate::phone::{PERSON, Phone, SENDER};

const BOUND: Duration = Duration::from_secs(90);
/// Every relay is away for so long: four times as long as a webhook is tried.
const OUTAGE: Duration = Duration::from_secs(60);

/// Every relay is down for longer than a webhook is tried; what was written meanwhile is known to Twilio alone.
#[tokio::test]
async fn messages_of_an_outage_are_processed_once() {
    let mut fleet = Fleet::start(FleetPlan { people: 3, ..FleetPlan::default() }).await;
    let people: Vec<String> = (0..3).map(person).collect();
    for (at, person) in people.iter().enumerate() {
        fleet.twilio.hear(&format!("SM1{at}"), person, SENDER, "queue", &[]);
        assert_eq!(fleet.write(person, &format!("SM1{at}"), "queue").await, Some(200));
        fleet.reads(person, "Nothing is waiting", BOUND).await;
    }
    // A message of ours is on its way while the relays die, and nobody hears that it fails.
    fleet.twilio.set_receipts(Receipts::Silent);
    fleet.twilio.fail_delivery(&people[0], 30008);
    assert_eq!(fleet.write(&people[0], "SM1x", "resume 77").await, Some(200));
    fleet.reads(&people[0], "run 77", BOUND).await;
    // The next answer shows that this one counts as sent, and is in no doubt.
    assert_eq!(fleet.write(&people[0], "SM1y", "status").await, Some(200));
    fleet.reads(&people[0], "Nothing is running", BOUND).await;
    for number in 0..fleet.len() {
        fleet.kill(number).await;
    }
    fleet.twilio.set_receipts(Receipts::Prompt);
    tokio::time::sleep(OUTAGE / 2).await;
    // A photo that is no longer at Twilio, and one of a stranger, hold nobody up.
    fleet.twilio.hear("SM1g", &people[0], SENDER, "like this", &["MEgone"]);
    fleet.twilio.hear("SM99", "whatsapp:+19995550000", SENDER, "let me in", &["MEgone"]);
    for (at, person) in people.iter().enumerate() {
        fleet.twilio.hear(&format!("SM2{at}"), person, SENDER, &format!("change number {at}"), &[]);
        fleet.twilio.hear(&format!("SM3{at}"), person, SENDER, "status", &[]);
    }
    tokio::time::sleep(OUTAGE / 2).await;
    for number in 0..fleet.len() {
        fleet.start_relay(number).await;
    }
    for (at, person) in people.iter().enumerate() {
        fleet.reads(person, &format!("change number {at}"), BOUND).await;
    }
    fleet.reads(&people[0], "Your file is no longer there", BOUND).await;
    // A webhook that comes after all changes nothing.
    assert_eq!(fleet.write(&people[0], "SM20", "change number 0").await, Some(200));
    wait_until("every run to have ended", BOUND, async || {
        fleet
            .fake_vm
            .as_ref()
            .expect("a fake VM")
            .runs()
            .iter()
            .all(|run| run.state != relay_core::protocol::RunState::Running)
    })
    .await;
    let runs = fleet.fake_vm.as_ref().expect("a fake VM").runs();
    let mut texts: Vec<&str> = runs.iter().map(system_tests::fake_vm::Run::text).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["change number 0", "change number 1", "change number 2"]);
    for person in &people {
        let told: String =
            fleet.twilio.sent().into_iter().filter(|sent| sent.to == *person).map(|sent| sent.body).collect();
        assert_eq!(told.matches("Nothing is waiting").count(), 1, "what was answered is not answered again: {told}");
    }
    wait_until("what did not arrive to be sent again", BOUND, async || {
        let sent = fleet.twilio.sent();
        sent.iter().filter(|sent| sent.to == people[0] && sent.body.contains("run 77")).count() == 2
    })
    .await;
    assert!(fleet.twilio.sent().iter().all(|sent| sent.to != "whatsapp:+19995550000"));
}

/// Redis was away, the relays were not: their answers were 503, which Twilio does not try again.
#[tokio::test]
async fn messages_that_the_store_did_not_take_are_processed_once_it_is_back() {
    let mut fleet = Fleet::start(FleetPlan::default()).await;
    let someone = person(0);
    assert_eq!(fleet.write(&someone, "SM1", "queue").await, Some(200));
    fleet.reads(&someone, "Nothing is waiting", BOUND).await;
    fleet.redis.kill().await;
    fleet.twilio.hear("SM2", &someone, SENDER, "a change", &[]);
    wait_until("the webhook to be refused", BOUND, async || {
        matches!(fleet.write(&someone, "SM2", "a change").await, Some(503))
    })
    .await;
    fleet.redis.start_again().await;
    fleet.reads(&someone, "*approve* opens", BOUND).await;
    assert_eq!(fleet.fake_vm.as_ref().expect("a fake VM").runs().len(), 1);
}

#[tokio::test]
async fn an_operator_takes_in_what_was_missed_erases_a_person_and_makes_the_template() {
    let phone = Phone::ready().await;
    phone.twilio.hear("SM1", PERSON, SENDER, "queue", &[]);
    phone.write("SM1", &[("Body", "queue")]).await;
    phone.reads("Nothing is waiting").await;
    phone.twilio.hear("SM2", PERSON, SENDER, "status", &[]);
    phone.twilio.hear("SM3", "whatsapp:+19995550000", SENDER, "hello", &[]);
    let (done, told) = phone.admin(&["reconcile", "--since", "1h"]).await;
    assert!(done && told.contains("1 taken in, 1 known already, 1 from people who may not write"), "{told}");
    // A relay looks at what nobody told it of about twice a minute.
    wait_for("the missed message to be answered", BOUND, async || {
        let sent = phone.twilio.sent();
        if sent.iter().any(|sent| sent.body.contains("Nothing is running")) { Ok(()) } else { Err(sent) }
    })
    .await;
    let (done, told) = phone.admin(&["reconcile", "--since", "1h"]).await;
    assert!(done && told.contains("0 taken in, 2 known already"), "{told}");

    let (done, told) = phone.admin(&["twilio-template"]).await;
    assert!(done && told.starts_with("TWILIO_APPROVAL_CONTENT_SID=HX"), "{told}");
    assert!(told.contains("\nTWILIO_INQUIRY_CONTENT_SIDS=HX") && phone.twilio.templates().len() == 3, "{told}");

    phone.at_rest().await;
    let (done, told) = phone.admin(&["forget", "+15551230000", "--twilio"]).await;
    assert!(done && told.contains("is erased"), "{told}");
    assert_eq!(phone.count("conversations").await, 0);
    let redacted = phone.twilio.redacted();
    assert!(
        redacted.contains(&"SM1".to_owned())
            && redacted.contains(&"SM2".to_owned())
            && !redacted.contains(&"SM3".to_owned()),
        "{redacted:?}"
    );
    let (done, told) = phone.admin(&["show", "+15551230000"]).await;
    assert!(!done && told.contains("there is no conversation"), "{told}");
    // What comes again of an erased person is still known.
    phone.write("SM1", &[("Body", "queue")]).await;
    assert_eq!(phone.count("conversations").await, 0, "a repeat brings nothing back");
}
