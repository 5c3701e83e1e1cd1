//! The whole loop in a real browser, with the demo agent: approve, reject, cancel.

use system_tests::browser::Browser;
use system_tests::fake_anthropic::FakeAnthropic;
use system_tests::stack::{BOUND, Plan, Stack};
use system_tests::wait::{wait_for, wait_until};

use crate::claude::with_claude;
use crate::common::{contents, no_process_left, processes_of_runs, pushed, shown_tree};
use crate::web::page::find;

pub(crate) async fn open(stack: &Stack) -> Browser {
    let browser = Browser::start().await;
    browser.client().goto(&format!("{}/console", stack.relay_url())).await.expect("the page opens");
    find(&browser, "#connection[data-state=open]").await;
    browser
}

pub(crate) async fn write(browser: &Browser, text: &str) {
    find(browser, "#composer").await.send_keys(text).await.expect("one can type");
    find(browser, "#send").await.click().await.expect("one can send");
}

async fn page_text(browser: &Browser) -> String {
    find(browser, "#log").await.text().await.expect("the log has text")
}

pub(crate) async fn reads(browser: &Browser, text: &str) {
    wait_for(&format!("the page to show {text:?}"), BOUND, async || {
        let page = page_text(browser).await;
        if page.contains(text) { Ok(()) } else { Err(page) }
    })
    .await;
}

#[tokio::test]
async fn a_task_typed_into_the_console_becomes_a_branch_with_exactly_the_shown_tree() {
    let stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    let browser = open(&stack).await;
    write(&browser, "please add a line to docs/hello.txt").await;
    reads(&browser, "demo agent").await;
    let added = find(&browser, ".diff .line.add").await.text().await.expect("a line has text");
    assert!(added.contains("please add a line"), "the diff is coloured line by line: {added}");
    // The link is another one every time, and would take more lines or fewer; steps come one by one or several together.
    let alike = "document.querySelector('#log a[href*=\"/r/\"]').textContent = 'https://relay.example.com/r/…'; \
        document.querySelectorAll('#log .steps').forEach(steps => steps.remove())";
    browser.client().execute(alike, Vec::new()).await.expect("a script runs");
    browser.screenshot("console-diff-360").await;
    let too_wide = "return document.documentElement.scrollWidth > document.documentElement.clientWidth";
    let too_wide = browser.client().execute(too_wide, Vec::new()).await.expect("a script runs");
    assert_eq!(too_wide, false, "nothing is wider than a phone");

    find(&browser, "button.approve").await.click().await.expect("one can approve");
    reads(&browser, "is pushed as branch").await;
    let (branch, tree) = pushed(&stack.origin()).expect("the origin has the branch");
    assert_eq!(tree, shown_tree(&console.entries()));
    assert!(page_text(&browser).await.contains(&branch));
    browser.screenshot("console-approved-360").await;
}

#[tokio::test]
async fn a_picture_reaches_the_page_and_a_reload_shows_everything_again() {
    let stack = Stack::start(Plan::default()).await;
    let browser = open(&stack).await;
    write(&browser, "a picture of it please").await;
    find(&browser, "img.picture").await;
    let loaded = "const p = document.querySelector('img.picture'); return p.complete && p.naturalWidth > 0";
    wait_until("the picture to load", BOUND, async || {
        browser.client().execute(loaded, Vec::new()).await.is_ok_and(|loaded| loaded == true)
    })
    .await;
    find(&browser, "button.approve").await;
    browser.client().refresh().await.expect("the page reloads");
    reads(&browser, "a picture of it please").await;
    find(&browser, "img.picture").await;
    find(&browser, "button.approve").await;
}

#[tokio::test]
async fn a_rejected_run_leaves_the_worktree_byte_for_byte_as_it_was() {
    let stack = Stack::start(Plan::default()).await;
    let browser = open(&stack).await;
    let worktree = stack.worktree().await;
    // Files that git does not track, and one that it ignores, were there before the run.
    std::fs::write(worktree.join("notes-of-mine.txt"), "mine\n").expect("a file is written");
    std::fs::write(worktree.join("local.log"), "ignored\n").expect("a file is written");
    std::fs::create_dir(worktree.join("empty")).expect("a folder is made");
    let before = contents(&worktree);
    write(&browser, "change README.md and whatever else").await;
    find(&browser, "button.reject").await;
    assert_ne!(contents(&worktree), before, "the run has changed something");
    find(&browser, "button.reject").await.click().await.expect("one can reject");
    reads(&browser, "is rolled back").await;
    assert_eq!(contents(&worktree), before);
    assert_eq!(pushed(&stack.origin()), None);
}

#[tokio::test]
async fn a_cancelled_run_leaves_no_process_and_no_change() {
    let stack = Stack::start(Plan::default()).await;
    let browser = open(&stack).await;
    let worktree = stack.worktree().await;
    let before = contents(&worktree);
    write(&browser, "something slow").await;
    wait_for("the run's processes", BOUND, async || {
        let alive = processes_of_runs(&stack);
        if alive.len() >= 2 { Ok(()) } else { Err(alive) }
    })
    .await;
    reads(&browser, "Working slowly").await;
    find(&browser, "#cancel").await.click().await.expect("one can cancel");
    reads(&browser, "is stopped").await;
    let alive = processes_of_runs(&stack);
    assert_eq!(alive, Vec::<String>::new(), "confirmed only when nothing is left");
    no_process_left(&stack).await;
    assert_eq!(contents(&worktree), before);
}

/// Without a mouse: the buttons are reached from the composer, and pressed with Enter.
#[tokio::test]
async fn what_the_agent_asks_has_buttons_and_the_keyboard_reaches_them() {
    let api = FakeAnthropic::start().await;
    let stack = Stack::start(with_claude(&api)).await;
    let browser = open(&stack).await;
    write(&browser, "SCENARIO:ask please").await;
    find(&browser, ".choice button.option").await;
    browser.screenshot("console-question-360").await;
    let composer = find(&browser, "#composer").await;
    let focused = async || browser.client().active_element().await.expect("something has the focus");
    composer.click().await.expect("one can write");
    let mut reached = false;
    for _ in 0..30 {
        focused().await.send_keys("\u{e008}\u{e004}").await.expect("one can press Shift and Tab");
        reached = focused().await.text().await.is_ok_and(|text| text == "Blue");
        if reached {
            break;
        }
    }
    assert!(reached, "the keyboard does not get to the button");
    focused().await.send_keys("\u{e007}").await.expect("one can press Enter");
    reads(&browser, "Thank you for the answer.").await;
    let last = api.messages().pop().expect("the API was asked");
    assert!(last.mentions("answered: \\\"Which colour?\\\"=\\\"Blue\\\""), "{}", String::from_utf8_lossy(&last.body));
    let chosen = find(&browser, ".choice button.chosen").await;
    assert_eq!(chosen.text().await.expect("a label"), "Blue");
    assert_eq!(chosen.attr("disabled").await.expect("an answer").as_deref(), Some("true"));
    browser.screenshot("console-question-answered-360").await;
}
