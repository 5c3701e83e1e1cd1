//! People without WhatsApp: invited by a link, let in at one relay, served by the other; and several conversations of one person.

use system_tests::browser::{Browser, Screen};
use system_tests::fleet::{Fleet, FleetPlan, VmKind};
use system_tests::process::binary;
use system_tests::stack::{BOUND, SECRET};
use system_tests::wait::{wait_for, wait_until};
use tokio::process::Command;

use super::page::{find, reads, script};
use crate::browser_loop::write;
use crate::common::pushed;

/// What an operator calls the guest; it must not be found in any log.
const GUEST: &str = "quite-a-guest";

/// `relay admin`, with what the relays know: what it wrote to standard output.
async fn admin(fleet: &Fleet, args: &[&str]) -> String {
    let mut command = Command::new(binary("relay"));
    command.arg("admin").args(args).env_clear().env("STATE_STORE", fleet.redis.url());
    command.env("RELAY_SECRET", SECRET).env("PUBLIC_URL", fleet.edge_url()).kill_on_drop(true);
    let output = tokio::time::timeout(BOUND, command.output()).await.expect("an end in time");
    let output = output.expect("the program starts");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a text")
}

/// The path of a new invitation.
async fn invite(fleet: &Fleet) -> String {
    let link = admin(fleet, &["invite", GUEST]).await;
    link.trim().strip_prefix(&fleet.edge_url()).expect("it is of this deployment").to_owned()
}

async fn go(browser: &Browser, fleet: &Fleet, relay: usize, path: &str) {
    browser.client().goto(&format!("{}{path}", fleet.relay(relay).url())).await.expect("the page opens");
}

async fn connected(browser: &Browser) {
    find(browser, "#connection[data-state=open]").await;
}

async fn says(browser: &Browser, heading: &str) {
    wait_for(&format!("the page to say {heading:?}"), BOUND, async || {
        let told = script(browser, "return document.querySelector('h1')?.textContent ?? ''").await;
        if told == heading { Ok(()) } else { Err(told) }
    })
    .await;
}

async fn click(browser: &Browser, selector: &str) {
    let found = find(browser, selector).await;
    found.click().await.unwrap_or_else(|error| panic!("{selector} can't be pressed: {error}"));
}

async fn is_fit(browser: &Browser, name: &str) {
    browser.screenshot(name).await;
    assert_eq!(script(browser, "return document.documentElement.scrollWidth > innerWidth").await, false, "{name}");
    assert_eq!(browser.hindrances().await, Vec::<String>::new(), "{name}");
}

#[tokio::test]
async fn a_guest_accepts_at_one_relay_is_answered_at_the_other_and_has_conversations_of_their_own() {
    let fleet = Fleet::start(FleetPlan { vm: VmKind::Real, ..FleetPlan::default() }).await;
    let link = invite(&fleet).await;
    let phone = Browser::with(Screen::PHONE).await;
    go(&phone, &fleet, 0, &link).await;
    says(&phone, "You are invited").await;
    is_fit(&phone, "console-invited-360").await;
    click(&phone, "button.primary").await;
    connected(&phone).await;
    write(&phone, "add a line to hello.txt").await;
    find(&phone, "button.approve").await;

    go(&phone, &fleet, 1, "/console").await;
    click(&phone, "button.approve").await;
    reads(&phone, "is pushed as branch").await;
    assert!(pushed(&fleet.folder().join("origin.git")).is_some(), "the approved diff is pushed");

    click(&phone, "#menu").await;
    click(&phone, "#begin").await;
    wait_until("the second conversation", BOUND, async || {
        script(&phone, "return location.search").await == "?conversation=2"
    })
    .await;
    connected(&phone).await;
    find(&phone, "#welcome").await;
    write(&phone, "what <b>else</b> is there?").await;
    reads(&phone, "what <b>else</b> is there?").await;
    go(&phone, &fleet, 0, "/console?conversation=2").await;
    reads(&phone, "what <b>else</b> is there?").await;
    let log = find(&phone, "#log").await.text().await.expect("a text");
    assert!(!log.contains("add a line"), "each has its own history: {log}");
    click(&phone, "#menu").await;
    is_fit(&phone, "console-conversations-360").await;
    click(&phone, "#conversations li:first-child a").await;
    reads(&phone, "is pushed as branch").await;
    let log = find(&phone, "#log").await.text().await.expect("a text");
    assert!(log.contains("add a line") && !log.contains("else"), "{log}");

    // Another browser: the link is used, and a new one leads to the same.
    for screen in [Screen::DESK, Screen::DESK.in_the_dark()] {
        let desk = Browser::with(screen).await;
        go(&desk, &fleet, 1, &link).await;
        says(&desk, "This invitation was accepted").await;
        click(&desk, "button.primary").await;
        says(&desk, "This invitation was used in another browser").await;
        go(&desk, &fleet, 1, &invite(&fleet).await).await;
        click(&desk, "button.primary").await;
        reads(&desk, "is pushed as branch").await;
        click(&desk, "#conversations li:last-child a").await;
        reads(&desk, "what <b>else</b> is there?").await;
        is_fit(&desk, &format!("console-conversations-{}", screen.name())).await;
    }

    assert!(admin(&fleet, &["guests"]).await.contains(GUEST));
    admin(&fleet, &["uninvite", GUEST]).await;
    for relay in 0..fleet.len() {
        go(&phone, &fleet, relay, "/console").await;
        says(&phone, "Your invitation has ended").await;
    }
    is_fit(&phone, "console-uninvited-360").await;
    let erased = admin(&fleet, &["forget", &format!("console:guest/{GUEST}")]).await;
    assert_eq!(erased.matches("is erased").count(), 2, "{erased}");
    assert_eq!(admin(&fleet, &["guests"]).await, "nobody is invited\n");
    go(&phone, &fleet, 0, &invite(&fleet).await).await;
    click(&phone, "button.primary").await;
    connected(&phone).await;
    let listed = script(&phone, "return document.querySelector('#conversations ul').textContent").await;
    assert_eq!(listed, "New conversation", "nothing is left of what was erased");
    let logs = fleet.logs();
    assert!(!logs.contains(GUEST) && !logs.contains(link.rsplit('/').next().expect("a link")), "{logs}");
}
