//! How much memory a relay takes, and how soon it is there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use tokio::time::sleep;

use super::Plan;
use super::drain::drained;
use super::fakes::{AT_ONCE, Fake};
use super::figures::{Figures, Spread};
use super::load::saturate;
use super::redis::Redis;
use super::servers::{Server, Surroundings};
use super::webhooks::traffic;

/// Resident memory of a relay with nothing to do, in MB, at most.
const IDLE_MB_MAX: f64 = 25.0;
/// The same with so many conversations under load.
const LOADED_MB_MAX: f64 = 60.0;
const CONVERSATIONS: usize = 10_000;
/// Messages of each: a task, and two that have to wait for it.
const MESSAGES_EACH: usize = 3;
/// From a relay's start to the first `/ready` that says so, in ms, at most.
const READY_MS_MAX: f64 = 150.0;
/// After this long a relay is as it stays.
const SETTLE: Duration = Duration::from_secs(5);
/// A sender with so many people may send so many messages a second.
const MESSAGES_PER_SECOND: u32 = 400;

/// Start many relays, one after the other.
pub(super) async fn start(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let (redis, twilio, vm) = (Redis::start(&[]).await?, Fake::twilio(AT_ONCE).await?, Fake::vm(AT_ONCE).await?);
    let store = redis.url();
    let surroundings = Surroundings { store: &store, twilio: &twilio, vm: &vm, users: 1 };
    let mut ready = Vec::new();
    for _ in 0..2 * plan.runs {
        ready.push(Server::relay(surroundings).await?.ready_after.as_secs_f64() * 1e3);
    }
    let ready = Spread::of(ready);
    println!("\nFrom start to ready, with Redis up: {ready} ms in {} starts", 2 * plan.runs);
    figures.at_most("ms until ready", ready.median(), READY_MS_MAX);
    Ok(())
}

/// Memory of one relay, idle and then at work.
pub(super) async fn memory(figures: &mut Figures) -> anyhow::Result<()> {
    let (redis, twilio, vm) = (Redis::start(&[]).await?, Fake::twilio(AT_ONCE).await?, Fake::vm(AT_ONCE).await?);
    let store = redis.url();
    let surroundings = Surroundings { store: &store, twilio: &twilio, vm: &vm, users: CONVERSATIONS };
    let relay =
        Server::relay_with(surroundings, &[("TWILIO_MESSAGES_PER_SECOND", MESSAGES_PER_SECOND.to_string())]).await?;
    sleep(SETTLE).await;
    println!("\nResident memory of a relay that knows {CONVERSATIONS} phone numbers");
    figures.at_most("MB idle", relay.program.resident_mb()?, IDLE_MB_MAX);

    let requests: Arc<[Bytes]> = traffic(CONVERSATIONS, MESSAGES_EACH).into();
    let answered = saturate(relay.address, &requests).await?;
    ensure!(answered.accepted() == requests.len(), "answered: {:?}", answered.statuses);
    let peak = relay.program.resident_peak_mb()?;
    let drained = drained(&relay, &redis, &twilio, &vm, CONVERSATIONS).await;
    println!(
        "  {} messages at saturation, {}/s: at most {:.1} MB while they came, {:.1} MB once all was done{}",
        requests.len(),
        (requests.len() as f64 / answered.took.as_secs_f64()).round(),
        peak,
        relay.program.resident_mb()?,
        if drained.is_ok() { "" } else { " (not all was done in time)" },
    );
    figures.at_most(
        &format!("MB at most, at {CONVERSATIONS} conversations under load"),
        relay.program.resident_peak_mb()?,
        LOADED_MB_MAX,
    );
    drained.map(drop)
}
