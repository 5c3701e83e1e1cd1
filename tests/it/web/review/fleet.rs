//! From the chat to the page and back, over two relays.

use fantoccini::Locator;
use system_tests::browser::{Browser, Screen};
use system_tests::fleet::{Fleet, FleetPlan, VmKind, person};

use crate::common::pushed;
use crate::web::page::{find, press, reads};

/// The path of the page in a message.
fn page_of(message: &str) -> String {
    let address = message.split_whitespace().find(|word| word.contains("/r/")).expect("the message has a link");
    address.split("/r/").nth(1).map(|signed| format!("/r/{signed}")).expect("a link")
}

#[tokio::test]
async fn a_diff_from_the_chat_is_approved_on_a_phone_at_another_relay_and_exactly_that_is_published() {
    approved_at_another_relay(Screen::PHONE).await;
}

#[tokio::test]
async fn a_diff_from_the_chat_is_approved_on_a_desk_at_another_relay_and_exactly_that_is_published() {
    approved_at_another_relay(Screen::DESK).await;
}

async fn approved_at_another_relay(screen: Screen) {
    let mut fleet = Fleet::start(FleetPlan { vm: VmKind::Real, ..FleetPlan::default() }).await;
    let someone = person(0);
    assert_eq!(fleet.write_via(0, &someone, "SM1", "add a line to hello.txt").await, Some(200));
    let asked = fleet.reads(&someone, "/r/", super::BOUND).await;
    fleet.kill(0).await;
    let url = format!("{}{}", fleet.relay(1).url(), page_of(&asked.body));
    let browser = Browser::with(screen).await;
    browser.client().goto(&url).await.expect("the page opens");
    reads(&browser, "hello.txt").await;
    let tree = find(&browser, "input[name=tree]").await.prop("value").await.expect("a property").expect("a tree");
    browser.screenshot(&format!("review-of-the-demo-{}", screen.name())).await;
    press(&browser, "button[value=approve]").await;
    reads(&browser, "Exactly this diff is pushed as branch").await;
    let (_, published) = pushed(&fleet.folder().join("origin.git")).expect("the origin has the branch");
    assert_eq!(published, tree);
    fleet.reads(&someone, "is pushed as branch", super::BOUND).await;
}

#[tokio::test]
async fn what_is_asked_for_on_the_page_goes_to_the_agent_and_comes_back_with_a_link_of_its_own() {
    let fleet = Fleet::start(FleetPlan { vm: VmKind::Real, ..FleetPlan::default() }).await;
    let someone = person(0);
    assert_eq!(fleet.write_via(0, &someone, "SM1", "add a line to hello.txt").await, Some(200));
    let asked = fleet.reads(&someone, "/r/", super::BOUND).await;
    let first = page_of(&asked.body);
    let browser = Browser::with(Screen::PHONE).await;
    browser.client().goto(&format!("{}{first}", fleet.relay(1).url())).await.expect("the page opens");
    press(&browser, ".ask summary").await;
    find(&browser, "textarea").await.send_keys("and a line to other.txt").await.expect("one can write");
    press(&browser, "button[value=changes]").await;
    reads(&browser, "at work on what you asked for").await;
    browser.screenshot("review-revising-360").await;
    let second = system_tests::wait::wait_for("a diff with another link", super::BOUND, async || {
        let links: Vec<String> = fleet
            .read(&someone)
            .iter()
            .filter(|sent| sent.body.contains("/r/"))
            .map(|sent| page_of(&sent.body))
            .collect();
        links.iter().find(|link| **link != first).cloned().ok_or(links)
    })
    .await;
    browser.client().goto(&format!("{}{second}", fleet.relay(0).url())).await.expect("the page opens");
    reads(&browser, "other.txt").await;
    reads(&browser, "hello.txt").await;
    assert!(browser.client().find(Locator::Css("button[value=approve]")).await.is_ok(), "it waits for an answer");
}
