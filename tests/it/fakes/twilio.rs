use axum::http::StatusCode;
use serde_json::{Value, json};
use system_tests::peers::{SigningCase, signatures_by_twilio};
use system_tests::server::Fault;
use system_tests::twilio::{FakeTwilio, Weather, signature, signed_webhook, vectors};
use system_tests::wait::wait_until;

use super::{BOUND, client};

const ACCOUNT: &str = "ACa1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn borrowed(params: &[(String, String)]) -> Vec<(&str, &str)> {
    params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

async fn send(twilio: &FakeTwilio, token: &str, params: &[(&str, &str)]) -> (u16, Value) {
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT}/Messages.json", twilio.url());
    let answer = client().post(url).basic_auth(ACCOUNT, Some(token)).form(params).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

const TO: (&str, &str) = ("To", "whatsapp:+15551230000");
const FROM: (&str, &str) = ("From", "whatsapp:+14155238886");

#[test]
fn the_signature_agrees_with_every_vector() {
    let vectors = vectors();
    assert!(vectors.iter().any(|vector| vector.valid) && vectors.iter().any(|vector| !vector.valid));
    for vector in vectors {
        let webhook = signed_webhook(&vector.auth_token, &vector.url, &borrowed(&vector.form_params));
        assert_eq!(webhook.signature == vector.signature, vector.valid, "{}", vector.name);
        let decode = |body: &str| form_urlencoded::parse(body.as_bytes()).into_owned().collect::<Vec<_>>();
        assert_eq!(decode(&webhook.body), decode(&vector.raw_body), "{}", vector.name);
    }
}

#[tokio::test]
async fn the_library_signs_what_it_is_given() {
    let params = [("Body", "a+b %41 🎉"), ("A", "2"), ("A", "1"), ("A", "2"), ("a", "")];
    let url = "https://relay.example.com:8443/webhook?x=1";
    let owned = params.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let case = SigningCase { token: TOKEN.to_owned(), url: url.to_owned(), params: owned };
    let other = SigningCase { token: "other".to_owned(), ..case.clone() };
    let signed = signatures_by_twilio(&[case, other]).await;
    assert_eq!(signed, [signature(TOKEN, url, &params), signature("other", url, &params)]);
}

#[tokio::test]
async fn a_message_is_accepted_and_kept() {
    let twilio = FakeTwilio::start(ACCOUNT, TOKEN).await;
    let media = [("MediaUrl", "https://a.example/1.png"), ("MediaUrl", "https://a.example/2.png")];
    let (status, answer) = send(&twilio, TOKEN, &[TO, FROM, ("Body", "*hello* 🎉"), media[0], media[1]]).await;
    assert_eq!((status, &answer["status"]), (201, &json!("queued")));
    let sent = twilio.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].to.as_str(), sent[0].from.as_str(), sent[0].body.as_str()), (TO.1, FROM.1, "*hello* 🎉"));
    assert_eq!(sent[0].media_urls, media.map(|(_, url)| url));
    assert_eq!(answer["sid"], sent[0].sid);
}

#[tokio::test]
async fn what_twilio_refuses_is_refused() {
    let twilio = FakeTwilio::start(ACCOUNT, TOKEN).await;
    let (fits, too_long) = ("é".repeat(1600), "é".repeat(1601));
    let emoji = "🎉".repeat(801);
    assert_eq!(send(&twilio, TOKEN, &[TO, FROM, ("Body", &fits)]).await.0, 201);
    for (token, params, status, code) in [
        ("wrong", &[TO, FROM, ("Body", "x")][..], 401, 20003),
        (TOKEN, &[TO, FROM, ("Body", &too_long)], 400, 21617),
        (TOKEN, &[TO, FROM, ("Body", &emoji)], 400, 21617),
        (TOKEN, &[TO, FROM], 400, 21619),
        (TOKEN, &[FROM, ("Body", "x")], 400, 21604),
        (TOKEN, &[TO, ("Body", "x")], 400, 21603),
    ] {
        let (got, answer) = send(&twilio, token, params).await;
        assert_eq!((got, &answer["code"]), (status, &json!(code)));
    }
    assert_eq!(twilio.sent().len(), 1);
    assert_eq!(twilio.requests().len(), 7);
}

#[tokio::test]
async fn faults_come_in_the_order_they_were_asked_for() {
    let twilio = FakeTwilio::start(ACCOUNT, TOKEN).await;
    let message = [TO, FROM, ("Body", "x")];
    twilio.fail_next(2, 429, 20429);
    twilio.inject(Fault::Answer(StatusCode::SERVICE_UNAVAILABLE, json!({})));
    twilio.inject(Fault::DropReply);
    for (status, code) in [(429, json!(20429)), (429, json!(20429)), (503, Value::Null)] {
        let (got, answer) = send(&twilio, TOKEN, &message).await;
        assert_eq!((got, &answer["code"]), (status, &code));
    }
    assert_eq!(twilio.sent(), []);
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT}/Messages.json", twilio.url());
    let lost = client().post(url).basic_auth(ACCOUNT, Some(TOKEN)).form(&message).send().await;
    assert!(lost.is_err());
    assert_eq!(twilio.sent().len(), 1, "a dropped reply does not undo the message");
    assert_eq!(send(&twilio, TOKEN, &message).await.0, 201);
}

#[tokio::test]
async fn two_senders_at_work_for_one_person_are_noticed() {
    let twilio = FakeTwilio::start(ACCOUNT, TOKEN).await;
    twilio.add_key("SK1", TOKEN);
    let by = |key: &'static str| {
        let url = format!("{}/2010-04-01/Accounts/{ACCOUNT}/Messages.json", twilio.url());
        client().post(url).basic_auth(key, Some(TOKEN)).form(&[TO, FROM, ("Body", "x")]).send()
    };
    by(ACCOUNT).await.expect("an answer");
    by("SK1").await.expect("an answer");
    assert_eq!(twilio.overlaps(), Vec::<String>::new(), "one after the other");
    assert_eq!(twilio.sent_after(1)[0].by, "SK1");
    twilio.inject(Fault::BlackHole);
    let stuck = tokio::spawn(by(ACCOUNT));
    wait_until("the first to be at work", BOUND, async || twilio.requests().len() == 3).await;
    by("SK1").await.expect("an answer");
    assert_eq!(twilio.overlaps().len(), 1);
    stuck.abort();
}

#[tokio::test]
async fn bad_weather_refuses_some_and_loses_the_reply_to_others() {
    let twilio = FakeTwilio::start(ACCOUNT, TOKEN).await;
    let message = [TO, FROM, ("Body", "x")];
    twilio.set_weather(Weather { refused_per_mille: 1_000, ..Weather::default() });
    assert_eq!(send(&twilio, TOKEN, &message).await.0, 503);
    assert_eq!(twilio.sent(), []);
    twilio.set_weather(Weather { lost_per_mille: 1_000, ..Weather::default() });
    let url = format!("{}/2010-04-01/Accounts/{ACCOUNT}/Messages.json", twilio.url());
    assert!(client().post(url).basic_auth(ACCOUNT, Some(TOKEN)).form(&message).send().await.is_err());
    assert_eq!(twilio.sent().len(), 1);
}
