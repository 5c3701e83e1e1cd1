//! Long answers: the start, the end, and a page with all of it.

use std::time::Duration;

use fantoccini::Locator;
use relay_core::id::{Address, ChannelKind};
use relay_core::store::Store;
use relay_core::store::sqlite::SqliteStore;
use serde_json::json;
use system_tests::browser::Browser;
use system_tests::fake_vm::{ESSAY, FakeVm, Reports};
use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::stack::{Plan, SECRET, Stack};
use system_tests::wait::{wait_for, wait_until};

const BOUND: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_answer_of_forty_kilobytes_is_two_messages_and_a_page() {
    let fleet = Fleet::start(FleetPlan::default()).await;
    let someone = person(0);
    assert_eq!(fleet.write(&someone, "SM1", "an essay, please").await, Some(200));
    let start = fleet.reads(&someone, "characters are left out here", BOUND).await.body;
    let end = fleet.reads(&someone, "Say _approve_ if you like it", BOUND).await.body;
    assert!(start.contains("*How the login works now*"), "{start}");
    for body in [&start, &end] {
        assert!(body.encode_utf16().count() <= 1_600 && body.matches("```").count() % 2 == 0, "{body}");
    }
    assert!(fleet.read(&someone).len() <= 4, "no twenty messages");
    let link = start.split_whitespace().last().expect("an address").to_owned();
    for number in 0..fleet.len() {
        let url = link.replace(&fleet.edge_url(), &fleet.relay(number).url());
        let page = reqwest::get(&url).await.expect("an answer");
        let policy = page.headers()["content-security-policy"].to_str().expect("a text").to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("script"), "{policy}");
        let html = page.text().await.expect("a text");
        assert!(html.contains("pub fn sessions_0(input: &amp;str) -&gt; Result&lt;String, Error&gt; {"));
        assert!(html.len() > ESSAY.len(), "all of it is there");
    }
    let browser = Browser::start().await;
    browser.client().goto(&link).await.expect("the page opens");
    browser.screenshot("long-answer-page-360").await;
    let too_wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
    let too_wide = browser.client().execute(too_wide, Vec::new()).await.expect("a script runs");
    assert_eq!(too_wide, false, "nothing is wider than a phone");
}

#[tokio::test]
async fn the_same_answer_reads_well_in_the_console() {
    let vm = FakeVm::start(SECRET, Duration::from_millis(50)).await;
    let stack = Stack::start(Plan::default().relay("VM_URL", vm.url())).await;
    vm.report_to(vec![Reports::Callback(stack.relay_url())]);
    let browser = Browser::start().await;
    browser.client().goto(&format!("{}/console", stack.relay_url())).await.expect("the page opens");
    let composer =
        browser.client().wait().at_most(BOUND).for_element(Locator::Css("#composer")).await.expect("a composer");
    composer.send_keys("an essay, please").await.expect("one can type");
    browser.client().find(Locator::Css("#send")).await.expect("a button").click().await.expect("one can send");
    wait_until("the answer to be shown", BOUND, async || {
        browser.client().source().await.is_ok_and(|page| page.contains("if you like it"))
    })
    .await;
    let page = wait_for("the log", BOUND, async || browser.client().source().await).await;
    assert!(page.contains("How the login works now") && !page.contains("```"), "markup is shown, not told");
    browser.screenshot("long-answer-console-360").await;
}

/// The messages of the snapshot, as a phone would show them: each in a bubble of its own.
#[tokio::test]
async fn the_messages_of_a_long_answer_are_photographed_in_the_console() {
    let messages = include_str!("../../../relay-core/tests/fixtures/long_answer.messages.txt");
    let stack = Stack::start(Plan::default()).await;
    let address = Address { channel: ChannelKind::Console, name: "console:main".to_owned() };
    let conversation = address.conversation(SECRET.as_bytes());
    let store = SqliteStore::open(&stack.database()).expect("the relay's store");
    let texts: Vec<&str> = messages.trim_end().split("\n======\n").collect();
    for (at, text) in texts.iter().enumerate() {
        let entry = json!({"from": "relay", "text": text}).to_string();
        store.append_feed(&conversation, &format!("message:{at}"), &entry).await.expect("an entry");
    }
    let browser = Browser::start().await;
    browser.client().goto(&format!("{}/console", stack.relay_url())).await.expect("the page opens");
    wait_until("both messages to be shown", BOUND, async || {
        browser
            .client()
            .find_all(Locator::Css("article.from-relay"))
            .await
            .is_ok_and(|shown| shown.len() == texts.len())
    })
    .await;
    for (number, bubble) in
        (1..).zip(browser.client().find_all(Locator::Css("article.from-relay")).await.expect("bubbles"))
    {
        let look = "arguments[0].scrollIntoView({block: 'start'})";
        let bubble = serde_json::to_value(bubble).expect("an element");
        browser.client().execute(look, vec![bubble]).await.expect("a script runs");
        browser.screenshot(&format!("long-answer-message-{number}-360")).await;
    }
}
