//! The loop on WhatsApp, with a fake Twilio: signed webhooks in, the Messages API out.

use reqwest::Client;
use system_tests::stack::BOUND;
use system_tests::wait::wait_for;

use crate::common::pushed;
use crate::phone::{PERSON, Phone};

#[tokio::test]
async fn a_whatsapp_message_becomes_a_pushed_branch() {
    let phone = Phone::ready().await;
    phone.write("SM1", &[("Body", "add a line to hello.txt")]).await;
    let shown = phone.reads("*approve* opens").await;
    assert_eq!((shown.to.as_str(), shown.from.as_str()), (PERSON, "whatsapp:+14155238886"));
    assert!(shown.body.contains("```\ndiff --git") && shown.body.contains("+- add a line"), "{}", shown.body);
    phone.write("SM2", &[("Body", "Approve")]).await;
    phone.reads("is pushed as branch").await;
    assert!(pushed(&phone.stack.origin()).is_some());
    assert!(phone.twilio.sent().iter().all(|sent| sent.body.encode_utf16().count() <= 1600));
    assert!(!phone.stack.logs().contains("5551230000"), "a phone number is in a log");
    assert!(!phone.stack.logs().contains("add a line"), "a message is in a log");
}

#[tokio::test]
async fn a_button_counts_for_the_diff_it_came_with_and_no_other() {
    let phone = Phone::ready().await;
    phone.write("SM1", &[("Body", "add a line to hello.txt")]).await;
    phone.reads("*approve* opens").await;
    let old = format!("approve:{}:{}", "0123-1", "00ff");
    phone.write("SM2", &[("Body", "Approve"), ("ButtonText", "Approve"), ("ButtonPayload", &old)]).await;
    phone.reads("That button is old").await;
    phone.write("SM3", &[("Body", "Reject"), ("ButtonText", "Reject"), ("ButtonPayload", "reject")]).await;
    phone.reads("is rolled back").await;
    assert_eq!(pushed(&phone.stack.origin()), None);
}

#[tokio::test]
async fn a_picture_can_be_fetched_by_anyone_who_knows_its_address_also_when_the_vm_is_gone() {
    let mut phone = Phone::ready().await;
    phone.write("SM1", &[("Body", "a picture please")]).await;
    let picture = wait_for("a picture", BOUND, async || {
        let sent = phone.twilio.sent();
        sent.iter().find_map(|sent| sent.media_urls.first().cloned()).ok_or(sent)
    })
    .await;
    phone.reads("*approve* opens").await;
    phone.stack.kill_vm().await;
    let got = Client::new().get(&picture).send().await.expect("an answer");
    assert_eq!((got.status().as_u16(), got.headers()["content-type"].to_str().expect("a text")), (200, "image/png"));
    let length = got.bytes().await.expect("a body").len();
    let head = Client::new().head(&picture).send().await.expect("an answer");
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"].to_str().expect("a text"), length.to_string());
    let last = picture.chars().last().expect("not empty");
    let other = format!("{}{}", &picture[..picture.len() - 1], if last == '0' { '1' } else { '0' });
    assert_eq!(Client::new().get(&other).send().await.expect("an answer").status(), 404);
}

#[tokio::test]
async fn a_refused_number_is_a_dead_letter_and_a_busy_provider_is_tried_again() {
    let phone = Phone::ready().await;
    phone.twilio.fail_next(2, 429, 20429);
    phone.write("SM1", &[("Body", "help")]).await;
    phone.reads("*approve* (a)").await;
    phone.twilio.fail_next(1, 400, 21211);
    phone.write("SM2", &[("Body", "queue")]).await;
    wait_for("a dead letter", BOUND, async || match phone.count("dead_letters").await {
        1 => Ok(()),
        count => Err(count),
    })
    .await;
}
