//! The console beyond typing and pressing: files that go with a message.

use std::time::Duration;

use relay_core::time::Timestamp;
use relay_http::links::{LinkKey, Links, Purpose};
use reqwest::Client;
use serde_json::{Value, json};
use system_tests::browser::{Browser, Screen};
use system_tests::stack::{BOUND, Plan, SECRET, Stack, git};
use system_tests::wait::{wait_for, wait_until};

use super::page::{find, script};
use crate::browser_loop::{open, reads, write};
use crate::common::pushed;

/// The smallest picture that a browser shows: one red pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";

/// Lets the page see `event` with these files, as expressions of JavaScript.
async fn give(browser: &Browser, event: &str, files: &str) {
    let png = format!("Uint8Array.from(atob('{PNG}'), c => c.charCodeAt(0))");
    let event = match event {
        "paste" => "new ClipboardEvent('paste', { clipboardData: held, bubbles: true, cancelable: true })",
        _ => "new DragEvent('drop', { dataTransfer: held, bubbles: true, cancelable: true })",
    };
    let give = format!(
        "const png = {png}; const held = new DataTransfer(); for (const file of [{files}]) held.items.add(file); \
         document.querySelector('#composer').dispatchEvent({event})"
    );
    script(browser, &give).await;
}

async fn attached(browser: &Browser, ready: usize) {
    wait_for(&format!("{ready} files to be attached"), BOUND, async || {
        let states =
            script(browser, "return [...document.querySelectorAll('#attached li')].map(li => li.className)").await;
        if states == json!(vec!["ready"; ready]) { Ok(()) } else { Err(states) }
    })
    .await;
}

#[tokio::test]
async fn files_are_pasted_dropped_and_chosen_and_the_agent_is_given_those_that_are_sent() {
    let stack = Stack::start(Plan::default()).await;
    let browser = open(&stack).await;
    give(&browser, "paste", "new File([png], 'sketch.png', { type: 'image/png' })").await;
    give(&browser, "drop", "new File(['not wanted'], 'wrong.txt'), new File(['first,second'], '<b>table.csv')").await;
    attached(&browser, 3).await;
    let chosen = browser.profile().join("notes-of-mine.txt");
    std::fs::write(&chosen, "noted").expect("a file is written");
    find(&browser, "#chooser").await.send_keys(&chosen.to_string_lossy()).await.expect("a file can be chosen");
    attached(&browser, 4).await;
    let shown = "const p = document.querySelector('#attached img'); return p.complete && p.naturalWidth > 0";
    wait_until("the preview", BOUND, async || script(&browser, shown).await == true).await;
    browser.screenshot("console-attached-360").await;
    assert_eq!(script(&browser, "return document.documentElement.scrollWidth > innerWidth").await, false);
    assert_eq!(browser.hindrances().await, Vec::<String>::new());
    find(&browser, "#attached button[aria-label='Remove wrong.txt']").await.click().await.expect("one can remove");
    attached(&browser, 3).await;

    write(&browser, "build hello.txt like this").await;
    find(&browser, "button.approve").await;
    let names = "return [...document.querySelectorAll('.from-person .sent-files li')].map(li => li.textContent)";
    let expected = json!(["sketch.png", "<b>table.csv", "notes-of-mine.txt"]);
    assert_eq!(script(&browser, names).await, expected);
    assert_eq!(script(&browser, "return document.querySelectorAll('#attached li').length").await, 0);
    browser.client().refresh().await.expect("the page reloads");
    find(&browser, "button.approve").await;
    assert_eq!(script(&browser, names).await, expected, "after a reload too");
    script(&browser, "document.querySelector('.sent-files').scrollIntoView({ block: 'center' })").await;
    browser.screenshot("console-files-sent-360").await;

    find(&browser, "button.approve").await.click().await.expect("one can approve");
    reads(&browser, "is pushed as branch").await;
    let (branch, _) = pushed(&stack.origin()).expect("a branch is pushed");
    let file = |name: &str| git(&stack.origin(), &["cat-file", "-p", &format!("{branch}:{name}")]);
    assert_eq!((file("file-2.txt"), file("file-3.txt")), ("first,second".to_owned(), "noted".to_owned()));
    let size = git(&stack.origin(), &["cat-file", "-s", &format!("{branch}:file-1.png")]);
    assert_eq!(size.trim(), "70");
}

#[tokio::test]
async fn a_file_that_can_not_be_used_is_told_before_the_message_is_sent() {
    let stack = Stack::start(Plan::default()).await;
    let browser = open(&stack).await;
    give(&browser, "drop", "new File(['MZ\\u0000\\u0001'], 'setup.exe'), new File([new Uint8Array(9e6)], 'long.pdf')")
        .await;
    wait_for("both to be refused", BOUND, async || {
        let faults = "return [...document.querySelectorAll('#attached .failed .fault')].map(f => f.textContent).join()";
        let told = script(&browser, faults).await;
        let text = told.as_str().unwrap_or_default();
        if text.contains("kind of file can't be used") && text.contains("too large: at most 8 MB") {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    browser.screenshot("console-files-refused-360").await;
    write(&browser, "look at these").await;
    let focused = browser.client().active_element().await.expect("something has the focus");
    assert_eq!(focused.attr("aria-label").await.expect("an answer").as_deref(), Some("Remove setup.exe"));
    assert_eq!(script(&browser, "return document.querySelectorAll('.from-person').length").await, 0, "nothing is sent");
    // Both can be taken away by the keyboard alone, and what was written is still there.
    for _ in 0..2 {
        let focused = browser.client().active_element().await.expect("something has the focus");
        focused.send_keys("\u{e007}").await.expect("one can press Enter");
    }
    attached(&browser, 0).await;
    find(&browser, "#send").await.click().await.expect("one can send");
    reads(&browser, "look at these").await;
    // More than go with one message.
    give(&browser, "paste", "...Array.from({ length: 11 }, (_, n) => new File(['x'], `${n}.txt`))").await;
    attached(&browser, 10).await;
    assert_eq!(find(&browser, "#told").await.text().await.expect("a text"), "At most 10 files go with one message.");
}

#[tokio::test]
async fn a_message_names_only_files_of_its_own_conversation() {
    let stack = Stack::start(Plan::default()).await;
    let (http, url) = (Client::new(), stack.relay_url());
    let upload = async |kind: &str, body: Vec<u8>| {
        let answer = http.post(format!("{url}/console/files")).header("content-type", kind).body(body).send().await;
        let answer = answer.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    };
    let send = async |message: Value| {
        let answer = http.post(format!("{url}/console/send")).json(&message).send().await.expect("an answer");
        answer.status().as_u16()
    };
    const RAW: &str = "application/octet-stream";
    assert_eq!(upload("text/plain", b"as a form can".to_vec()).await.0, 400);
    assert_eq!(upload(RAW, b"MZ\x90\0".to_vec()).await.0, 415);
    assert_eq!(upload(RAW, vec![b'a'; 8 * 1024 * 1024 + 1]).await.0, 413);
    let (status, body) = upload(RAW, vec![b'a'; 8 * 1024 * 1024]).await;
    assert_eq!(status, 201, "{body}");
    let (_, body) = upload(RAW, b"mine".to_vec()).await;
    let id = serde_json::from_str::<Value>(&body).expect("JSON")["id"].as_str().expect("an id").to_owned();

    let links = Links::new(vec![LinkKey::derived(&SECRET.into())]);
    let later = Timestamp(u64::MAX / 4);
    let foreign = links.sign(Purpose::Upload, "console:other/file/0123456789abcdef", later);
    let elsewhere = links.sign(Purpose::Review, "console:main/file/0123456789abcdef", later);
    for id in [foreign, elsewhere, format!("{id}x"), "0123456789abcdef".to_owned()] {
        assert_eq!(send(json!({ "id": "f-1", "text": "x", "files": [{ "id": id, "name": "a" }] })).await, 400, "{id}");
    }
    let many = vec![json!({ "id": id }); 11];
    assert_eq!(send(json!({ "id": "f-2", "text": "x", "files": many })).await, 400, "too many");
    assert_eq!(send(json!({ "id": "f-3", "button": "approve:r:0", "files": [{ "id": id }] })).await, 400);
    // One that is signed and not there any more is told in the chat.
    let gone = links.sign(Purpose::Upload, "console:main/file/0123456789abcdef", later);
    let console = stack.console();
    assert_eq!(send(json!({ "id": "f-4", "text": "x", "files": [{ "id": gone, "name": "a" }] })).await, 202);
    console.wait_for("Your file is no longer there. Please send it again.", BOUND).await;
    // Without a word, and sent twice: it counts once.
    for _ in 0..2 {
        assert_eq!(send(json!({ "id": "f-5", "files": [{ "id": id, "name": "mine.txt" }] })).await, 202);
    }
    wait_until("the file to reach the VM", Duration::from_secs(30), async || {
        stack.folder().join("vm/files").read_dir().is_ok_and(|files| files.count() == 1)
    })
    .await;
    let mine = |entry: &Value| entry["files"] == json!(["mine.txt"]);
    assert_eq!(console.entries().iter().filter(|entry| mine(entry)).count(), 1);
}

#[tokio::test]
async fn the_console_can_be_read_at_a_desk_with_files_attached() {
    let stack = Stack::start(Plan::default()).await;
    for screen in [Screen::DESK, Screen::PHONE.in_the_dark()] {
        let browser = Browser::with(screen).await;
        browser.client().goto(&format!("{}/console", stack.relay_url())).await.expect("the page opens");
        find(&browser, "#connection[data-state=open]").await;
        give(&browser, "drop", "new File([png], 'sketch.png', { type: 'image/png' }), new File(['x'], 'notes.txt')")
            .await;
        attached(&browser, 2).await;
        browser.screenshot(&format!("console-attached-{}", screen.name())).await;
        assert_eq!(browser.hindrances().await, Vec::<String>::new(), "{}", screen.name());
    }
}
