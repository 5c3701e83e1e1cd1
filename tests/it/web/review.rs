//! The review page in a real browser: read, answered, and told what became of it.

mod fleet;
mod made;
pub(super) mod samples;

use fantoccini::Locator;
use futures::future::join_all;
use relay_core::id::{RunId, TreeHash};
use system_tests::browser::{Browser, Screen};
use system_tests::console::Console;
use system_tests::otlp::OtlpSink;
use system_tests::process::Process;
use system_tests::stack::{BOUND, Plan, Stack};
use system_tests::wait::{wait_for, wait_until};

use self::made::Made;
use super::page::{find, press, reads, script};
use crate::common::{contents, pushed};

/// Until a diff of 20,000 lines can be read.
const OPENS_MS_MAX: f64 = 1_000.0;
/// What a relay may grow by while all pages of it are asked for at once.
const GROWS_MB_MAX: f64 = 32.0;

/// A diff of the demo agent's that waits for its answer, shown by a review that was made by hand.
pub(super) struct Waiting {
    stack: Stack,
    console: Console,
    run: RunId,
    tree: TreeHash,
}

impl Waiting {
    pub(super) async fn new(made: Made) -> Self {
        Self::over(Plan::default(), made).await
    }

    async fn over(plan: Plan, made: Made) -> Self {
        let stack = Stack::start(plan).await;
        let console = stack.console();
        console.send("add a line to hello.txt", BOUND).await;
        let asked = console.wait_for("*approve* opens", BOUND).await;
        let payload = asked["choice"]["approve"].as_str().expect("a choice").to_owned();
        let [_, run, tree] = payload.split(':').collect::<Vec<_>>()[..] else { panic!("{payload}") };
        let (run, tree) = (RunId::parse(run).expect("a run"), TreeHash::parse(tree).expect("a tree"));
        made.keep(&stack.database(), &run, &tree).await;
        Self { stack, console, run, tree }
    }

    pub(super) fn url(&self) -> String {
        format!("{}{}", self.stack.relay_url(), made::link(&self.run, &self.tree))
    }

    async fn open(&self, screen: Screen) -> Browser {
        let browser = Browser::with(screen).await;
        browser.client().goto(&self.url()).await.expect("the page opens");
        browser
    }
}

/// A picture with one colour.
async fn picture(browser: &Browser, colour: &str) -> Vec<u8> {
    let page = format!(
        "data:text/html,<body style=\"margin:0\"><div id=a style=\"width:96px;height:64px;background:{colour}\">"
    );
    browser.client().goto(&page).await.expect("it opens");
    find(browser, "#a").await.screenshot().await.expect("a picture")
}

#[tokio::test]
async fn a_diff_can_be_read_on_a_phone_and_on_a_desk_by_day_and_by_night() {
    let painter = Browser::start().await;
    let (before, after) = (picture(&painter, "teal").await, picture(&painter, "orange").await);
    drop(painter);
    let waiting = Waiting::new(samples::everything(before, after)).await;
    for screen in [Screen::PHONE, Screen::PHONE.in_the_dark(), Screen::DESK, Screen::DESK.in_the_dark()] {
        let browser = waiting.open(screen).await;
        let name = screen.name();
        let too_wide = script(&browser, "return document.documentElement.scrollWidth > innerWidth").await;
        assert_eq!(too_wide, false, "{name}: something is wider than the screen");
        browser.screenshot(&format!("review-{name}")).await;
        assert_eq!(browser.hindrances().await, Vec::<String>::new(), "{name}");
        // Nothing that a stranger wrote acts, all of it is read.
        let acted = script(&browser, "return window.acted ?? document.querySelectorAll('script').length").await;
        assert_eq!(acted, 1, "{name}: one script, ours");
        let text = find(&browser, "#rows").await.prop("textContent").await.expect("a property").expect("a text");
        for shown in ["<script>window.acted = 1</script>", "^[[31mred", "U+202E", "U+200B", "^@"] {
            assert!(text.contains(shown), "{name}: {shown}: {text}");
        }
        for (number, file) in ["#f0 tr:nth-child(6)", "#f3", "#f6"].into_iter().enumerate() {
            script(&browser, &format!("document.querySelector('{file}').scrollIntoView()")).await;
            let loaded = "return [...document.images].every(image => image.complete && image.naturalWidth > 0 \
                || image.getBoundingClientRect().top > innerHeight + 3000)";
            wait_until("the pictures", BOUND, async || script(&browser, loaded).await == true).await;
            browser.screenshot(&format!("review-{name}-{}", number + 2)).await;
        }
        press(&browser, ".ask summary").await;
        browser.screenshot(&format!("review-{name}-ask")).await;
        assert_eq!(browser.hindrances().await, Vec::<String>::new(), "{name}, with the form open");
        // A file is closed and opened again.
        let height = "return document.querySelector('#f1').offsetHeight";
        let open = script(&browser, height).await.as_f64().expect("a height");
        script(&browser, "document.querySelector('#f1 summary').click()").await;
        assert!(script(&browser, height).await.as_f64().expect("a height") < open / 2.0, "{name}");
    }
}

#[tokio::test]
async fn what_is_approved_on_the_page_is_pushed_and_the_page_says_so() {
    let waiting = Waiting::new(samples::long(20)).await;
    let browser = waiting.open(Screen::PHONE).await;
    press(&browser, "button[value=approve]").await;
    reads(&browser, "Exactly this diff is pushed as branch").await;
    browser.screenshot("review-approved-360").await;
    assert!(browser.client().find(Locator::Css("button[value=approve]")).await.is_err(), "nothing more to be pressed");
    let (_, tree) = pushed(&waiting.stack.origin()).expect("the origin has the branch");
    assert_eq!(tree, waiting.tree.as_str());
    waiting.console.wait_for("is pushed as branch", BOUND).await;
}

#[tokio::test]
async fn what_is_decided_on_the_page_can_not_be_decided_in_the_console_any_more() {
    let waiting = Waiting::new(samples::long(20)).await;
    let browser = waiting.open(Screen::PHONE).await;
    let (client, review) = (browser.client(), browser.client().window().await.expect("a window"));
    let console = client.new_window(true).await.expect("another tab").handle;
    client.switch_to_window(console.clone()).await.expect("it is there");
    client.goto(&format!("{}/console", waiting.stack.relay_url())).await.expect("the console opens");
    find(&browser, "button.approve:enabled").await;
    client.switch_to_window(review).await.expect("it is there");
    press(&browser, "button[value=reject]").await;
    waiting.console.wait_for("is rolled back", BOUND).await;
    client.switch_to_window(console).await.expect("it is there");
    let is_closed = "return document.querySelectorAll('.choice button:disabled:not(.chosen)').length === 2";
    wait_until("the buttons to be closed", BOUND, async || script(&browser, is_closed).await == true).await;
    client.refresh().await.expect("the page reloads");
    reads(&browser, "is rolled back").await;
    assert_eq!(script(&browser, is_closed).await, true, "after a reload too");
}

#[tokio::test]
async fn of_two_tabs_with_different_buttons_one_counts_and_both_are_told() {
    let waiting = Waiting::new(samples::long(20)).await;
    let worktree = waiting.stack.worktree().await;
    let browser = waiting.open(Screen::PHONE).await;
    let client = browser.client();
    let first = client.window().await.expect("a window");
    let second = client.new_window(true).await.expect("another tab").handle;
    client.switch_to_window(second.clone()).await.expect("it is there");
    client.goto(&waiting.url()).await.expect("the page opens");
    find(&browser, "button[value=approve]").await;
    // As a page whose script was not let in: nothing tells it what the other one does.
    script(&browser, "window.fetch = () => new Promise(() => {})").await;
    client.switch_to_window(first).await.expect("it is there");
    press(&browser, "button[value=reject]").await;
    reads(&browser, "Everything was put back as it was").await;
    client.switch_to_window(second).await.expect("it is there");
    press(&browser, "button[value=approve]").await;
    reads(&browser, "This answer was not taken").await;
    reads(&browser, "Everything was put back as it was").await;
    browser.screenshot("review-too-late-360").await;
    assert_eq!(pushed(&waiting.stack.origin()), None);
    assert!(!contents(&worktree).keys().any(|path| path.ends_with("hello.txt")), "it is rolled back");
}

#[tokio::test]
async fn a_page_that_was_overtaken_closes_its_buttons_and_says_why() {
    let waiting = Waiting::new(samples::long(20)).await;
    let browser = waiting.open(Screen::PHONE).await;
    find(&browser, "button[value=approve]:enabled").await;
    waiting.console.press("reject", BOUND).await;
    find(&browser, "button[value=approve]:disabled").await;
    reads(&browser, "Rejected. These buttons do nothing any more.").await;
    assert_eq!(browser.hindrances().await, Vec::<String>::new());
    browser.screenshot("review-overtaken-360").await;
}

#[tokio::test]
async fn a_diff_of_20_000_lines_opens_at_once_and_goes_on_as_one_scrolls() {
    let waiting = Waiting::new(samples::long(20_000)).await;
    let browser = waiting.open(Screen::PHONE).await;
    let opened = "return performance.getEntriesByType('navigation')[0].loadEventEnd";
    let ms = script(&browser, opened).await.as_f64().expect("a time");
    assert!(ms > 0.0 && ms <= OPENS_MS_MAX, "it took {ms} ms");
    let rows = "return document.querySelectorAll('.diff tr').length";
    let first = script(&browser, rows).await.as_u64().expect("a count");
    for _ in 0..3 {
        let before = script(&browser, rows).await.as_u64().expect("a count");
        script(&browser, "scrollTo(0, document.body.scrollHeight)").await;
        wait_until("more rows", BOUND, async || script(&browser, rows).await.as_u64() > Some(before)).await;
    }
    let numbers = "return [...document.querySelectorAll('.diff .new')].map(cell => Number(cell.dataset.n))";
    let shown: Vec<u64> = serde_json::from_value(script(&browser, numbers).await).expect("numbers");
    assert_eq!(shown, (1..=shown.len() as u64).collect::<Vec<_>>(), "no gap and no double");
    assert_eq!(script(&browser, "return document.querySelectorAll('details.file').length").await, 1, "one file so far");
    // Without a script one goes on by the link, to any place.
    browser.client().goto(&format!("{}?row=19950", waiting.url())).await.expect("it opens");
    reads(&browser, "row 19999").await;
    reads(&browser, "continued").await;
    let grown_mb = growth_of_all_pages(&waiting).await;
    report(ms, first, grown_mb);
    assert!(grown_mb <= GROWS_MB_MAX, "the relay has grown by {grown_mb} MB");
}

/// How much more memory the relay takes once all pages have been read, all at the same time.
async fn growth_of_all_pages(waiting: &Waiting) -> f64 {
    let id = waiting.stack.relay.as_ref().and_then(Process::id).expect("the relay is up");
    let resident_mb = || {
        let pages = std::fs::read_to_string(format!("/proc/{id}/statm")).expect("a process");
        let pages: f64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
        pages * 4_096.0 / 1e6
    };
    let (http, url, before) = (reqwest::Client::new(), waiting.url(), resident_mb());
    let read = (0..20_000).step_by(400).map(|row| http.get(format!("{url}?row={row}")).send());
    for answer in join_all(read).await {
        let page = answer.expect("an answer").text().await.expect("a page");
        assert!(page.contains("value_"), "it has rows: {page}");
    }
    resident_mb() - before
}

#[expect(clippy::print_stdout, reason = "the figure is what the test is for")]
fn report(ms: f64, rows: u64, grown_mb: f64) {
    println!(
        "a diff of 20,000 lines can be read after {ms:.0} ms, {rows} rows of it at first; all of its pages at once take {grown_mb:.0} MB"
    );
}

#[tokio::test]
async fn a_link_that_is_not_good_gets_a_page_that_says_so() {
    let waiting = Waiting::new(samples::long(20)).await;
    let browser = waiting.open(Screen::PHONE.in_the_dark()).await;
    let url = waiting.url();
    browser.client().goto(&url.replace("/r/", "/r/x")).await.expect("a page");
    reads(&browser, "This link is not valid").await;
    assert_eq!(browser.hindrances().await, Vec::<String>::new());
    browser.screenshot("review-not-valid-360").await;
}

/// A link is the permission to use it, so it is nothing for a log or a trace, however much is told.
#[tokio::test]
async fn no_link_reaches_a_log_or_a_trace() {
    let sink = OtlpSink::start().await;
    let plan = Plan::default()
        .relay("RUST_LOG", "trace")
        .relay("LOG_FORMAT", "json")
        .relay("OTEL_EXPORTER_OTLP_ENDPOINT", sink.endpoint())
        .relay("OTEL_BSP_SCHEDULE_DELAY", "200");
    let waiting = Waiting::over(plan, samples::long(20)).await;
    let url = waiting.url();
    let signed = url.rsplit('/').next().expect("a link").to_owned();
    let http = reqwest::Client::new();
    let page = http.get(&url).send().await.expect("an answer").text().await.expect("a page");
    let form = page.split("name=\"form\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a form");
    for path in ["/rows?row=0", "/state", "/parts/1", "/parts/x", "?row=x", "x", "/nothing"] {
        http.get(format!("{url}{path}")).send().await.expect("an answer");
    }
    let fields = [("verdict", "approve"), ("tree", waiting.tree.as_str()), ("form", form)];
    let answered = http.post(&url).form(&fields).send().await.expect("an answer");
    assert_eq!(answered.status(), 200, "after the redirection");
    waiting.console.wait_for("is pushed as branch", BOUND).await;
    wait_for("the spans of the requests", BOUND, async || {
        let names: Vec<String> = sink.spans().into_iter().map(|span| span.name).collect();
        let told = ["GET /r/{signed}", "GET /r/{signed}/state", "POST /r/{signed}", "GET none"];
        if told.iter().all(|name| names.iter().any(|seen| seen == name)) { Ok(()) } else { Err(names) }
    })
    .await;
    let told = format!("{} {:?}", waiting.stack.logs(), sink.spans());
    let (payload, mac) = (signed.split('.').next().expect("a payload"), signed.rsplit('.').next().expect("a mac"));
    assert!(!told.contains(payload) && !told.contains(mac) && !told.contains(form), "a link is told: {told}");
}
