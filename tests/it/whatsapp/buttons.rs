//! Answers by button and by word: one clear line each, and one pull request at most.

use std::time::Duration;

use serde_json::json;
use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::twilio::{FakeTwilio, Sent};
use system_tests::wait::{wait_for, wait_until};

use crate::common::pushed;
use crate::phone::{ACCOUNT, Phone, SENDER, TOKEN};

const BOUND: Duration = Duration::from_secs(60);

async fn buttons(phone: &Phone, seen: usize) -> Sent {
    wait_for("a message with buttons", BOUND, async || {
        let sent = phone.twilio.sent_after(seen);
        sent.iter().find(|sent| !sent.buttons.is_empty()).cloned().ok_or(sent)
    })
    .await
}

#[tokio::test]
async fn a_button_approves_once_and_is_known_as_old_afterwards() {
    let phone = Phone::with_template().await;
    phone.write("SM1", &[("Body", "add a line to hello.txt")]).await;
    let asked = buttons(&phone, 0).await;
    assert_eq!(asked.buttons.len(), 3, "{:?}", asked.buttons);
    assert!(asked.buttons[0].starts_with("approve:") && asked.buttons[1].starts_with("reject:"));
    assert_eq!(asked.buttons[2], "diff");
    let press = |payload: &str| {
        [("Body", "Approve"), ("ButtonText", "Approve"), ("ButtonPayload", payload)]
            .map(|(name, value)| (name, value.to_owned()))
    };
    let pressed = async |sid: &str, payload: &str| {
        let params = press(payload);
        let params: Vec<(&str, &str)> = params.iter().map(|(name, value)| (*name, value.as_str())).collect();
        phone.write(sid, &params).await;
    };
    pressed("SM2", "diff").await;
    phone.reads("hello.txt").await;
    let approve = asked.buttons[0].clone();
    pressed("SM3", &approve).await;
    phone.reads("is pushed as branch").await;
    let branch = pushed(&phone.stack.origin()).expect("a branch is pushed");
    pressed("SM4", &approve).await;
    phone.reads("That button is old. Run 1 is already pushed").await;
    phone.write("SM5", &[("Body", "approve")]).await;
    phone.reads("Nothing waits for an answer. Run 1 is already pushed").await;
    assert_eq!(pushed(&phone.stack.origin()), Some(branch), "nothing more was pushed");
    let seen = phone.twilio.sent().len();
    phone.write("SM6", &[("Body", "add a line to other.txt")]).await;
    let second = buttons(&phone, seen).await;
    pressed("SM7", &approve).await;
    wait_until("the old button to be known as old again", BOUND, async || {
        phone.twilio.sent_after(seen).iter().any(|sent| sent.body.contains("That button is old"))
    })
    .await;
    pressed("SM8", &second.buttons[1]).await;
    phone.reads("Run 2 is rolled back").await;
    assert!(phone.twilio.typing().contains(&"SM1".to_owned()), "the person sees that something happens");
}

#[tokio::test]
async fn another_person_decides_nothing() {
    let fleet = Fleet::start(FleetPlan { people: 2, ..FleetPlan::default() }).await;
    let (owner, other) = (person(0), person(1));
    assert_eq!(fleet.write(&owner, "SM1", "a change").await, Some(200));
    fleet.reads(&owner, "*approve* opens", BOUND).await;
    let run = fleet.fake_vm.as_ref().expect("a fake VM").runs()[0].clone();
    let payload = format!("approve:{}:{}", run.run, run.tree);
    assert_eq!(fleet.press(&other, "SM2", &payload).await, Some(200));
    fleet.reads(&other, "That button is old; its diff no longer waits for an answer.", BOUND).await;
    assert_eq!(fleet.write(&other, "SM3", "approve").await, Some(200));
    fleet.reads(&other, "Nothing waits for an answer.", BOUND).await;
    assert_eq!(fleet.fake_vm.as_ref().expect("a fake VM").runs()[0].decision, None);
    assert_eq!(fleet.press(&owner, "SM4", &payload).await, Some(200));
    fleet.reads(&owner, "is a pull request", BOUND).await;
}

#[tokio::test]
async fn without_a_template_that_can_be_used_words_are_and_the_log_says_once_what_to_do() {
    let phone =
        Phone::ready_with(|plan| plan.relay("TWILIO_APPROVAL_CONTENT_SID", "HX00000000000000000000000000000000")).await;
    for (sid, task) in [("SM1", "add a line to hello.txt"), ("SM3", "add a line to other.txt")] {
        phone.write(sid, &[("Body", task)]).await;
        phone.reads("What becomes of run").await;
        phone.reads(if sid == "SM1" { "run 1? *approve* or *reject*" } else { "run 2? *approve* or *reject*" }).await;
        wait_until("the diff to count as shown", BOUND, async || {
            phone.count("outbox").await == 0 && phone.count("held").await == 0
        })
        .await;
        phone.write(&format!("{sid}r"), &[("Body", "reject")]).await;
        phone.reads(if sid == "SM1" { "Run 1 is rolled back" } else { "Run 2 is rolled back" }).await;
    }
    let told = phone.stack.logs().matches("relay admin twilio-template").count();
    assert_eq!(told, 1, "{}", phone.stack.logs());
    let ready: serde_json::Value = reqwest::get(format!("{}/ready", phone.stack.relay_url()))
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(ready["status"], json!("degraded"));
}

/// That a template is paused is not told when a message is taken.
#[tokio::test]
async fn a_template_that_fails_on_the_way_is_not_used_again() {
    let phone = Phone::with_template().await;
    phone.twilio.fail_templates(63029);
    phone.write("SM1", &[("Body", "add a line to hello.txt")]).await;
    let lost = buttons(&phone, 0).await;
    wait_for("the same message without buttons, which arrives", BOUND, async || {
        let sent = phone.twilio.sent();
        let arrived = |sent: &Sent| sent.body == lost.body && sent.buttons.is_empty() && sent.status == "delivered";
        if sent.iter().any(arrived) { Ok(()) } else { Err(sent) }
    })
    .await;
    phone.write("SM2", &[("Body", "approve")]).await;
    phone.reads("is pushed as branch").await;
    assert_eq!(phone.stack.logs().matches("relay admin twilio-template").count(), 1, "{}", phone.stack.logs());
    assert_eq!(phone.count("dead_letters").await, 0);
}

/// Else a button would stand for another option than it says, or be missing.
#[tokio::test]
async fn templates_in_the_wrong_order_are_told_and_not_used() {
    let twilio = FakeTwilio::start(ACCOUNT, TOKEN).await;
    let templates = twilio.make_templates(SENDER).await;
    let (_, sids) = templates.iter().find(|(name, _)| name == "TWILIO_INQUIRY_CONTENT_SIDS").expect("they are made");
    let swapped: Vec<&str> = sids.split(',').rev().collect();
    let phone = Phone::over(twilio, |plan| plan.relay("TWILIO_INQUIRY_CONTENT_SIDS", swapped.join(","))).await;
    wait_for("the concern", BOUND, async || {
        let ready = reqwest::get(format!("{}/ready", phone.stack.relay_url())).await.expect("an answer");
        let told = ready.text().await.expect("a body");
        if told.contains("has 3 buttons where 2 are needed") && told.contains("has 2 buttons where 3 are needed") {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
}
