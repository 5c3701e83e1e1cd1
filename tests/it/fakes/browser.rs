use axum::response::{Html, IntoResponse};
use fantoccini::Locator;
use system_tests::browser::Browser;
use system_tests::process::descendants_alive;
use system_tests::server::Server;
use system_tests::wait::wait_for;

use super::BOUND;

const PAGE: &str = r#"<!doctype html><meta name="viewport" content="width=device-width"><title>A page</title>
<button onclick="document.title = 'Pressed at ' + innerWidth + ' of ' + screen.width">Press</button>"#;

#[tokio::test]
async fn a_page_is_opened_pressed_and_photographed_at_the_width_of_a_phone() {
    let server = Server::start(|_| async { Html(PAGE).into_response() }).await;
    let browser = Browser::start().await;
    let client = browser.client();
    client.goto(&server.url()).await.expect("the page opens");
    client.find(Locator::Css("button")).await.expect("a button").click().await.expect("it can be pressed");
    assert!(client.title().await.expect("a title").starts_with("Pressed at 360 "), "{:?}", client.title().await);
    let picture = browser.screenshot("harness").await;
    assert!(std::fs::read(picture).expect("the picture").starts_with(b"\x89PNG"));
    let profile = browser.profile().to_str().expect("a temporary path is UTF-8").to_owned();
    assert!(!descendants_alive(&profile).is_empty());
    drop(browser);
    let left = async || Some(descendants_alive(&profile)).filter(|left| !left.is_empty()).map_or(Ok(()), Err);
    wait_for("the browser to be gone", BOUND, left).await;
}
