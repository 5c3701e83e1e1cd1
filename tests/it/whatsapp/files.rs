//! Files that people send: fetched, checked, and given to the agent.

use std::fs;
use std::time::Duration;

use reqwest::Client;
use serde_json::json;
use system_tests::server::{self, Server};
use system_tests::stack::git;
use system_tests::wait::wait_for;

use crate::common::pushed;
use crate::phone::Phone;

const BOUND: Duration = Duration::from_secs(60);
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n and the rest of a sketch";

/// A message with one file.
async fn send_file(phone: &Phone, sid: &str, content_type: &str, bytes: &[u8], caption: &str) -> String {
    let name = format!("ME{sid}");
    let url = phone.twilio.store_file(sid, &name, content_type, bytes.to_vec());
    phone
        .write(sid, &[("NumMedia", "1"), ("MediaUrl0", &url), ("MediaContentType0", content_type), ("Body", caption)])
        .await;
    name
}

#[tokio::test]
async fn a_photo_of_a_sketch_reaches_the_agent_as_a_file() {
    let phone = Phone::ready().await;
    send_file(&phone, "SM1", "image/png", PNG, "build hello.txt like this").await;
    // What comes after it waits for it.
    phone.write("SM2", &[("Body", "add a line to other.txt")]).await;
    phone.reads("*approve* opens").await;
    phone.write("SM3", &[("Body", "approve")]).await;
    phone.reads("Run 1 is pushed as branch").await;
    let (branch, _) = pushed(&phone.stack.origin()).expect("a branch is pushed");
    let files = git(&phone.stack.origin(), &["ls-tree", "--name-only", &branch]);
    assert!(files.lines().any(|name| name == "file-1.png") && files.contains("hello.txt"), "{files}");
    assert!(!files.contains("other.txt"), "the second task is a run of its own");
    let size = git(&phone.stack.origin(), &["cat-file", "-s", &format!("{branch}:file-1.png")]);
    assert_eq!(size, PNG.len().to_string());
    phone.reads("(run 2,").await;
    let kept = fs::read_dir(phone.stack.folder().join("vm/files")).expect("a folder").count();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn what_can_not_be_used_is_refused_with_one_clear_line_and_nothing_of_it_is_kept() {
    let phone = Phone::ready().await;
    send_file(&phone, "SM1", "image/png", &[PNG, &vec![0; 30 << 20]].concat(), "too large").await;
    phone.reads("Your file is too large: at most 8 MB. Nothing of that message was taken on.").await;
    send_file(&phone, "SM2", "image/png", b"MZ\x90\0 a program that calls itself a picture", "wrong").await;
    phone.reads("That kind of file can't be used here").await;
    let name = "MESM3";
    let url = phone.twilio.store_file("SM3", name, "image/png", PNG.to_vec());
    let elsewhere = Server::start(|_| async { server::json(200, json!({})) }).await;
    phone.twilio.redirect_file(name, &format!("{}/stolen", elsewhere.url()));
    phone.write("SM3", &[("NumMedia", "1"), ("MediaUrl0", &url), ("MediaContentType0", "image/png")]).await;
    phone.reads("Your file was not where it should be.").await;
    let foreign = format!("{}/2010-04-01/x", elsewhere.url());
    phone.write("SM4", &[("NumMedia", "1"), ("MediaUrl0", &foreign), ("MediaContentType0", "image/png")]).await;
    wait_for("both to be refused", BOUND, async || {
        let told: String = phone.twilio.sent().into_iter().map(|sent| sent.body).collect();
        if told.matches("not where it should be").count() == 2 { Ok(()) } else { Err(told) }
    })
    .await;
    assert_eq!(elsewhere.requests().len(), 0, "nobody else was asked");
    phone.write("SM5", &[("NumMedia", "1"), ("MediaUrl0", &url), ("MediaContentType0", "video/mp4")]).await;
    phone.reads("A video can't be used here").await;
    phone.write("SM6", &[("Body", "status")]).await;
    phone.reads("Nothing is running.").await;
    assert!(!phone.stack.folder().join("vm/files").read_dir().expect("a folder").any(|_| true));
}

/// The file waits, whatever keeps it from us, and answers are not held up by it.
#[tokio::test]
async fn a_file_is_asked_for_until_it_can_be_had() {
    let phone = Phone::ready().await;
    phone.twilio.refuse_file(429, 20429);
    phone.twilio.refuse_file(503, 20503);
    phone.twilio.refuse_file(401, 20003);
    send_file(&phone, "SM1", "image/png", PNG, "build hello.txt like this").await;
    wait_for("an operator to be told", BOUND, async || {
        let logs = phone.stack.logs();
        if logs.contains("Twilio does not accept the credentials") { Ok(()) } else { Err(logs) }
    })
    .await;
    phone.write("SM2", &[("Body", "queue")]).await;
    phone.reads("Nothing is waiting").await;
    // Longer than it is waited before Twilio is asked again.
    wait_for("the agent to have the file", BOUND, async || {
        let sent = phone.twilio.sent();
        if sent.iter().any(|sent| sent.body.contains("*approve* opens")) { Ok(()) } else { Err(sent) }
    })
    .await;
    assert!(phone.stack.logs().contains("Twilio accepts the credentials again"));
}

#[tokio::test]
async fn a_voice_note_that_nobody_can_listen_to_gets_one_line_and_what_is_with_it_counts() {
    let phone = Phone::ready().await;
    let recording = b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0OpusHead and more";
    send_file(&phone, "SM1", "audio/ogg", recording, "").await;
    phone.reads("I can't listen to voice notes here. Please write it as text.").await;
    send_file(&phone, "SM2", "audio/ogg", recording, "add what I say to hello.txt").await;
    phone.reads("your agent is given it as a file").await;
    phone.reads("*approve* opens").await;
    assert!(phone.stack.folder().join("vm/files").read_dir().expect("a folder").any(|_| true));
}

#[tokio::test]
async fn a_file_that_a_person_sent_is_not_shown_to_anybody_else() {
    let phone = Phone::ready().await;
    send_file(&phone, "SM1", "image/png", PNG, "like this, as a question").await;
    phone.reads("no model is involved").await;
    let id = fs::read_dir(phone.stack.folder().join("vm/files"))
        .expect("a folder")
        .next()
        .expect("one file")
        .expect("an entry");
    for place in ["pages", "images"] {
        let url = format!("{}/{place}/{}", phone.stack.relay_url(), id.file_name().to_string_lossy());
        assert_eq!(Client::new().get(url).send().await.expect("an answer").status(), 404, "at /{place}");
    }
}

#[tokio::test]
async fn a_voice_note_is_written_down_and_becomes_a_task() {
    let service = Server::start(|_| async { server::json(200, json!({"text": "add a line to spoken.txt"})) }).await;
    let phone = Phone::ready_with(|plan| {
        plan.relay("TRANSCRIPTION_URL", format!("{}/v1", service.url())).relay("TRANSCRIPTION_API_KEY", "sk-for-tests")
    })
    .await;
    let recording = b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0OpusHead and more";
    send_file(&phone, "SM1", "audio/ogg", recording, "").await;
    let shown = phone.reads("*approve* opens").await;
    assert!(shown.body.contains("spoken.txt"), "{}", shown.body);
    let asked = service.requests();
    assert_eq!((asked.len(), asked[0].path.as_str()), (1, "/v1/audio/transcriptions"));
    assert_eq!(asked[0].header("authorization"), Some("Bearer sk-for-tests"));
    assert!(asked[0].mentions("OpusHead") && asked[0].mentions("whisper-1"));
}

#[tokio::test]
async fn a_voice_note_that_can_not_be_made_out_gets_one_clear_line() {
    let service = Server::start(|_| async { server::json(500, json!({})) }).await;
    let phone = Phone::ready_with(|plan| plan.relay("TRANSCRIPTION_URL", service.url())).await;
    let recording = b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0OpusHead and more";
    send_file(&phone, "SM1", "audio/ogg", recording, "").await;
    phone.reads("Your voice note could not be made out").await;
}
