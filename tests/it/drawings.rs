//! A diff that is too long for a chat: its picture and its document come before the question about it, and where nothing can be
//! drawn it comes as text.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use reqwest::Client;
use serde_json::Value;
use system_tests::stack::{BOUND, Plan, Stack};
use system_tests::wait::wait_for;
use tempfile::TempDir;

use crate::phone::Phone;

/// In the place of the demo agent's shell: it writes a long file, and then does what it is told.
const SHELL: &str = r#"#!/bin/sh
for at in $(seq 300); do echo "line $at of a file that is too long to be read in a chat"; done > long.txt
exec /bin/sh "$@"
"#;

/// A search path on which that shell comes first.
fn search_path() -> (TempDir, String) {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("it can be opened up");
    let shell = directory.path().join("sh");
    fs::write(&shell, SHELL).expect("it can be written");
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).expect("it can be run");
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", directory.path().display());
    (directory, path)
}

/// What is at this address, and its type.
async fn fetched(url: &str) -> (String, Vec<u8>) {
    let got = Client::new().get(url).send().await.expect("an answer");
    assert_eq!(got.status(), 200, "{url}");
    let content_type = got.headers()["content-type"].to_str().expect("a text").to_owned();
    (content_type, got.bytes().await.expect("a body").to_vec())
}

#[tokio::test]
async fn on_whatsapp_the_picture_and_the_document_come_before_the_question() {
    let (_programs, path) = search_path();
    let phone = Phone::ready_with(|plan| plan.vm("PATH", path)).await;
    phone.write("SM1", &[("Body", "add a line to hello.txt")]).await;
    let question = phone.reads("*approve* opens").await;
    let sent = phone.twilio.sent();
    let at = sent.iter().position(|one| one.sid == question.sid).expect("the question was sent");
    let [picture, document] = &sent[at - 2..at] else { panic!("{sent:?}") };
    assert_eq!(picture.body, "2 files, +301 −0 (the beginning)");
    assert_eq!(document.body, "", "WhatsApp has no caption for a document");
    let (content_type, png) = fetched(&picture.media_urls[0]).await;
    assert!(content_type == "image/png" && png.starts_with(b"\x89PNG"));
    let (content_type, pdf) = fetched(&document.media_urls[0]).await;
    assert!(content_type == "application/pdf" && pdf.starts_with(b"%PDF-"));
    assert!(question.body.contains("• `hello.txt` new, +1\n• `long.txt` new, +300\n"), "{}", question.body);
    assert!(question.body.contains("in the picture and the document above") && !question.body.contains("```"));
    phone.write("SM2", &[("Body", "approve")]).await;
    phone.reads("is pushed as branch").await;
}

#[tokio::test]
async fn a_machine_without_a_browser_shows_the_diff_as_text() {
    let (_programs, path) = search_path();
    let phone = Phone::ready_with(|plan| plan.vm("PATH", path).vm("CHROMIUM_PATH", "/nowhere/chromium")).await;
    phone.write("SM1", &[("Body", "add a line to hello.txt")]).await;
    let last = phone.reads("*show FILE* shows one file. All of it:").await;
    let sent = phone.twilio.sent();
    assert!(sent.iter().all(|one| one.media_urls.is_empty()));
    assert!(sent.iter().any(|one| one.body.contains("```\ndiff --git a/hello.txt")), "{sent:?}");
    assert!(sent.iter().any(|one| one.body.contains("• `long.txt` new, +300")), "{sent:?}");
    assert_eq!(phone.stack.logs().matches("a diff cannot be drawn").count(), 1, "{}", last.body);
    phone.write("SM2", &[("Body", "approve")]).await;
    phone.reads("is pushed as branch").await;
}

#[tokio::test]
async fn the_console_shows_both_and_the_diff() {
    let (_programs, path) = search_path();
    let stack = Stack::start(Plan::default().vm("PATH", path)).await;
    let console = stack.console();
    console.send("add a line to hello.txt", BOUND).await;
    let question = console.wait_for("*approve* opens", BOUND).await;
    let shown: Vec<Value> = wait_for("picture and document", BOUND, async || {
        let entries = console.entries();
        let at = entries.iter().position(|entry| *entry == question);
        at.filter(|&at| at >= 2).map(|at| entries[at - 2..at].to_vec()).ok_or(entries)
    })
    .await;
    let kinds: Vec<_> = shown.iter().map(|entry| (entry["picture"].is_string(), entry["document"] == true)).collect();
    assert_eq!(kinds, [(true, false), (true, true)]);
    let address = format!("{}{}", stack.relay_url(), shown[1]["picture"].as_str().expect("an address"));
    assert!(fetched(&address).await.1.starts_with(b"%PDF-"));
    assert!(question["code"].as_str().is_some_and(|code| code.contains("+line 300 of a file")));
}
