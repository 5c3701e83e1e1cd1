//! The page of a run in a real browser: opened from the chat while the run goes on, and from whichever relay.

mod made;

use std::time::Duration;

use fantoccini::Locator;
use serde_json::{Value, json};
use system_tests::browser::{Browser, Screen};
use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::links;
use system_tests::stack::{BOUND, Plan, Stack};
use system_tests::wait::{wait_for, wait_until};

use self::made::Made;

/// A dead relay's lease, and a machine that is busy with a build.
const RECOVERY: Duration = Duration::from_secs(60);
/// Written into a text, it would be seen if it ever ran.
const EVIL: &str = "<img src=x onerror=\"window.acted=1\"><script>window.acted=1</script>";

async fn script(browser: &Browser, script: &str) -> Value {
    browser.client().execute(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
}

async fn text(browser: &Browser, selector: &str) -> Result<String, String> {
    let found = browser.client().find(Locator::Css(selector)).await.map_err(|error| error.to_string())?;
    found.text().await.map_err(|error| error.to_string())
}

async fn reads(browser: &Browser, selector: &str, expected: &str, bound: Duration) {
    wait_for(&format!("{selector} to show {expected:?}"), bound, async || {
        let shown = text(browser, selector).await?;
        if shown.contains(expected) { Ok(()) } else { Err(shown) }
    })
    .await;
}

/// The places of the entries on the page, in the order in which they stand there.
async fn places(browser: &Browser) -> Vec<u64> {
    let places = "return [...document.querySelectorAll('#rows > li')].map(row => Number(row.dataset.cursor))";
    serde_json::from_value(script(browser, places).await).expect("numbers")
}

async fn open(url: &str, screen: Screen) -> Browser {
    let browser = Browser::with(screen).await;
    browser.client().goto(url).await.expect("the page opens");
    browser
}

/// Whatever is written, nothing of it acts, and nothing is wider than the screen.
async fn is_tame(browser: &Browser) {
    let acted = "return window.acted ?? [...document.scripts].filter(script => !script.src).length";
    assert_eq!(script(browser, acted).await, 0, "nothing that was written acts");
    let too_wide = "return document.documentElement.scrollWidth > innerWidth";
    assert_eq!(script(browser, too_wide).await, false, "something is wider than the screen");
    assert_eq!(browser.hindrances().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_run_is_looked_at_from_the_chat_and_goes_on_at_another_relay() {
    let mut fleet = Fleet::prepare(FleetPlan::default()).await;
    // Whoever asks now is served by the one relay there is.
    fleet.start_relay(0).await;
    let someone = person(0);
    assert_eq!(fleet.write(&someone, "SM1", "long work").await, Some(200));
    let told = fleet.reads(&someone, "Working on it", BOUND).await;
    let url = told.body.lines().find_map(|line| line.strip_prefix("Follow it: ")).expect("where to look on").to_owned();
    assert!(url.starts_with(&format!("{}/runs/", fleet.edge_url())), "{url}");
    let browser = open(&url, Screen::PHONE).await;
    reads(&browser, "#standing", "At work", BOUND).await;
    reads(&browser, "#live", "live", BOUND).await;
    reads(&browser, "h1", "long work", BOUND).await;
    fleet.start_relay(1).await;
    assert_eq!(fleet.write(&someone, "SM2", EVIL).await, Some(200));
    reads(&browser, "#rows", "onerror", BOUND).await;
    browser.screenshot("run-going-on-360").await;

    fleet.kill(0).await;
    assert_eq!(fleet.write_via(1, &someone, "SM3", "status").await, Some(200));
    reads(&browser, "#rows", "is at work", RECOVERY).await;
    let again = fleet.reads(&someone, "is at work", RECOVERY).await;
    assert!(again.body.contains("Follow it: "), "{}", again.body);
    reads(&browser, "#live", "live", RECOVERY).await;
    assert_eq!(fleet.write_via(1, &someone, "SM4", "cancel").await, Some(200));
    reads(&browser, "#standing", "Cancelled", RECOVERY).await;
    reads(&browser, "#live", "the run is over", RECOVERY).await;
    browser.screenshot("run-cancelled-360").await;
    is_tame(&browser).await;

    let all: Value = reqwest::get(&url).await.expect("an answer").json().await.expect("JSON");
    let entries = all["entries"].as_array().expect("a list").iter();
    let expected: Vec<u64> = entries.filter_map(|entry| entry["cursor"].as_u64()).collect();
    assert_eq!(places(&browser).await, expected, "no gap and no double");
    // Loaded again, it shows the same.
    browser.client().goto(&url).await.expect("the page opens");
    assert_eq!((places(&browser).await, &all["over"]), (expected, &json!(true)));
    reads(&browser, "#standing", "Cancelled", BOUND).await;
}

#[tokio::test]
async fn at_the_console_the_address_can_be_pressed() {
    let stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    console.send("add a line to hello.txt", BOUND).await;
    console.wait_for("*approve* opens", BOUND).await;
    let browser = open(&format!("{}/console", stack.relay_url()), Screen::DESK).await;
    let link = Locator::Css("#log a[href*=\"/runs/\"]");
    let link = browser.client().wait().at_most(BOUND).for_element(link).await.expect("a link");
    let address = link.prop("href").await.expect("a property").expect("an address");
    browser.client().goto(&address).await.expect("the page opens");
    reads(&browser, "#standing", "A diff waits for a decision", BOUND).await;
    reads(&browser, "#rows", "made a diff: 1 file", BOUND).await;
    console.press("reject", BOUND).await;
    reads(&browser, "#standing", "Rolled back", BOUND).await;
    is_tame(&browser).await;
    browser.screenshot("run-rolled-back-1280").await;
}

/// A stack with a run that was made by hand.
struct Shown {
    url: String,
    _stack: Stack,
}

impl Shown {
    async fn of(made: Made) -> Self {
        let (name, value) = links::setting();
        let stack = Stack::start(Plan::default().relay(name, value)).await;
        let run = made.keep(&stack.database()).await;
        Self { url: links::run_url(&stack.relay_url(), run.as_str()), _stack: stack }
    }
}

#[tokio::test]
async fn every_kind_of_entry_reads_well_on_a_phone_and_on_a_desk_by_day_and_by_night() {
    let painter =
        open("data:text/html,<body style='background:teal;color:white;font:40px sans-serif'>Hello", Screen::DESK).await;
    let picture = painter.client().screenshot().await.expect("a picture");
    drop(painter);
    let shown = Shown::of(made::everything(picture, EVIL)).await;
    for screen in [Screen::PHONE, Screen::PHONE.in_the_dark(), Screen::DESK, Screen::DESK.in_the_dark()] {
        let name = screen.name();
        let browser = open(&shown.url, screen).await;
        reads(&browser, "#standing", "A pull request is open", BOUND).await;
        for (number, place) in ["main", "figure", ".asks", ".ended"].into_iter().enumerate() {
            script(&browser, &format!("document.querySelector('{place}').scrollIntoView({{ block: 'center' }})")).await;
            let loaded = "return [...document.images].every(image => image.complete && image.naturalWidth > 0 \
                || image.getBoundingClientRect().top > innerHeight + 3000)";
            wait_until("the pictures", BOUND, async || script(&browser, loaded).await == true).await;
            if number == 0 {
                script(&browser, "scrollTo(0, 0)").await;
            }
            browser.screenshot(&format!("run-{name}-{}", number + 1)).await;
        }
        is_tame(&browser).await;
        reads(&browser, "#rows", "onerror", BOUND).await;
        let hidden = text(&browser, "#rows").await.expect("the rows");
        assert!(hidden.contains("U+202E") && hidden.contains("^[[31m"), "{hidden}");
        reads(&browser, "#rows", "This picture is no longer kept.", BOUND).await;
        let links = "return [...document.querySelectorAll('main a')].map(link => link.protocol)";
        let links = script(&browser, links).await;
        assert!(links.as_array().expect("a list").iter().all(|link| link == "http:" || link == "https:"), "{links}");
    }
}

#[tokio::test]
async fn without_a_script_a_run_reads_well_and_can_be_loaded_again() {
    let shown = Shown::of(made::going_on(20)).await;
    let browser = Browser::with(Screen::PHONE).await;
    let off = json!({ "value": true });
    browser.devtools("Emulation.setScriptExecutionDisabled", off).await.expect("Chromium takes it");
    browser.client().goto(&shown.url).await.expect("the page opens");
    reads(&browser, "#standing", "At work", BOUND).await;
    reads(&browser, "#rows", "Step 20", BOUND).await;
    reads(&browser, "#rows", " UTC", BOUND).await;
    reads(&browser, "#live", "This is how it was when the page was loaded.", BOUND).await;
    browser.screenshot("run-no-script-360").await;
    let again = browser.client().find(Locator::Css("#live a")).await.expect("a link");
    let again = again.prop("href").await.expect("a property").expect("an address");
    assert!(again.starts_with(&shown.url), "{again}");
    browser.client().goto(&format!("{again}#live")).await.expect("it opens");
    reads(&browser, "#rows", "Step 20", BOUND).await;
    browser.screenshot("run-no-script-360-end").await;
}

#[tokio::test]
async fn a_long_run_stays_usable_and_what_came_before_is_found() {
    let shown = Shown::of(made::going_on(950)).await;
    let browser = open(&shown.url, Screen::PHONE).await;
    reads(&browser, "#live", "live", BOUND).await;
    let bytes = "return performance.getEntries().reduce((sum, entry) => sum + (entry.transferSize ?? 0), 0)";
    let bytes = script(&browser, bytes).await.as_u64().expect("a count");
    assert!((1_000..=60_000).contains(&bytes), "{bytes} bytes");
    let latest = places(&browser).await;
    assert!(latest.len() <= 200 && latest.last() == Some(&951), "{latest:?}");
    // Whoever opens it sees what is going on.
    let at_end = "return document.scrollingElement.scrollHeight - scrollY - innerHeight < 48";
    wait_until("the end to be in view", BOUND, async || script(&browser, at_end).await == true).await;
    browser.screenshot("run-long-360").await;
    let (mut seen, mut pages) = (latest, 1);
    while let Ok(earlier) = browser.client().find(Locator::Css("#earlier:not([hidden])")).await {
        let address = earlier.prop("href").await.expect("a property").expect("an address");
        browser.client().goto(&address).await.expect("it opens");
        reads(&browser, "nav", "Latest", BOUND).await;
        seen.splice(0..0, places(&browser).await);
        pages += 1;
    }
    assert_eq!(seen, (1..=951).collect::<Vec<u64>>(), "no gap and no double in {pages} pages");
    assert!(pages > 3);
    is_tame(&browser).await;
}

#[tokio::test]
async fn a_link_that_is_not_good_gets_a_page_that_says_so() {
    let shown = Shown::of(made::going_on(1)).await;
    let browser = open(&format!("{}x", shown.url), Screen::PHONE.in_the_dark()).await;
    reads(&browser, "main", "This link is not valid", BOUND).await;
    is_tame(&browser).await;
    browser.screenshot("run-not-valid-360").await;
}
