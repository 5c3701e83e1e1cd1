//! What nobody here wrote: Twilio's client library, its API description, and an emulator of it by others.

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use system_tests::peers::{client_by_twilio, emulate, prism_before};
use system_tests::server::{self, Server};
use system_tests::stack::{BOUND, free_address};
use system_tests::twilio::FakeTwilio;
use system_tests::wait::{wait_for, wait_until};

use crate::phone::{ACCOUNT, PERSON, Phone, SENDER, TOKEN};

#[tokio::test]
async fn the_fake_is_twilio_enough_for_twilios_own_client() {
    let twilio = FakeTwilio::start(ACCOUNT, TOKEN).await;
    let told = client_by_twilio(&twilio.url(), ACCOUNT, TOKEN).await;
    assert_eq!(
        told,
        json!({
            "created": ["SM", "queued", "*hello* 🎉", "outbound-api"],
            "too_long": [400, 21617],
            "no_body": [400, 21619],
            "wrong_token": [401, 20003],
            "no_template": [400, 21655],
            "listed": ["number 2", "number 1", "number 0", "*hello* 🎉"],
            "dated": true,
            "of_today": 4,
            "of_tomorrow": 0,
            "redacted": "",
        })
    );
}

/// The same calls to an emulator by others, as far as it goes: it has no limit of characters and no templates.
#[tokio::test]
async fn the_fake_answers_as_somebody_elses_twilio_does() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (port, seed) = (free_address().port(), folder.path().join("emulate.json"));
    std::fs::write(&seed, account("http://127.0.0.1:9/nobody").to_string()).expect("a file is written");
    let _emulator = emulate(port, &seed).await;
    let twilio = FakeTwilio::start(ACCOUNT, TOKEN).await;
    let theirs = client_by_twilio(&format!("http://127.0.0.1:{port}"), ACCOUNT, TOKEN).await;
    let ours = client_by_twilio(&twilio.url(), ACCOUNT, TOKEN).await;
    for what in ["created", "wrong_token", "dated", "redacted"] {
        assert_eq!(ours[what], theirs[what], "{what}");
    }
    for newest in 0..3 {
        assert_eq!(ours["listed"][newest], theirs["listed"][newest]);
    }
}

/// The emulator's settings: our account and number, and where its webhooks go.
fn account(webhook_url: &str) -> Value {
    json!({"twilio": {
        "account": {"sid": ACCOUNT, "auth_token": TOKEN},
        "phone_numbers": [{"phone_number": SENDER, "sms_url": webhook_url, "sms_method": "POST"}],
    }})
}

/// Prism answers a request that Twilio's description does not allow by itself, and so nothing would arrive.
#[tokio::test]
async fn what_the_relay_sends_is_what_twilios_api_description_allows() {
    let twilio = FakeTwilio::start(ACCOUNT, TOKEN).await;
    let port = free_address().port();
    let prism = prism_before(port, &twilio.url()).await;
    let phone = Phone::over(twilio, |plan| plan.relay("TWILIO_API_URL", format!("http://127.0.0.1:{port}"))).await;
    phone.write("SM1", &[("Body", "a picture please")]).await;
    phone.reads("*approve* opens").await;
    wait_until("the picture to be sent", BOUND, async || {
        phone.twilio.sent().iter().any(|sent| !sent.media_urls.is_empty())
    })
    .await;
    phone.write("SM2", &[("Body", "reject")]).await;
    phone.reads("is rolled back").await;
    assert_eq!(phone.count("dead_letters").await, 0, "{}", prism.lines().join("\n"));
    // It is really looked at.
    let url = format!("http://127.0.0.1:{port}/2010-04-01/Accounts/{ACCOUNT}/Messages.json");
    let bad = Client::new().post(url).basic_auth(ACCOUNT, Some(TOKEN)).form(&[("From", SENDER), ("Body", "to nobody")]);
    assert_eq!(bad.send().await.expect("an answer").status(), 422);
}

/// Twilio keeps what stands behind the `#` of a callback's address for itself (its "connection overrides"); the emulator does not
/// know of them, and would sign it.
async fn without_overrides(base: String) -> Server {
    let client = Client::builder().no_proxy().build().expect("a plain client");
    Server::start(move |request| {
        let (client, base) = (client.clone(), base.clone());
        async move {
            let pairs = request.form().into_iter().map(|(name, value)| match name.as_str() {
                "StatusCallback" => (name, value.split('#').next().unwrap_or_default().to_owned()),
                _ => (name, value),
            });
            let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
            let url = format!("{base}{}?{}", request.path, request.query);
            let mut passed_on = client.request(request.method.clone(), url).body(body);
            for name in ["authorization", "content-type"] {
                passed_on = passed_on.header(name, request.header(name).unwrap_or_default());
            }
            match passed_on.send().await {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    server::json(status, answer.json().await.unwrap_or_default())
                }
                Err(_) => server::empty(502),
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_relay_talks_with_somebody_elses_twilio() {
    let emulator_port = free_address().port();
    let base = format!("http://127.0.0.1:{emulator_port}");
    let front = without_overrides(base.clone()).await;
    let phone = Phone::ready_with(|plan| plan.relay("TWILIO_API_URL", front.url())).await;
    let seed = phone.stack.folder().join("emulate.json");
    std::fs::write(&seed, account(&phone.webhook_url()).to_string()).expect("a file is written");
    let _emulator = emulate(emulator_port, &seed).await;
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a plain client");
    let inbound = |body: &'static str| {
        client.post(format!("{base}/_twilio/simulate/inbound-message")).basic_auth(ACCOUNT, Some(TOKEN)).form(&[
            ("To", SENDER),
            ("From", PERSON),
            ("Body", body),
        ])
    };
    let messages = async || -> Vec<Value> {
        let url = format!("{base}/2010-04-01/Accounts/{ACCOUNT}/Messages.json?PageSize=100");
        let answer = client.get(url).basic_auth(ACCOUNT, Some(TOKEN)).send().await.expect("an answer");
        let listed: Value = answer.json().await.expect("JSON");
        listed["messages"].as_array().cloned().unwrap_or_default()
    };
    let reads = async |text: &str| {
        wait_for(&format!("{text:?}"), BOUND, async || {
            let all = messages().await;
            let found = all.iter().find(|message| {
                message["to"] == PERSON && message["body"].as_str().is_some_and(|body| body.contains(text))
            });
            found.cloned().ok_or(all)
        })
        .await
    };
    assert!(inbound("add a line to hello.txt 🎉").send().await.expect("an answer").status().is_success());
    let shown = reads("*approve* opens").await;
    // Receipts that it signs, in an order that can happen.
    for status in ["sent", "read", "delivered"] {
        let told = [("MessageSid", shown["sid"].as_str().unwrap_or_default()), ("Status", status)];
        let url = format!("{base}/_twilio/simulate/message-status");
        let answer = client.post(url).basic_auth(ACCOUNT, Some(TOKEN)).form(&told).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{status}: {}", answer.text().await.unwrap_or_default());
    }
    wait_until("the diff to count as shown", BOUND, async || phone.count("outbox").await == 0).await;
    assert!(inbound("approve").send().await.expect("an answer").status().is_success());
    reads("is pushed as branch").await;
    assert!(!phone.stack.logs().contains("request refused"), "{}", phone.stack.logs());
}
