//! Looks at pages, by Chromium without a window. It stays for a while after a look, because an agent that looks once looks again
//! soon; each look is of a browser that knows nothing of the one before.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chromiumoxide::browser::{Browser, BrowserConfig};
use chromiumoxide::cdp::browser_protocol::browser::BrowserContextId;
use chromiumoxide::cdp::browser_protocol::emulation::{SetDeviceMetricsOverrideParams, SetTouchEmulationEnabledParams};
use chromiumoxide::cdp::browser_protocol::page::{CaptureScreenshotFormat, GetLayoutMetricsParams};
use chromiumoxide::cdp::browser_protocol::target::{CreateBrowserContextParams, CreateTargetParams};
use chromiumoxide::error::CdpError;
use chromiumoxide::page::{Page, ScreenshotParams};
use futures::StreamExt;
use relay_core::protocol::IMAGE_BYTES_MAX;
use rmcp::schemars;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

use crate::files;
use crate::images::ImageKind;

/// For a look, once the browser is there.
const TIMEOUT: Duration = Duration::from_secs(45);
/// After its last look the browser stays for so long.
const STAY: Duration = Duration::from_secs(60);
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(20);
/// What has to be there first is waited for so long.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
const WAIT_POLL: Duration = Duration::from_millis(100);
/// CSS pixels of a side of the screen.
const SIDE: std::ops::RangeInclusive<u32> = 100..=4_000;
/// Of a whole page, what lies further down is left out: no phone shows it, and no channel takes it.
const PAGE_HEIGHT_MAX: f64 = 12_000.0;
const MOBILE: (u32, u32) = (390, 844);
const DESKTOP: (u32, u32) = (1280, 800);
/// Physical pixels to one of CSS, as phones have them.
const MOBILE_SCALE: f64 = 2.0;
/// For pictures that are too large as PNG.
const JPEG_QUALITY: i64 = 75;

/// A kind of screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// A phone's.
    #[default]
    Mobile,
    /// A computer's.
    Desktop,
}

impl Device {
    /// Its width and height in CSS pixels.
    pub fn size(self) -> (u32, u32) {
        match self {
            Self::Mobile => MOBILE,
            Self::Desktop => DESKTOP,
        }
    }
}

/// What is to be looked at, and how.
#[derive(Clone, Debug)]
pub struct Shot {
    /// The page.
    pub url: String,
    /// Of the screen, in CSS pixels.
    pub width: u32,
    /// Of the screen, in CSS pixels.
    pub height: u32,
    /// Whether it is a phone's.
    pub is_mobile: bool,
    /// All of the page.
    pub full_page: bool,
    /// A selector of something that has to be there first.
    pub wait_for: Option<String>,
}

/// Why there is no picture, for the model.
#[derive(Debug, thiserror::Error)]
pub enum ShotError {
    /// Not asked for rightly.
    #[error("{0}")]
    Asked(&'static str),
    /// There is no browser.
    #[error("Chromium can't be started on this VM: {0}")]
    NoBrowser(String),
    /// The page is not to be had.
    #[error("The page could not be loaded: {0}")]
    NotLoaded(String),
    /// What has to be there is not.
    #[error("Nothing on the page fits {0}.")]
    NothingFits(String),
    /// All of it took too long.
    #[error("It took too long.")]
    TooLong,
    /// The browser failed.
    #[error("The browser failed: {0}")]
    Browser(#[from] CdpError),
}

/// The browser of a run. Browsers are large: there is one, and it looks at one page at a time.
#[derive(Clone, Debug)]
pub struct Eyes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    chromium: PathBuf,
    proxy: Option<String>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    browser: Browser,
    /// What it says has to be listened to for as long as it is there.
    listening: JoinHandle<()>,
    last_look_at: Instant,
    _profile: TempDir,
}

impl Eyes {
    /// With the browser at `chromium`; pages that are not of this machine are fetched by `proxy`.
    pub fn new(chromium: PathBuf, proxy: Option<String>) -> Self {
        Self(Arc::new(Inner { chromium, proxy, running: Mutex::new(None) }))
    }

    /// Take the picture.
    pub async fn take(&self, shot: &Shot) -> Result<(ImageKind, Vec<u8>), ShotError> {
        check(shot)?;
        let mut place = self.0.running.lock().await;
        let mut running = match place.take() {
            Some(running) if !running.listening.is_finished() => running,
            _ => {
                self.close_later();
                self.launch().await?
            }
        };
        let picture =
            tokio::time::timeout(TIMEOUT, look(&running.browser, shot)).await.unwrap_or(Err(ShotError::TooLong));
        running.last_look_at = Instant::now();
        match &picture {
            // One that failed may be in any state.
            Err(ShotError::TooLong | ShotError::Browser(_)) => running.end().await,
            _ => *place = Some(running),
        }
        picture
    }

    async fn launch(&self) -> Result<Running, ShotError> {
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        let there_is_none = || ShotError::NoBrowser(format!("there is no {}", self.0.chromium.display()));
        let chromium = files::program(&self.0.chromium, &search_path).ok_or_else(there_is_none)?;
        let profile = tempfile::tempdir().map_err(|error| ShotError::NoBrowser(error.to_string()))?;
        let config = config(&chromium, self.0.proxy.as_deref(), profile.path()).map_err(ShotError::NoBrowser)?;
        let (browser, mut handler) =
            Browser::launch(config).await.map_err(|error| ShotError::NoBrowser(error.to_string()))?;
        let listening = tokio::spawn(async move { while handler.next().await.is_some() {} });
        Ok(Running { browser, listening, last_look_at: Instant::now(), _profile: profile })
    }

    /// Close the browser that is about to be opened once nobody has looked for a while.
    fn close_later(&self) {
        let eyes = self.clone();
        tokio::spawn(async move {
            let mut close_at = Instant::now() + STAY;
            loop {
                tokio::time::sleep_until(close_at).await;
                let mut place = eyes.0.running.lock().await;
                match place.take() {
                    Some(running) if running.last_look_at + STAY > Instant::now() => {
                        close_at = running.last_look_at + STAY;
                        *place = Some(running);
                    }
                    Some(running) => return running.end().await,
                    None => return,
                }
            }
        });
    }
}

impl Running {
    async fn end(mut self) {
        // Its end is awaited; that it has ended before is as good.
        let _ = self.browser.kill().await;
        self.listening.abort();
    }
}

fn check(shot: &Shot) -> Result<(), ShotError> {
    let url = Url::parse(&shot.url).map_err(|_| ShotError::Asked("That is no address: http://localhost:3000"))?;
    if !matches!(url.scheme(), "http" | "https" | "file") {
        return Err(ShotError::Asked("The address must begin with http:, https: or file:."));
    }
    match SIDE.contains(&shot.width) && SIDE.contains(&shot.height) {
        true => Ok(()),
        false => Err(ShotError::Asked("Width and height must be from 100 to 4000.")),
    }
}

fn config(chromium: &Path, proxy: Option<&str>, profile: &Path) -> Result<BrowserConfig, String> {
    let config = BrowserConfig::builder()
        .chrome_executable(chromium)
        .user_data_dir(profile)
        .new_headless_mode()
        // It is in the agent's sandbox already, where it can't make one of its own.
        .no_sandbox()
        .launch_timeout(LAUNCH_TIMEOUT)
        .request_timeout(TIMEOUT)
        // Each look says how large its screen is.
        .viewport(None)
        .args(["disable-gpu", "disable-dev-shm-usage", "disable-component-update"]);
    match proxy {
        Some(proxy) => config.arg(("proxy-server", proxy)).build(),
        None => config.build(),
    }
}

async fn look(browser: &Browser, shot: &Shot) -> Result<(ImageKind, Vec<u8>), ShotError> {
    let context = browser.create_browser_context(CreateBrowserContextParams::default()).await?;
    let picture = look_in(browser, &context, shot).await;
    browser.dispose_browser_context(context).await?;
    picture
}

async fn look_in(
    browser: &Browser,
    context: &BrowserContextId,
    shot: &Shot,
) -> Result<(ImageKind, Vec<u8>), ShotError> {
    let target = CreateTargetParams::builder().url("about:blank").browser_context_id(context.clone()).build();
    let page = browser.new_page(target.map_err(CdpError::msg)?).await?;
    let scale = if shot.is_mobile { MOBILE_SCALE } else { 1.0 };
    page.execute(SetDeviceMetricsOverrideParams::new(shot.width, shot.height, scale, shot.is_mobile)).await?;
    page.execute(SetTouchEmulationEnabledParams::new(shot.is_mobile)).await?;
    page.goto(shot.url.as_str()).await.map_err(|error| ShotError::NotLoaded(error.to_string()))?;
    if let Some(selector) = &shot.wait_for {
        let found = tokio::time::timeout(WAIT_TIMEOUT, async {
            while page.find_element(selector).await.is_err() {
                tokio::time::sleep(WAIT_POLL).await;
            }
        });
        found.await.map_err(|_| ShotError::NothingFits(selector.clone()))?;
    }
    let full_page = shot.full_page && height(&page).await? <= PAGE_HEIGHT_MAX;
    let png = page.screenshot(ScreenshotParams::builder().full_page(full_page).build()).await?;
    if png.len() <= IMAGE_BYTES_MAX {
        return Ok((ImageKind::Png, png));
    }
    let jpeg = ScreenshotParams::builder().format(CaptureScreenshotFormat::Jpeg).quality(JPEG_QUALITY);
    let jpeg = page.screenshot(jpeg.full_page(full_page).build()).await?;
    match jpeg.len() <= IMAGE_BYTES_MAX {
        true => Ok((ImageKind::Jpeg, jpeg)),
        false => Err(ShotError::Asked("The picture is too large: take a smaller one, or not the whole page.")),
    }
}

/// Of all of the page, in CSS pixels.
async fn height(page: &Page) -> Result<f64, ShotError> {
    Ok(page.execute(GetLayoutMetricsParams::default()).await?.result.css_content_size.height)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_page_or_no_screen_is_refused() {
        let shot = |url: &str, width| Shot {
            url: url.to_owned(),
            width,
            height: 800,
            is_mobile: false,
            full_page: false,
            wait_for: None,
        };
        assert!(check(&shot("http://localhost:3000", 390)).is_ok());
        assert!(check(&shot("file:///tmp/a.html", 390)).is_ok());
        for (url, width) in [("localhost", 390), ("chrome://settings", 390), ("http://a", 10), ("http://a", 100_000)] {
            assert!(check(&shot(url, width)).is_err(), "{url} {width}");
        }
    }
}
