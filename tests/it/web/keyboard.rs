//! The console without a mouse, and for whoever does not see it.

use fantoccini::Locator;
use system_tests::browser::{Browser, Screen};
use system_tests::stack::{BOUND, Plan, Stack};
use system_tests::wait::wait_until;

use super::page::{find, script};
use crate::browser_loop::{open, reads, write};
use crate::common::pushed;

const UP: &str = "\u{e013}";
const DOWN: &str = "\u{e015}";
const ESCAPE: &str = "\u{e00c}";
const ENTER: &str = "\u{e007}";
const BACK: &str = "\u{e008}\u{e004}";

async fn press(browser: &Browser, keys: &str) {
    let focused = browser.client().active_element().await.expect("something has the focus");
    focused.send_keys(keys).await.expect("keys can be pressed");
}

/// What has the focus: its id, or what it says.
async fn focused(browser: &Browser) -> String {
    let name = "const e = document.activeElement; return e.id || e.textContent.trim() || e.localName";
    script(browser, name).await.as_str().expect("a name").to_owned()
}

async fn written(browser: &Browser) -> String {
    find(browser, "#composer").await.prop("value").await.expect("a property").unwrap_or_default()
}

#[tokio::test]
async fn a_task_is_sent_and_its_diff_approved_without_a_mouse() {
    let stack = Stack::start(Plan::default()).await;
    let browser = open(&stack).await;
    script(&browser, "document.querySelector('#composer').focus()").await;
    press(&browser, "add a line to hello.txt").await;
    press(&browser, ENTER).await;
    find(&browser, "button.approve").await;
    // From the composer backwards: what belongs to it, then the latest answer, Reject before Approve.
    let mut passed = Vec::new();
    while passed.last().is_none_or(|last| last != "Approve") {
        press(&browser, BACK).await;
        passed.push(focused(&browser).await);
        assert!(passed.len() < 12, "{passed:?}");
        let outline = "return getComputedStyle(document.activeElement).outlineStyle";
        assert_eq!(script(&browser, outline).await, "solid", "the focus can be seen on {passed:?}");
    }
    assert_eq!(passed, ["attach", "help", "diff", "queue", "status", "Reject", "Approve"]);
    press(&browser, ESCAPE).await;
    assert_eq!(focused(&browser).await, "composer", "Esc leaves a button for the composer");
    press(&browser, ESCAPE).await;
    assert_eq!(script(&browser, "return document.activeElement.localName").await, "main", "and that for the log");
    press(&browser, ESCAPE).await;
    for _ in 0..passed.len() {
        press(&browser, BACK).await;
    }
    press(&browser, ENTER).await;
    reads(&browser, "is pushed as branch").await;
    assert!(pushed(&stack.origin()).is_some());
    assert_eq!(focused(&browser).await, "composer", "a pressed button gives the focus back");
}

#[tokio::test]
async fn the_arrow_up_brings_back_what_was_sent_and_no_answer() {
    let stack = Stack::start(Plan::default()).await;
    let browser = open(&stack).await;
    for text in ["help", "status", "reject"] {
        write(&browser, text).await;
        let last =
            format!("return [...document.querySelectorAll('.from-person .text')].at(-1)?.textContent === '{text}'");
        wait_until(text, BOUND, async || script(&browser, &last).await == true).await;
    }
    let check = async |keys: &str, expected: &str| {
        press(&browser, keys).await;
        assert_eq!(written(&browser).await, expected, "after {keys:?}");
    };
    // Also what was sent before the page was loaded.
    browser.client().refresh().await.expect("the page reloads");
    reads(&browser, "reject").await;
    script(&browser, "document.querySelector('#composer').focus()").await;
    check(UP, "status").await;
    check(UP, "help").await;
    check(UP, "help").await;
    check(DOWN, "status").await;
    check(DOWN, "").await;
    check("half a thought", "half a thought").await;
    check(UP, "half a thought").await;
    check("\u{e011}", "half a thought").await; // Home
    check(UP, "status").await;
    check(ESCAPE, "half a thought").await;
    check("\u{e011}", "half a thought").await;
    check(UP, "status").await;
    // What is brought back can be changed, and is then what is being written.
    check(" please", "status please").await;
    check(ESCAPE, "status please").await;
}

#[tokio::test]
async fn nothing_hinders_anybody_on_the_console_and_before_it() {
    const TOKEN: &str = "a-token-for-the-console-of-this-test";
    let stack = Stack::start(Plan::default().relay("CONSOLE_TOKEN", TOKEN)).await;
    let url = format!("{}/console", stack.relay_url());
    let mut is_first = true;
    for screen in [Screen::PHONE, Screen::DESK, Screen::PHONE.in_the_dark(), Screen::DESK.in_the_dark()] {
        let browser = Browser::with(screen).await;
        let name = screen.name();
        let check = async |page: &str| {
            let too_wide = script(&browser, "return document.documentElement.scrollWidth > innerWidth").await;
            assert_eq!(too_wide, false, "{page} {name}: something is wider than the screen");
            browser.screenshot(&format!("console-{page}-{name}")).await;
            assert_eq!(browser.hindrances().await, Vec::<String>::new(), "{page} {name}");
        };
        browser.client().goto(&url).await.expect("the page opens");
        find(&browser, "input[name=token]").await;
        check("sign-in").await;
        find(&browser, "input[name=token]").await.send_keys("a guess").await.expect("one can type");
        find(&browser, "main button").await.click().await.expect("one can press");
        let fault = find(&browser, "main [role=alert]").await;
        assert_eq!(fault.text().await.expect("a text"), "That is not the token.");
        check("sign-in-again").await;
        find(&browser, "input[name=token]").await.send_keys(TOKEN).await.expect("one can type");
        press(&browser, ENTER).await;
        find(&browser, "#connection[data-state=open]").await;
        if is_first {
            write(&browser, "a picture of it please").await;
            is_first = false;
        }
        find(&browser, "button.approve").await;
        let loaded = "const p = document.querySelector('img.picture'); return p.complete && p.naturalWidth > 0";
        wait_until("the picture to load", BOUND, async || script(&browser, loaded).await == true).await;
        check("signed-in").await;
        let live = find(&browser, "#log[role=log][aria-live=polite]").await;
        wait_until("the history to be over", BOUND, async || {
            live.attr("aria-busy").await.is_ok_and(|busy| busy.as_deref() == Some("false"))
        })
        .await;
        let nameless = "return [...document.querySelectorAll('button, input, textarea')].filter(e => \
            e.checkVisibility() && !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML)";
        assert_eq!(script(&browser, nameless).await, serde_json::json!([]), "{name}");
        assert!(browser.client().find(Locator::Css("h1")).await.is_ok());
    }
}
