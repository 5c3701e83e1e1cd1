//! How soon the review page can be read on a slow phone, and how much of it comes before the diff.

use std::time::Duration;

use anyhow::{Context, ensure};
use relay_core::id::RunId;
use serde_json::{Value, json};

use super::shown;
use crate::bench::fakes::{AT_ONCE, Fake};
use crate::bench::figures::{Figures, Spread};
use crate::bench::redis::Redis;
use crate::bench::servers::{Server, Surroundings};
use crate::bench::webhooks::Text;
use crate::browser::{Browser, Screen};
use crate::fake_vm::{FakeVm, Reports};
use crate::links;
use crate::stack::SECRET;

/// From the tap on the link to the first text, in ms, at most, the processor being so many times slower.
const PAINT_MS_MAX: f64 = 300.0;
const THROTTLE: u32 = 4;
/// What is loaded for a diff of one line, in kB, at most.
const PAGE_KB_MAX: f64 = 60.0;
/// Set by the browser once it has painted.
const PAINTED: &str = "const painted = performance.getEntriesByName('first-contentful-paint')[0]; \
    if (!painted || document.readyState !== 'complete') { return null; } \
    const loaded = [performance.getEntriesByType('navigation')[0], ...performance.getEntriesByType('resource')]; \
    return [painted.startTime, loaded.reduce((bytes, entry) => bytes + entry.transferSize, 0)];";
const PAUSE: Duration = Duration::from_millis(50);
/// Looks at a page until it must have been painted.
const LOOKS_MAX: u32 = 200;

pub(super) async fn measure(opened: usize, figures: &mut Figures) -> anyhow::Result<()> {
    let (redis, twilio, unused) = (Redis::start(&[]).await?, Fake::twilio(AT_ONCE).await?, Fake::vm(AT_ONCE).await?);
    let vm = FakeVm::start(SECRET, Duration::ZERO).await;
    let store = redis.url();
    let surroundings = Surroundings { store: &store, twilio: &twilio, vm: &unused, users: 1 };
    let relay = Server::relay_with(surroundings, &[("VM_URL", vm.url()), links::setting()]).await?;
    vm.report_to(vec![Reports::Callback(format!("http://{}", relay.address))]);
    let run = shown(&relay, &vm, 1, Text::Review).await?.pop().context("a run")?;
    let url = address(&relay, &vm, &run)?;
    let browser = Browser::with(Screen::PHONE).await;
    let (mut millis, mut bytes) = (Vec::new(), 0.0);
    for _ in 0..opened {
        browser.client().goto("about:blank").await?;
        // As for somebody who has never been here.
        browser.devtools("Network.clearBrowserCache", json!({})).await?;
        browser.devtools("Emulation.setCPUThrottlingRate", json!({ "rate": THROTTLE })).await?;
        browser.client().goto(&url).await?;
        let (painted, loaded) = painted(&browser).await?;
        millis.push(painted);
        bytes = loaded;
    }
    let millis = Spread::of(millis);
    println!(
        "\nThe review page, opened {opened} times on a processor slowed {THROTTLE} times: {millis} ms until it is painted"
    );
    figures.at_most("ms until it is painted", millis.median(), PAINT_MS_MAX);
    figures.at_most("kB of it before the diff", bytes / 1e3, PAGE_KB_MAX);
    Ok(())
}

fn address(relay: &Server, vm: &FakeVm, run: &RunId) -> anyhow::Result<String> {
    let runs = vm.runs();
    let shown = runs.iter().find(|shown| shown.run == *run).context("the run")?;
    Ok(links::review_url(&format!("http://{}", relay.address), run.as_str(), shown.tree.as_str()))
}

async fn painted(browser: &Browser) -> anyhow::Result<(f64, f64)> {
    for _ in 0..LOOKS_MAX {
        if let Value::Array(told) = browser.client().execute(PAINTED, Vec::new()).await? {
            let number = |at: usize| told.get(at).and_then(Value::as_f64).context("a number");
            return Ok((number(0)?, number(1)?));
        }
        tokio::time::sleep(PAUSE).await;
    }
    ensure!(false, "nothing was painted");
    unreachable!("that was an error")
}
