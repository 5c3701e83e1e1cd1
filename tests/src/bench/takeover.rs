//! How soon another relay goes on where one was killed.

use std::time::{Duration, Instant};

use anyhow::ensure;
use relay_core::store::LEASE;
use tokio::time::{sleep, timeout};

use super::Plan;
use super::fakes::{AT_ONCE, Fake};
use super::figures::{Figures, Spread};
use super::load::connect;
use super::redis::Redis;
use super::servers::{Server, Surroundings};
use super::webhooks::{Text, webhook};

/// Within this time another relay must have gone on.
const TAKEOVER_MAX: Duration = Duration::from_secs(10);
/// The message comes so long after the lease's end: soon enough that the other relay, which may have seen in the store when
/// the lease ends, still leaves the conversation to its holder.
const SLACK: Duration = Duration::from_millis(50);
/// With an event after the lease's end, another relay goes on within this time: at once, for a person.
const AT_ONCE_MS_MAX: f64 = 100.0;
/// Without a notification, the sweep finds what is left; nothing takes longer.
const TAKEOVER_TIMEOUT: Duration = Duration::from_secs(60);

/// Kill the holder of a lease in the middle of an effect, again and again.
pub(super) async fn unasked(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    println!("\nkill -9 of the relay that is sending; until the other one sends, at {} kills", plan.kills);
    let redis = Redis::start(&[]).await?;
    let mut waits = Vec::new();
    for kill in 0..plan.kills {
        redis.clear().await?;
        let (twilio, vm) = (Fake::twilio(AT_ONCE).await?, Fake::vm(AT_ONCE).await?);
        let store = redis.url();
        let surroundings = Surroundings { store: &store, twilio: &twilio, vm: &vm, users: 2 * plan.kills };
        let mut holder = Server::relay(surroundings).await?;
        let other = Server::relay(surroundings).await?;
        let killed = kill_while_sending(&mut holder, &twilio, kill).await?;
        waits.push(taken_over(&other, &twilio, 2, killed).await?.as_secs_f64());
    }
    let waits = Spread::of(waits);
    println!("  {waits} s");
    figures.at_most("s until another relay goes on", waits.max(), TAKEOVER_MAX.as_secs_f64());
    Ok(())
}

/// The same, when the relays are not told that the lease is over, but a message comes once it is.
pub(super) async fn asked(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    println!("\nThe same without notifications, with a message after the lease's end; until the other one sends");
    let redis = Redis::start(&["--rename-command", "CONFIG", ""]).await?;
    let (mut waits, mut swept) = (Vec::new(), 0);
    for kill in 0..plan.kills {
        redis.clear().await?;
        let (twilio, vm) = (Fake::twilio(AT_ONCE).await?, Fake::vm(AT_ONCE).await?);
        let store = redis.url();
        let surroundings = Surroundings { store: &store, twilio: &twilio, vm: &vm, users: 2 * plan.kills };
        let mut holder = Server::relay(surroundings).await?;
        let other = Server::relay(surroundings).await?;
        let killed = kill_while_sending(&mut holder, &twilio, kill).await?;
        sleep((LEASE + SLACK).saturating_sub(killed.elapsed())).await;
        // The sweep may have been there first; then there is nothing to measure.
        if twilio.calls().count > 1 {
            swept += 1;
            continue;
        }
        let request = webhook(plan.kills + kill, kill, Text::Help);
        let asked = Instant::now();
        let status = connect(other.address).await?.ask(&request).await?.status();
        ensure!(status == 200, "answered {status}");
        waits.push(taken_over(&other, &twilio, 2, asked).await?.as_secs_f64() * 1e3);
    }
    ensure!(!waits.is_empty(), "the sweep was always first; try again");
    let waits = Spread::of(waits);
    println!("  {waits} ms (the sweep was there first {swept} times)");
    figures.at_most("ms until another relay goes on", waits.max(), AT_ONCE_MS_MAX);
    Ok(())
}

/// Let `holder` send a message that nobody answers, and kill it then.
async fn kill_while_sending(holder: &mut Server, twilio: &Fake, user: usize) -> anyhow::Result<Instant> {
    twilio.hold(true);
    let status = connect(holder.address).await?.ask(&webhook(user, user, Text::Help)).await?.status();
    ensure!(status == 200, "answered {status}:\n{}", holder.program.log_end());
    twilio.called(1).await;
    holder.program.kill().await?;
    twilio.hold(false);
    Ok(Instant::now())
}

/// The time from `since` to the `count`th message.
async fn taken_over(other: &Server, twilio: &Fake, count: usize, since: Instant) -> anyhow::Result<Duration> {
    match timeout(TAKEOVER_TIMEOUT, twilio.called(count)).await {
        Ok(calls) => Ok(calls.latest.unwrap_or(since).saturating_duration_since(since)),
        Err(_) => anyhow::bail!("nobody went on:\n{}", other.program.log_end()),
    }
}
