//! The conversation on the console's page: what strangers wrote, what has not arrived yet, what was decided elsewhere.

use fantoccini::Locator;
use relay_core::store::Store;
use relay_core::store::sqlite::SqliteStore;
use relay_core::time::Timestamp;
use relay_http::channels::console::person::Person;
use relay_http::identity;
use relay_http::links::{LinkKey, Links, Purpose};
use serde_json::{Value, json};
use system_tests::browser::Browser;
use system_tests::console::Console;
use system_tests::stack::{BOUND, Plan, SECRET, Stack};
use system_tests::wait::wait_until;

use super::page::{find, press, script};
use crate::browser_loop::{open, reads, write};

/// What nobody may have act or hide on the page, on one line.
const HOSTILE: &str = "<script>window.acted = 1</script><img src=x onerror='window.acted = 2'> \u{1b}[31mred \
    \u{202e}txt.exe \u{200b}\u{ad}\u{2029}\u{85}\u{3164}\u{e0041} https://gоod.example https://bad.example/\u{202e}a";
/// What is to be read instead.
const SHOWN: &str = "<script>window.acted = 1</script><img src=x onerror='window.acted = 2'> ⟨U+001B⟩[31mred \
    ⟨U+202E⟩txt.exe ⟨U+200B⟩⟨U+00AD⟩⟨U+2029⟩⟨U+0085⟩⟨U+3164⟩⟨U+E0041⟩ https://gоod.example \
    https://bad.example/⟨U+202E⟩a";

/// The texts of all elements that match, as they are in the page.
async fn texts(browser: &Browser, selector: &str) -> Vec<String> {
    let all = format!("return [...document.querySelectorAll(`{selector}`)].map(e => e.textContent)");
    serde_json::from_value(script(browser, &all).await).expect("texts")
}

#[tokio::test]
async fn what_is_written_in_the_chat_or_in_a_diff_neither_acts_nor_hides() {
    let stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    // The demo agent writes the beginning of it into the file.
    console.send("build hello.txt <b>\u{1b}[31m \u{202e}txt\u{200b}", BOUND).await;
    console.wait_for("*approve* opens", BOUND).await;
    console.send(&format!("then *{HOSTILE}*"), BOUND).await;
    // What joins an emoji is a part of it, and none of a word.
    console.send("\u{1f468}\u{200d}\u{1f4bb} pay\u{200d}pal", BOUND).await;
    console.send("queue", BOUND).await;
    console.wait_for("Waiting:", BOUND).await;
    let store = SqliteStore::open(&stack.database()).expect("a store");
    let conversation = identity::named(&SECRET.into(), &Person::Owner.address(1));
    let code = format!("diff --git a/{HOSTILE} b/{HOSTILE}\n@@ -1 +1 @@\n-{HOSTILE}\n+a\tb\r");
    let asked = json!({ "from": "relay", "text": format!("```\n{HOSTILE}\n``` and `{HOSTILE}`"), "code": code,
        "options": [{ "label": HOSTILE, "payload": "reply:x:1:1" }] });
    store.append_feed(&conversation, "asked", &asked.to_string()).await.expect("an entry");

    let browser = open(&stack).await;
    find(&browser, "button.option").await;
    for (place, shown) in [
        (".from-person p", format!("then *{SHOWN}*")),
        (".from-person p", "\u{1f468}\u{200d}\u{1f4bb} pay⟨U+200D⟩pal".to_owned()),
        (".diff .add .code", "- build hello.txt <b>⟨U+001B⟩[31m ⟨U+202E⟩txt⟨U+200B⟩".to_owned()),
        (".diff .del .code", SHOWN.to_owned()),
        (".diff .add .code", "a\tb␍".to_owned()),
        (".diff summary .name", SHOWN.to_owned()),
        (".from-relay p code", SHOWN.to_owned()),
        (".from-relay pre", SHOWN.to_owned()),
        ("button.option", SHOWN.to_owned()),
    ] {
        let all = texts(&browser, place).await;
        assert!(all.contains(&shown), "{place}: {shown:?} is not in {all:#?}");
    }
    assert!(texts(&browser, ".from-relay p").await.iter().any(|text| text.contains("⟨U+202E⟩")), "what the relay says");
    // A name that looks like another one is no link, and none goes on behind a sign that turns it around.
    let links = script(&browser, "return [...document.querySelectorAll('#log .text a')].map(a => a.href)").await;
    let links: Vec<String> = serde_json::from_value(links).expect("addresses");
    let foreign: Vec<&String> = links.iter().filter(|link| !link.contains("/r/") && !link.contains("/run/")).collect();
    assert!(!foreign.is_empty() && foreign.iter().all(|link| *link == "https://bad.example/"), "{links:?}");
    assert_eq!(script(&browser, "return window.acted ?? document.querySelectorAll('script').length").await, 1);
    assert_eq!(script(&browser, "return document.querySelectorAll('#log img').length").await, 0);
    let hidden = r"return document.body.innerText.match(/[\u{1b}\u{202e}\u{200b}\u{ad}\u{e0041}]/u)";
    assert_eq!(script(&browser, hidden).await, Value::Null);
}

/// Whether the page's messages get to the relay.
async fn let_through(browser: &Browser, does: bool) {
    let blocked = if does { json!([]) } else { json!(["*/console/send*"]) };
    browser.devtools("Network.enable", json!({})).await.expect("the network can be looked at");
    browser.devtools("Network.setBlockedURLs", json!({ "urls": blocked })).await.expect("requests can be blocked");
}

/// How often the person has said so.
fn said(console: &Console, text: &str) -> usize {
    console.entries().iter().filter(|entry| entry["from"] == "person" && entry["text"] == text).count()
}

async fn go(browser: &Browser, stack: &Stack, place: &str) {
    browser.client().goto(&format!("{}/console{place}", stack.relay_url())).await.expect("the page opens");
    find(browser, "#connection[data-state=open]").await;
}

#[tokio::test]
async fn what_has_not_arrived_outlives_the_page_and_arrives_once() {
    let stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    let browser = open(&stack).await;
    write(&browser, "help").await;
    reads(&browser, "hand it to your coding agent").await;
    press(&browser, "#menu").await;
    press(&browser, "#begin").await;
    find(&browser, "#conversations a[href='/console?conversation=2'][aria-current]").await;
    go(&browser, &stack, "").await;

    let_through(&browser, false).await;
    for text in ["status", "queue", "approve"] {
        write(&browser, text).await;
    }
    find(&browser, "#composer").await.send_keys("half a thought").await.expect("one can type");
    go(&browser, &stack, "").await;
    let waiting = ".from-person.pending .text";
    assert_eq!(texts(&browser, waiting).await, ["status", "queue"]);
    // What answers is not given to whatever waits by then.
    let written = find(&browser, "#composer").await.prop("value").await.expect("a property");
    assert_eq!(written.as_deref(), Some("approve\nhalf a thought"));
    go(&browser, &stack, "?conversation=2").await;
    assert_eq!(texts(&browser, waiting).await, Vec::<String>::new(), "another conversation's");
    let kept = script(&browser, "return sessionStorage.getItem('unsent console:main')").await;
    let_through(&browser, true).await;
    go(&browser, &stack, "").await;
    reads(&browser, "Nothing is waiting.").await;
    wait_until("both to be settled", BOUND, async || texts(&browser, ".from-person .sent").await.is_empty()).await;

    // Had the page not learned that they arrived, it would send them again.
    assert_eq!(script(&browser, "return sessionStorage.getItem('unsent console:main')").await, "[]");
    let again = format!("addEventListener('pagehide', () => sessionStorage.setItem('unsent console:main', {kept}))");
    script(&browser, &again).await;
    go(&browser, &stack, "").await;
    find(&browser, "#composer").await.clear().await.expect("what is written can be taken out");
    write(&browser, "drop 7").await;
    wait_until("the last word", BOUND, async || said(&console, "drop 7") == 1).await;
    assert_eq!(["status", "queue", "approve"].map(|text| said(&console, text)), [1, 1, 0]);
}

#[tokio::test]
async fn a_message_whose_file_is_kept_no_more_is_given_back_with_what_to_do() {
    let stack = Stack::start(Plan::default()).await;
    let browser = open(&stack).await;
    let links = Links::new(vec![LinkKey::derived(&SECRET.into())]);
    let expired = links.sign(Purpose::Upload, "console:main/file/0123456789abcdef", Timestamp(1));
    let attach = format!(
        "const fetched = window.fetch; window.fetch = (url, init) => url.startsWith('/console/files') \
         ? Promise.resolve(new Response(JSON.stringify({{ id: '{expired}' }}), {{ status: 201 }})) : fetched(url, init); \
         const held = new DataTransfer(); held.items.add(new File(['x'], 'old.txt')); \
         document.querySelector('#composer').dispatchEvent(\
         new DragEvent('drop', {{ dataTransfer: held, bubbles: true, cancelable: true }}))"
    );
    script(&browser, &attach).await;
    find(&browser, "#attached li.ready").await;
    write(&browser, "look at this").await;
    reads(&browser, "Not sent: a file is no longer kept; attach it again.").await;
    let written = find(&browser, "#composer").await.prop("value").await.expect("a property");
    assert_eq!(written.as_deref(), Some("look at this"));
    assert!(browser.client().find(Locator::Css(".sent button")).await.is_err(), "trying the same again is in vain");
    browser.screenshot("console-file-expired-360").await;
    // It goes without the file, or with another one.
    press(&browser, "#send").await;
    find(&browser, "button.approve").await;
}
