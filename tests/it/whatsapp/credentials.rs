//! Credentials that Twilio does not accept: loud, and nothing is lost.

use std::time::Duration;

use serde_json::Value;
use system_tests::wait::wait_until;

use crate::phone::Phone;

const BOUND: Duration = Duration::from_secs(90);

async fn ready(phone: &Phone) -> (u16, Value) {
    let answer = reqwest::get(format!("{}/ready", phone.stack.relay_url())).await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

#[tokio::test]
async fn messages_wait_until_the_credentials_are_accepted_again() {
    let phone = Phone::ready().await;
    phone.twilio.suspend(true);
    phone.write("SM1", &[("Body", "queue")]).await;
    wait_until("the relay to be degraded", BOUND, async || ready(&phone).await.1["status"] == "degraded").await;
    let (status, told) = ready(&phone).await;
    assert_eq!(status, 200, "messages can still come in");
    let concern = told["channels"]["twilio"]["concerns"][0].as_str().unwrap_or_default().to_owned();
    assert!(concern.contains("TWILIO_ACCOUNT_SID"), "{told}");
    assert_eq!(phone.stack.logs().matches("does not accept the credentials").count(), 1, "said once");
    phone.twilio.suspend(false);
    // The relay looks again after a while, and not sooner.
    let is_told = async || phone.twilio.sent().iter().any(|sent| sent.body.contains("Nothing is waiting"));
    wait_until("the answer", BOUND, is_told).await;
    assert_eq!(phone.count("dead_letters").await, 0);
    wait_until("all to be well", BOUND, async || ready(&phone).await.1["status"] == "ok").await;
}

#[tokio::test]
async fn wrong_credentials_are_named_when_a_relay_starts() {
    let phone = Phone::ready_with(|plan| plan.relay("TWILIO_API_SECRET", "not-the-secret")).await;
    wait_until("the log to say so", BOUND, async || phone.stack.logs().contains("TWILIO_API_SECRET")).await;
    assert_eq!(ready(&phone).await.1["status"], "degraded");
    assert!(!phone.stack.logs().contains("not-the-secret"));
}
