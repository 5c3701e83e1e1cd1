//! A person has one conversation, whatever they are called.

use crate::phone::{PERSON, Phone, SENDER};

const SCOPED: &str = "whatsapp:US.abc123";

#[tokio::test]
async fn who_hides_their_number_is_the_one_who_showed_it() {
    let phone = Phone::ready().await;
    phone.write("SM1", &[("Body", "add a line to hello.txt"), ("ExternalUserId", SCOPED)]).await;
    phone.reads("*approve* opens").await;
    let seen = phone.twilio.sent().len();
    assert_eq!(phone.write_as(SCOPED, "SM2", &[("Body", "approve"), ("ExternalUserId", SCOPED)]).await.status, 200);
    phone.reads("is pushed as branch").await;
    let told = phone.twilio.sent_after(seen);
    assert!(told.iter().all(|sent| sent.to == SCOPED), "an answer goes where the question came from: {told:?}");
    // Of somebody who hides their number and was never seen with one, nothing is known.
    assert_eq!(phone.write_as("whatsapp:US.zzz", "SM3", &[("Body", "status")]).await.status, 200);
    assert_eq!((phone.count("conversations").await, phone.count("inbox").await), (1, 0));
}

#[tokio::test]
async fn who_shows_their_number_later_is_the_one_who_hid_it() {
    let phone = Phone::ready_with(|plan| plan.relay("ALLOWED_PHONE_NUMBERS", "US.abc123,+15551230000")).await;
    assert_eq!(phone.write_as(SCOPED, "SM1", &[("Body", "add a line to hello.txt")]).await.status, 200);
    phone.reads("*approve* opens").await;
    phone.write("SM2", &[("Body", "approve"), ("ExternalUserId", SCOPED)]).await;
    assert_eq!(phone.reads("is pushed as branch").await.to, PERSON);
    assert_eq!(phone.count("conversations").await, 1);
    // The list has one name of theirs, and what they wrote in an outage is theirs, too.
    phone.twilio.hear("SM3", PERSON, SENDER, "queue", &[]);
    let (done, told) = phone.admin(&["reconcile", "--since", "1h"]).await;
    assert!(done && told.starts_with("1 taken in") && phone.count("conversations").await == 1, "{told}");
    // An operator who knows the number finds them, too.
    phone.at_rest().await;
    let (done, told) = phone.admin(&["show", "+15551230000"]).await;
    assert!(done && told.contains("idle"), "{told}");
    let (done, told) = phone.admin(&["forget", "+15551230000"]).await;
    assert!(done && told.contains("is erased") && phone.count("conversations").await == 0, "{told}");
}
