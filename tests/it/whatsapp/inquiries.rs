//! What the agent asks, with a button for each option: the button replies to its own question, and typing always works.

use std::time::Duration;

use system_tests::fake_vm::Run;
use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::twilio::Sent;
use system_tests::wait::wait_for;

const BOUND: Duration = Duration::from_secs(60);
const OLD: &str = "That button is old; the agent no longer waits for an answer to that question.";

fn run(fleet: &Fleet) -> Run {
    fleet.fake_vm.as_ref().expect("a fake VM").runs()[0].clone()
}

async fn replied(fleet: &Fleet, replies: &[(u32, &str)]) {
    let replies: Vec<(u32, String)> = replies.iter().map(|&(number, reply)| (number, reply.to_owned())).collect();
    wait_for(&format!("the agent to have {replies:?}"), BOUND, async || match run(fleet).replies {
        heard if heard == replies => Ok(()),
        heard => Err(heard),
    })
    .await;
}

/// The message with the buttons of an inquiry.
async fn line(fleet: &Fleet, number: u32) -> Sent {
    let payload = format!("reply:{}:{number}:1", run(fleet).run);
    wait_for(&format!("the buttons of inquiry {number}"), BOUND, async || {
        let read = fleet.read(&person(0));
        read.iter().find(|sent| sent.buttons.first() == Some(&payload)).cloned().ok_or(read)
    })
    .await
}

/// How often the person read this.
fn count(fleet: &Fleet, text: &str) -> usize {
    fleet.read(&person(0)).iter().filter(|sent| sent.body.contains(text)).count()
}

#[tokio::test]
async fn a_button_replies_to_its_own_question_and_is_known_as_old_afterwards() {
    let fleet = Fleet::start(FleetPlan { templates: true, ..FleetPlan::default() }).await;
    let owner = person(0);
    assert_eq!(fleet.write(&owner, "SM1", "choose a colour").await, Some(200));
    let first = fleet.reads(&owner, "Which colour is number 1?", BOUND).await;
    assert!(first.body.contains("2. *Blue*\nAnswer with a number, or in your own words."), "{}", first.body);
    assert_eq!(first.buttons.len(), 0, "a template takes no line breaks");
    let first = line(&fleet, 1).await;
    assert_eq!(first.body, "Your answer? 1. *Red*, 2. *Blue*, or your own words.");
    assert_eq!(first.titles, ["Red", "Blue"]);
    let name = run(&fleet).run;
    assert_eq!(first.buttons, [format!("reply:{name}:1:1"), format!("reply:{name}:1:2")]);
    assert_eq!(fleet.press(&owner, "SM2", &first.buttons[1]).await, Some(200));
    replied(&fleet, &[(1, "Blue")]).await;

    let second = line(&fleet, 2).await;
    assert_eq!(second.titles, ["Red", "Blue"]);
    assert_eq!(fleet.press(&owner, "SM3", &first.buttons[0]).await, Some(200));
    fleet.reads(&owner, OLD, BOUND).await;
    assert_eq!(run(&fleet).replies.len(), 1, "the old button is no reply to what waits now");
    assert_eq!(fleet.write(&owner, "SM4", "1").await, Some(200));
    replied(&fleet, &[(1, "Blue"), (2, "Red")]).await;

    let diff = fleet.reads(&owner, "*approve*", BOUND).await;
    assert!(diff.buttons.is_empty() || diff.buttons[0].starts_with("approve:"), "{diff:?}");
    assert_eq!((count(&fleet, "number 1?"), count(&fleet, "number 2?"), count(&fleet, OLD)), (1, 1, 1));
}

#[tokio::test]
async fn a_button_pressed_after_its_time_changes_nothing() {
    let fleet = Fleet::start(FleetPlan { templates: true, ..FleetPlan::default() }).await;
    let owner = person(0);
    assert_eq!(fleet.write(&owner, "SM1", "choose, and be brief").await, Some(200));
    fleet.reads(&owner, "Which colour is number 1?", BOUND).await;
    let asked = line(&fleet, 1).await;
    fleet.reads(&owner, "*approve*", BOUND).await;
    assert_eq!(fleet.press(&owner, "SM2", &asked.buttons[0]).await, Some(200));
    fleet.reads(&owner, OLD, BOUND).await;
    let runs = fleet.fake_vm.as_ref().expect("a fake VM").runs();
    assert_eq!((runs.len(), runs[0].replies.len(), runs[0].decision), (1, 0, None));
}

#[tokio::test]
async fn more_options_than_there_are_buttons_are_numbers_to_type() {
    let fleet = Fleet::start(FleetPlan { templates: true, ..FleetPlan::default() }).await;
    let owner = person(0);
    assert_eq!(fleet.write(&owner, "SM1", "choose of 5 colours").await, Some(200));
    let asked = fleet.reads(&owner, "Which colour is number 1?", BOUND).await;
    assert_eq!((asked.buttons.len(), asked.body.contains("5. *White*")), (0, true), "{}", asked.body);
    // What is said after it is told after it: by then its message counts.
    assert_eq!(fleet.write(&owner, "SM2", "status").await, Some(200));
    fleet.reads(&owner, "The agent waits for your answer.", BOUND).await;
    assert_eq!(fleet.write(&owner, "SM3", "4").await, Some(200));
    replied(&fleet, &[(1, "Dark grey")]).await;
}

/// That a template is paused is told by whatever relay hears of the receipt, and says nothing of the others.
#[tokio::test]
async fn where_a_template_fails_on_the_way_the_question_comes_as_text_and_the_others_are_kept() {
    let fleet = Fleet::start(FleetPlan { relays: 1, templates: true, ..FleetPlan::default() }).await;
    let owner = person(0);
    fleet.twilio.fail_templates(63029);
    assert_eq!(fleet.write(&owner, "SM1", "choose of 3 colours").await, Some(200));
    let arrived = wait_for("the options without buttons, which arrive", BOUND, async || {
        let read = fleet.read(&owner);
        let arrived = |sent: &&Sent| {
            sent.body.starts_with("Your answer? 1. *") && sent.buttons.is_empty() && sent.status == "delivered"
        };
        read.iter().find(arrived).cloned().ok_or(read)
    })
    .await;
    let lost = line(&fleet, 1).await;
    assert_eq!((lost.body, lost.buttons.len(), lost.status), (arrived.body, 3, "undelivered"));
    assert_eq!(fleet.write(&owner, "SM2", "status").await, Some(200));
    fleet.reads(&owner, "The agent waits for your answer.", BOUND).await;
    assert_eq!(fleet.write(&owner, "SM3", "green").await, Some(200));
    replied(&fleet, &[(1, "Green")]).await;
    let second = fleet.reads(&owner, "Which colour is number 2?", BOUND).await;
    assert_eq!(second.buttons.len(), 0, "it is not used again");
    let ready: serde_json::Value =
        reqwest::get(format!("{}/ready", fleet.relay(0).url())).await.expect("an answer").json().await.expect("JSON");
    let told = ready.to_string();
    assert!(told.contains("TWILIO_INQUIRY_CONTENT_SIDS") && !told.contains("TWILIO_APPROVAL_CONTENT_SID"), "{told}");
    assert_eq!(fleet.logs().matches("relay admin twilio-template").count(), 1, "{}", fleet.logs());
}
