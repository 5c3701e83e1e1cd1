//! What is done with any page.

use fantoccini::{Locator, elements::Element};
use serde_json::Value;
use system_tests::browser::Browser;
use system_tests::stack::BOUND;
use system_tests::wait::wait_for;

/// The first that there is, as soon as there is one.
pub(crate) async fn find(browser: &Browser, selector: &str) -> Element {
    let wait = browser.client().wait().at_most(BOUND);
    let found = wait.for_element(Locator::Css(selector)).await;
    found.unwrap_or_else(|error| panic!("{selector} is not on the page: {error}"))
}

pub(crate) async fn press(browser: &Browser, selector: &str) {
    find(browser, selector).await.click().await.expect("it can be pressed");
}

/// Follow the link that says so.
pub(crate) async fn follow(browser: &Browser, link: &str) {
    let wait = browser.client().wait().at_most(BOUND);
    let found = wait.for_element(Locator::LinkText(link)).await.unwrap_or_else(|error| panic!("{link}: {error}"));
    found.click().await.expect("it can be followed");
}

/// What can be read on the page, but for its bar.
pub(crate) async fn text(browser: &Browser) -> String {
    find(browser, "main").await.text().await.expect("a text")
}

/// Wait until this can be read.
pub(crate) async fn reads(browser: &Browser, text: &str) {
    wait_for(&format!("the page to show {text:?}"), BOUND, async || {
        let page = find(browser, "main").await.text().await.map_err(|error| error.to_string())?;
        if page.contains(text) { Ok(()) } else { Err(page) }
    })
    .await;
}

pub(crate) async fn script(browser: &Browser, script: &str) -> Value {
    browser.client().execute(script, Vec::new()).await.unwrap_or_else(|error| panic!("{script}: {error}"))
}
