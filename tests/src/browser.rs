//! A real browser, headless Chromium, driven through WebDriver, with the screen of a phone or of a desk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Method;
use fantoccini::error::CmdError;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use url::{ParseError, Url};

use crate::peers::axe;
use crate::pictures::{check_documented, screenshot_path};
use crate::process::{Process, kill_descendants};
use crate::stack::free_address;

/// Debian's package `chromium-driver`, which brings `chromium` with it.
const CHROMEDRIVER: &str = "/usr/bin/chromedriver";
const CHROMIUM: &str = "/usr/bin/chromium";
/// What draws pictures has the same fonts everywhere.
pub const FONTS: (&str, &str) = ("FONTCONFIG_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/fonts.conf"));

/// Chromium starts in a second or two; this is for a machine that is busy with a build.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What a page is looked at on.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Whether pages are asked to be dark.
    pub dark: bool,
}

impl Screen {
    /// A phone, held upright.
    pub const PHONE: Self = Self { width: 360, height: 740, dark: false };
    /// A desk.
    pub const DESK: Self = Self { width: 1280, height: 800, dark: false };

    /// The same in the dark.
    #[must_use]
    pub fn in_the_dark(self) -> Self {
        Self { dark: true, ..self }
    }

    /// For the names of pictures: `360-dark`.
    pub fn name(self) -> String {
        format!("{}-{}", self.width, if self.dark { "dark" } else { "light" })
    }
}

/// A browser with one window and a profile of its own; gone with everything it started when dropped.
#[derive(Debug)]
pub struct Browser {
    client: Client,
    profile: TempDir,
    _driver: Process,
}

impl Browser {
    /// Start one with a screen of 360 × 800 CSS pixels.
    pub async fn start() -> Self {
        Self::with(Screen { height: 800, ..Screen::PHONE }).await
    }

    /// Start one with this screen.
    ///
    /// # Panics
    /// When Chromium or its driver is missing or does not start.
    pub async fn with(screen: Screen) -> Self {
        for program in [CHROMEDRIVER, CHROMIUM] {
            assert!(Path::new(program).exists(), "{program} is missing: run ./dev test, which installs chromium");
        }
        let profile = tempfile::Builder::new().prefix("textslash-browser-").tempdir().expect("a temporary directory");
        let home = profile.path().to_str().expect("a temporary path is UTF-8");
        let vars = [("PATH", "/usr/bin:/bin"), ("HOME", home), ("TMPDIR", home), FONTS];
        // A port that it chooses by itself may be free for IPv6 alone; then it ends.
        let port = free_address().port();
        let mut driver = Process::start(Path::new(CHROMEDRIVER), &[&format!("--port={port}")], &vars);
        driver.wait_for_line("started successfully on port ", START_TIMEOUT).await;
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities(home, screen))
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap_or_else(|error| panic!("no browser session: {error}\n{}", driver.lines().join("\n")));
        Self { client, profile, _driver: driver }
    }

    /// The WebDriver client: open pages, find elements, click, type.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The directory of its profile, which all its processes carry in their command line or environment.
    pub fn profile(&self) -> &Path {
        self.profile.path()
    }

    /// Ask Chromium itself, by its DevTools protocol, as chromedriver passes it on.
    ///
    /// # Errors
    /// When it says no.
    pub async fn devtools(&self, command: &'static str, parameters: Value) -> Result<Value, CmdError> {
        self.client.issue_cmd(DevTools { command, parameters }).await
    }

    /// What axe-core finds in the page that is a hindrance to people: one line for each rule that is broken, seriously or worse.
    ///
    /// # Panics
    /// When it can't be run.
    pub async fn hindrances(&self) -> Vec<String> {
        self.client.execute(&axe(), Vec::new()).await.expect("axe-core is a script");
        let run = "const done = arguments[arguments.length - 1]; axe.run(document, { resultTypes: ['violations'] }).then(done)";
        let found = self.client.execute_async(run, Vec::new()).await.expect("axe-core runs");
        let violations = found["violations"].as_array().expect("a list").iter();
        let grave = violations.filter(|found| matches!(found["impact"].as_str(), Some("serious" | "critical")));
        grave.map(|found| format!("{}: {}: {}", found["id"], found["help"], found["nodes"])).collect()
    }

    /// Put what the window shows into `target/screenshots/NAME.png`, for a person to look at.
    ///
    /// # Panics
    /// When the picture cannot be taken or written, or is not like the one that the documents show.
    pub async fn screenshot(&self, name: &str) -> PathBuf {
        let picture = self.client.screenshot().await.expect("the window can be photographed");
        let path = screenshot_path(name);
        std::fs::write(&path, picture).expect("target can be written");
        check_documented(name);
        path
    }
}

#[derive(Debug)]
struct DevTools {
    command: &'static str,
    parameters: Value,
}

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base_url: &Url, session_id: Option<&str>) -> Result<Url, ParseError> {
        base_url.join(&format!("session/{}/goog/cdp/execute", session_id.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "cmd": self.command, "params": self.parameters }).to_string()))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Chromium outlives a killed driver, and is known by its profile directory.
        kill_descendants(&self.profile.path().to_string_lossy());
    }
}

fn capabilities(home: &str, screen: Screen) -> serde_json::Map<String, Value> {
    let Screen { width, height, dark } = screen;
    let profile = format!("--user-data-dir={home}/profile");
    let size = format!("--window-size={width},{height}");
    let colours = format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 });
    let args = json!([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        size,
        colours,
        profile,
    ]);
    // A desktop window cannot be narrower than some 500 pixels; a phone's screen can.
    let screen = json!({"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0}});
    let options = json!({"binary": CHROMIUM, "args": args, "mobileEmulation": screen});
    [("browserName".to_owned(), json!("chrome")), ("goog:chromeOptions".to_owned(), options)].into_iter().collect()
}
