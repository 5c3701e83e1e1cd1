//! Somebody whose browser runs no script: Chromium shows the pages, and what a form sends is what stands in it.
//!
//! Chromium's driver waits for ever after a click where no script runs, so that a link is opened by its address, and a form is sent as
//! a browser sends it: its fields, and the button that was pressed.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::{LOCATION, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use system_tests::browser::{Browser, Screen};
use system_tests::stack::BOUND;
use system_tests::wait::wait_for;
use tokio::time::timeout;
use url::Url;

/// For one answer, of the browser or of the relay.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Reader {
    browser: Browser,
    http: Client,
    cookie: Option<String>,
}

impl Reader {
    pub(super) async fn opens(url: &str) -> Self {
        let browser = Browser::with(Screen::PHONE).await;
        let http = Client::builder().redirect(Policy::none()).timeout(ANSWER_TIMEOUT).build().expect("a client");
        let reader = Self { browser, http, cookie: None };
        reader.ask("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
        reader.open(url).await;
        reader
    }

    async fn ask(&self, command: &'static str, parameters: Value) -> Value {
        match timeout(ANSWER_TIMEOUT, self.browser.devtools(command, parameters)).await {
            Ok(answer) => answer.unwrap_or_else(|error| panic!("{command}: {error}")),
            Err(_) => panic!("{command}: no answer"),
        }
    }

    pub(super) async fn open(&self, url: &str) {
        match timeout(ANSWER_TIMEOUT, self.browser.client().goto(url)).await {
            Ok(opened) => opened.expect("the page opens"),
            Err(_) => panic!("{url} does not open"),
        }
    }

    /// What is drawn of the page, word by word: nothing that is hidden or closed.
    pub(super) async fn shown(&self) -> String {
        let drawn = self.ask("DOMSnapshot.captureSnapshot", json!({ "computedStyles": [] })).await;
        let texts = drawn["documents"][0]["layout"]["text"].as_array().expect("a list").iter();
        let texts = texts.filter_map(|at| drawn["strings"][usize::try_from(at.as_i64()?).ok()?].as_str());
        texts.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    }

    pub(super) async fn reads(&self, expected: &str) {
        let shown = self.shown().await;
        assert!(shown.contains(expected), "{expected:?} is not shown: {shown}");
    }

    /// Follow this link, if it is there, until the page shows this.
    pub(super) async fn comes_to_read(&self, expected: &str, link: &str) {
        wait_for(&format!("the page to show {expected:?}"), BOUND, async || {
            let shown = self.shown().await;
            if shown.contains(expected) {
                return Ok(());
            }
            self.follow(link).await;
            Err(shown)
        })
        .await;
    }

    pub(super) async fn look(&self, name: &str) {
        timeout(ANSWER_TIMEOUT, self.browser.screenshot(name)).await.expect("a picture");
    }

    /// The page as Chromium has read it.
    async fn page(&self) -> Value {
        self.ask("DOM.getDocument", json!({ "depth": -1 })).await["root"].clone()
    }

    /// Whether there is a link that says so.
    pub(super) async fn has_link(&self, says: &str) -> bool {
        link(&self.page().await, says).is_some()
    }

    pub(super) async fn has_button(&self, says: &str) -> bool {
        form(&self.page().await, says).is_some()
    }

    pub(super) async fn follow(&self, says: &str) {
        let page = self.page().await;
        let Some(link) = link(&page, says) else { panic!("no link says {says:?}: {}", self.shown().await) };
        self.open(address(&page, attribute(link, "href").unwrap_or_default()).as_str()).await;
    }

    /// Press the button that says so, once this is typed into the fields of its form; and see where that leads.
    pub(super) async fn press(&mut self, says: &str, typed: &[(&str, &str)]) {
        let page = self.page().await;
        let Some(form) = form(&page, says) else { panic!("no button says {says:?}: {}", self.shown().await) };
        let action = address(&page, attribute(form, "action").unwrap_or_default());
        assert_eq!(attribute(form, "method"), Some("post"), "{says}");
        let is_sent = |node: &&Value| match name_of(node) {
            "INPUT" | "TEXTAREA" => true,
            "BUTTON" => text_of(node) == says,
            _ => false,
        };
        let fields = all(form).into_iter().filter(is_sent);
        let fields =
            fields.filter_map(|node| Some((attribute(node, "name")?, attribute(node, "value").unwrap_or_default())));
        let filled = |name| typed.iter().find(|(field, _)| *field == name).map(|(_, text)| *text);
        let fields: Vec<_> = fields.map(|(name, value)| (name, filled(name).unwrap_or(value))).collect();

        let mut request = self.http.post(action.clone()).header(ORIGIN, action.origin().ascii_serialization());
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        let answer = request.form(&fields).send().await.expect("the relay answers");
        assert_eq!(answer.status(), 303, "{says}");
        if let Some(cookie) = answer.headers().get(SET_COOKIE) {
            let cookie = cookie.to_str().expect("a text").split(';').next().expect("a pair");
            let (name, value) = cookie.split_once('=').expect("a pair");
            self.ask("Network.setCookie", json!({ "name": name, "value": value, "url": action.as_str() })).await;
            self.cookie = Some(cookie.to_owned());
        }
        let location = answer.headers()[LOCATION].to_str().expect("a text");
        self.open(action.join(location).expect("an address").as_str()).await;
    }
}

/// Where `written` leads from this page.
fn address(page: &Value, written: &str) -> Url {
    let here = Url::parse(page["documentURL"].as_str().expect("an address")).expect("an address");
    here.join(written).expect("an address")
}

/// This node and everything in it, in the order of the page.
fn all(node: &Value) -> Vec<&Value> {
    let mut found = vec![node];
    found.extend(node["children"].as_array().into_iter().flatten().flat_map(all));
    found
}

fn name_of(node: &Value) -> &str {
    node["nodeName"].as_str().unwrap_or_default()
}

fn text_of(node: &Value) -> String {
    let texts = all(node).into_iter().filter(|node| name_of(node) == "#text");
    texts.filter_map(|node| node["nodeValue"].as_str()).collect::<String>().trim().to_owned()
}

fn attribute<'a>(node: &'a Value, name: &str) -> Option<&'a str> {
    let attributes = node["attributes"].as_array()?;
    attributes.chunks_exact(2).find(|pair| pair[0] == name).and_then(|pair| pair[1].as_str())
}

fn link<'a>(page: &'a Value, says: &str) -> Option<&'a Value> {
    all(page).into_iter().find(|node| name_of(node) == "A" && text_of(node).contains(says))
}

/// The form with the button that says so.
fn form<'a>(page: &'a Value, says: &str) -> Option<&'a Value> {
    let has_it = |form: &&Value| all(form).into_iter().any(|node| name_of(node) == "BUTTON" && text_of(node) == says);
    all(page).into_iter().filter(|node| name_of(node) == "FORM").find(has_it)
}
