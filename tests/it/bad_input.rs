//! What bad input gets: a clear answer, nothing stored, never a crash.

use std::time::Duration;

use reqwest::Client;
use system_tests::fake_anthropic::FakeAnthropic;
use system_tests::peers::claude_path;
use system_tests::process::{Process, binary};
use system_tests::stack::{BOUND, Plan, SECRET, Stack, free_address};
use system_tests::twilio::signed_webhook;
use system_tests::wait::wait_until;

use crate::phone::{ACCOUNT, PERSON, Phone, TOKEN};

#[tokio::test]
async fn a_webhook_that_twilio_did_not_sign_gets_403_and_leaves_nothing() {
    let phone = Phone::ready().await;
    let params = [("MessageSid", "SM1"), ("AccountSid", ACCOUNT), ("From", PERSON), ("Body", "help")];
    let right = signed_webhook(TOKEN, &phone.webhook_url(), &params);
    let wrong = signed_webhook("another-token", &phone.webhook_url(), &params);
    let foreign = [("MessageSid", "SM1"), ("AccountSid", "ACother"), ("From", PERSON), ("Body", "help")];
    let foreign = signed_webhook(TOKEN, &phone.webhook_url(), &foreign);
    for (signature, body) in [
        (None, &right.body),
        (Some(&wrong.signature), &right.body),
        (Some(&right.signature), &right.body.replace("help", "other")),
        (Some(&foreign.signature), &foreign.body),
    ] {
        assert_eq!(phone.post(signature.map(String::as_str), body.clone()).await.status, 403);
    }
    assert_eq!(phone.count("conversations").await, 0);
    let answered = phone.post(Some(&right.signature), right.body).await;
    assert_eq!((answered.status, answered.content_type.as_str()), (200, "text/xml"));
    assert!(answered.body.ends_with("<Response/>"), "{}", answered.body);
    wait_until("the answer to be sent", BOUND, async || phone.twilio.sent().len() == 1).await;
}

#[tokio::test]
async fn a_body_over_the_cap_gets_413_and_a_form_without_a_message_400() {
    let phone = Phone::ready().await;
    assert_eq!(phone.write_as(PERSON, "SM1", &[("Body", &"x".repeat(40_000))]).await.status, 413);
    let webhook = signed_webhook(TOKEN, &phone.webhook_url(), &[("AccountSid", ACCOUNT), ("Body", "no sender")]);
    assert_eq!(phone.post(Some(&webhook.signature), webhook.body).await.status, 400);
    assert_eq!(phone.count("conversations").await, 0);
}

#[tokio::test]
async fn an_unknown_sender_is_counted_and_gets_no_answer() {
    let metrics = free_address();
    let mut phone = Phone::ready_with(|plan| plan.relay("METRICS_BIND", metrics.to_string())).await;
    assert_eq!(phone.write_as("whatsapp:+15559999999", "SM1", &[("Body", "help")]).await.status, 200);
    assert_eq!(phone.count("conversations").await, 0);
    let relay = phone.stack.relay.as_mut().expect("the relay is up");
    relay.wait_for_line("ignored a message from a sender", BOUND).await;
    let counted = reqwest::get(format!("http://{metrics}/metrics")).await.unwrap().text().await.unwrap();
    assert!(counted.contains(r#"textslash_webhooks_total{result="unknown_sender"} 1"#), "{counted}");
    assert!(!counted.contains("5559999999"), "a phone number is a label");
    assert!(!phone.stack.logs().contains("5559999999"), "a phone number is in a log");
    assert!(phone.twilio.requests().iter().all(|request| request.method == "GET"), "nothing is sent");
}

#[tokio::test]
async fn empty_and_unsupported_messages_get_one_clear_line_each() {
    let phone = Phone::ready().await;
    let messages: [&[(&str, &str)]; 4] = [
        &[("Body", "  \n")],
        &[
            ("NumMedia", "1"),
            ("MediaContentType0", "audio/ogg"),
            ("MediaUrl0", "https://example.invalid/x"),
            ("Body", ""),
        ],
        &[("Latitude", "52.5"), ("Longitude", "13.4"), ("Body", "")],
        &[("ButtonPayload", "rm -rf"), ("ButtonText", "?"), ("Body", "?")],
    ];
    for (number, extra) in messages.iter().enumerate() {
        phone.write(&format!("SM{number}"), extra).await;
    }
    for says in [
        "nothing in that message that I can read",
        "can't listen to voice notes",
        "A location can't",
        "I don't know that button",
    ] {
        phone.reads(says).await;
    }
    // The same webhook again, as after a lost answer.
    phone.write("SM0", messages[0]).await;
    phone.write("SM9", &[("Body", "queue")]).await;
    phone.reads("Nothing is waiting").await;
    let told: String = phone.twilio.sent().into_iter().map(|sent| sent.body).collect();
    assert_eq!(told.matches("nothing in that message that I can read").count(), 1, "a repeat is not answered again");
    assert!(!phone.stack.logs().contains("5551230000"), "a phone number is in a log");
}

#[tokio::test]
async fn a_report_that_the_vm_did_not_sign_is_refused() {
    let stack = Stack::start(Plan::default()).await;
    let url = format!("{}/callback/abc-1", stack.relay_url());
    let report = r#"{"conversation":"abc","run":"abc-1","seq":1,"event":{"event":"beat"}}"#;
    let status = async |signature: &str| {
        let request = Client::new().post(&url).header("x-textslash-signature", signature).body(report);
        request.send().await.expect("the relay answers").status().as_u16()
    };
    assert_eq!(status("").await, 401);
    assert_eq!(status("t=1,v1=00").await, 401);
    let now = relay_core::time::Timestamp(u64::try_from(now_ms()).expect("after 1970"));
    let sign =
        |path: &str| relay_core::protocol::signature::sign(SECRET.as_bytes(), now, "POST", path, report.as_bytes());
    assert_eq!(status(&sign("/callback/abc-2")).await, 401, "signed for another address");
    assert_eq!(status(&sign("/callback/abc-1")).await, 204);
}

fn now_ms() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_millis()
}

#[tokio::test]
async fn the_console_is_for_this_machine_alone_unless_there_is_a_token() {
    let stack = Stack::start(Plan::default()).await;
    let url = format!("{}/console", stack.relay_url());
    let status = async |name: &str, value: &str| {
        Client::new().get(&url).header(name, value).send().await.expect("the relay answers").status().as_u16()
    };
    assert_eq!(status("accept", "*/*").await, 200);
    assert_eq!(status("host", "evil.example.com").await, 404, "a name that was rebound to this machine");
    assert_eq!(status("x-forwarded-for", "203.0.113.9").await, 404, "somebody behind a proxy");

    let guarded = Stack::start(Plan::default().relay("CONSOLE_TOKEN", "open-sesame-open-sesame-open-sesame")).await;
    let http = Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let console = format!("{}/console", guarded.relay_url());
    assert_eq!(http.get(&console).send().await.expect("an answer").status(), 401);
    let sign_in = async |token: &str| {
        let form = [("token", token)];
        http.post(format!("{console}/session")).form(&form).send().await.expect("an answer")
    };
    assert_eq!(sign_in("wrong").await.status(), 401);
    let signed_in = sign_in("open-sesame-open-sesame-open-sesame").await;
    let cookie = signed_in.headers()["set-cookie"].to_str().expect("a text").to_owned();
    assert!(!cookie.contains("open-sesame") && cookie.contains("HttpOnly"), "{cookie}");
    let cookie = cookie.split(';').next().expect("a pair");
    assert_eq!(http.get(&console).header("cookie", cookie).send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_bad_configuration_names_every_fault_and_exits_64() {
    for (program, least) in
        [("relay", ["RELAY_SECRET", "VM_URL", "VM_SECRET"]), ("vm-agent", ["VM_SECRET", "EVENTS_URL", "AGENT_DRIVER"])]
    {
        let mut process = Process::start(&binary(program), &[], &[("RUST_LOG", "info"), ("DATA_DIR", "/nonexistent")]);
        let status = process.exited(BOUND).await;
        assert_eq!(status.code(), Some(64), "{program}");
        wait_until("its output to be read", BOUND, async || {
            let said = process.lines().join("\n");
            least.iter().all(|name| said.contains(name))
        })
        .await;
    }
}

#[tokio::test]
async fn a_missing_agent_a_missing_key_and_a_missing_repository_are_told_in_the_chat() {
    let api = FakeAnthropic::start().await;
    let claude = claude_path().display().to_string();
    let cases = [
        (
            Plan::default()
                .vm("AGENT_DRIVER", "claude")
                .vm("CLAUDE_PATH", "/nonexistent/claude")
                .vm("ANTHROPIC_API_KEY", "k"),
            "CLAUDE_PATH",
        ),
        (Plan::default().vm("AGENT_DRIVER", "claude").vm("CLAUDE_PATH", &claude), "ANTHROPIC_API_KEY"),
        (Plan::default().repo("/nonexistent/repository.git"), "repository"),
    ];
    for (plan, says) in cases {
        let stack = Stack::start(plan.vm("ANTHROPIC_BASE_URL", api.url())).await;
        let console = stack.console();
        console.send("do something", BOUND).await;
        let told = console.wait_for("⚠️", Duration::from_secs(60)).await;
        assert!(told["text"].as_str().is_some_and(|text| text.contains(says)), "{says:?} is not in {told}");
    }
}

#[tokio::test]
async fn a_refused_api_key_is_told_early() {
    let api = FakeAnthropic::start().await;
    let plan = Plan::default()
        .vm("AGENT_DRIVER", "claude")
        .vm("CLAUDE_PATH", claude_path().display().to_string())
        .vm("ANTHROPIC_API_KEY", "sk-ant-wrong")
        .vm("ANTHROPIC_BASE_URL", api.url());
    let stack = Stack::start(plan).await;
    let console = stack.console();
    console.send("SCENARIO:err401", BOUND).await;
    let told = console.wait_for("failed", Duration::from_secs(60)).await;
    assert!(told["text"].as_str().is_some_and(|text| text.contains("key")), "{told}");
}

#[tokio::test]
async fn a_console_message_that_could_not_be_kept_is_not_shown_as_kept() {
    let stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    let database = rusqlite::Connection::open(stack.database()).expect("the database opens");
    let full = "CREATE TRIGGER full BEFORE INSERT ON inbox BEGIN SELECT RAISE(ABORT, 'no room'); END";
    database.execute_batch(full).expect("the database can be broken");
    assert_eq!(console.try_send("web-1", "help").await, Some(503));
    assert!(console.entries().is_empty());
    database.execute_batch("DROP TRIGGER full").expect("the database can be mended");
    assert_eq!(console.try_send("web-1", "help").await, Some(202));
    console.wait_for("*approve* (a)", BOUND).await;
    assert_eq!(console.entries().iter().filter(|entry| entry["from"] == "person").count(), 1);
}

#[tokio::test]
async fn a_vm_with_another_secret_is_told_in_the_chat() {
    let other = Plan::default().vm("VM_SECRET", "another-secret-0123456789abcdef0123");
    let stack = Stack::start(other).await;
    let console = stack.console();
    console.send("do something", BOUND).await;
    console.wait_for("does not accept this relay's signature", BOUND).await;
    console.send("status", BOUND).await;
    console.wait_for("Run 1 is starting", BOUND).await;
}

#[tokio::test]
async fn the_console_of_a_public_relay_needs_a_token() {
    let stack = Stack::start(Plan::default().relay("PUBLIC_URL", "https://relay.example.com")).await;
    let console = format!("{}/console", stack.relay_url());
    let answer = Client::new().get(&console).header("host", "localhost").send().await.expect("an answer");
    assert_eq!(answer.status(), 404, "as behind a proxy that makes every caller look local");
}

#[tokio::test]
async fn a_caller_who_stops_in_the_middle_of_a_request_does_not_keep_the_relay_from_stopping() {
    use tokio::io::AsyncWriteExt;
    let mut stack = Stack::start(Plan::default().relay("SHUTDOWN_GRACE_MS", "4000")).await;
    let address = stack.relay_url().replace("http://", "");
    let mut half = tokio::net::TcpStream::connect(&address).await.expect("the relay accepts");
    half.write_all(b"POST /webhook HTTP/1.1\r\nhost:").await.expect("half a request is sent");
    let mut relay = stack.relay.take().expect("the relay is up");
    assert_eq!(relay.terminate(BOUND).await.code(), Some(0));
    let said = relay.lines().join("\n");
    assert!(said.contains("stopped") && !said.contains("the grace period ran out"), "{said}");
}
