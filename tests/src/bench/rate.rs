//! How many webhooks a relay takes in, and how soon, beside the baseline in the same minutes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;

use super::Plan;
use super::drain::{Drain, drained};
use super::fakes::{AT_ONCE, Fake};
use super::figures::{Figures, Spread};
use super::load::{paced, saturate};
use super::redis::Redis;
use super::servers::{Server, Surroundings, own_cpu};
use super::webhooks::traffic;

/// Of the baseline's webhooks a second, the relay takes at least this share.
const RATE_SHARE_MIN: f64 = 0.6;
/// The relay's slowest answers may take so many times as long as the baseline's.
const LATENCY_RATIO_MAX: f64 = 3.0;
/// The quiet load, a second.
const QUIET_RATE: u32 = 200;
/// Of all answers, this share counts as not slow.
const PERCENTILE: f64 = 0.99;
/// A call to Twilio's API over the internet takes about as long, and one to a VM that is awake not much less.
const USUAL_DELAY: Duration = Duration::from_millis(100);
/// At most one in so many webhooks may be refused; they do not count.
const REFUSED_SHARE_MAX: usize = 1_000;
/// People who write.
const USERS: usize = 1_000;
/// The relay's and the baseline's sets of the message ids that they have seen.
const RELAY_SEEN: &str = "{textslash}:v1:seen";
const BASELINE_SEEN: &str = "{baseline}:seen";

/// One run at saturation.
struct Run {
    /// Webhooks answered a second.
    rate: f64,
    /// Processor time of the server for each webhook until the last answer, in ms.
    cpu_ms: f64,
    /// Share of the time in which the server's core was busy with it.
    server_busy: f64,
    /// The same of the load's core: this program and Redis.
    load_busy: f64,
    /// Messages that Redis holds.
    stored: usize,
    /// What a relay did after that, and its processor time for each webhook in all, in ms.
    drain: Option<(Drain, f64)>,
}

/// As many webhooks as are answered.
pub(super) async fn saturation(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let requests: Arc<[Bytes]> = traffic(USERS, plan.webhooks / USERS).into();
    println!(
        "\nWebhooks a second at saturation: {} of about {} bytes, from {USERS} people in turn, over 64 connections\n  \
         Everyone's first message starts a run that goes on. Four in five of the others are tasks: they have to wait, and \
         once the queue\n  is full they are refused. One in five is a status. The relay answers each of them in the chat while \
         more come in.\n  Redis without persistence.",
        requests.len(),
        requests[0].len(),
    );
    let redis = Redis::start(&[]).await?;
    let [mut baselines, mut prompt, mut usual] = [const { Vec::new() }; 3];
    for _ in 0..plan.runs {
        redis.clear().await?;
        let baseline = Server::baseline(&redis.url()).await?;
        baselines.push(run(&baseline, &redis, BASELINE_SEEN, &requests).await?);
        drop(baseline);
        usual.push(relay(&redis, USUAL_DELAY, &requests).await?);
        prompt.push(relay(&redis, AT_ONCE, &requests).await?);
    }
    tell("baseline, which answers nobody", &baselines);
    tell(&format!("relay, Twilio and the VM taking {} ms for a call", USUAL_DELAY.as_millis()), &usual);
    tell("relay, Twilio and the VM answering at once", &prompt);
    let share =
        |relays: &[Run]| Spread::of(relays.iter().zip(&baselines).map(|(relay, baseline)| relay.rate / baseline.rate));
    println!(
        "  share of the baseline's rate, pair by pair: {}; with answers at once {}",
        share(&usual),
        share(&prompt)
    );
    figures.at_least("webhooks a second, share of the baseline's", share(&usual).median(), RATE_SHARE_MIN);
    Ok(())
}

/// A run of a relay on an empty Redis, until everything is done.
async fn relay(redis: &Redis, delay: Duration, requests: &Arc<[Bytes]>) -> anyhow::Result<Run> {
    redis.clear().await?;
    let (twilio, vm) = (Fake::twilio(delay).await?, Fake::vm(delay).await?);
    let relay = Server::relay(Surroundings { store: &redis.url(), twilio: &twilio, vm: &vm, users: USERS }).await?;
    let run = run(&relay, redis, RELAY_SEEN, requests).await?;
    let drain = drained(&relay, redis, &twilio, &vm, USERS).await?;
    let cpu_ms = relay.program.cpu()?.as_secs_f64() * 1e3 / run.stored as f64;
    Ok(Run { drain: Some((drain, cpu_ms)), ..run })
}

async fn run(server: &Server, redis: &Redis, seen: &str, requests: &Arc<[Bytes]>) -> anyhow::Result<Run> {
    let (server_before, load_before) = (server.program.cpu()?, own_cpu()? + redis.process().cpu()?);
    let answered = saturate(server.address, requests).await?;
    let (server_cpu, load_cpu) =
        (server.program.cpu()? - server_before, own_cpu()? + redis.process().cpu()? - load_before);
    let stored = redis.members(seen).await?;
    let (accepted, sent) = (answered.accepted(), requests.len());
    // One that was answered 503 may be stored all the same: Twilio would send it again, to no effect.
    ensure!(
        accepted <= stored && sent - accepted <= sent / REFUSED_SHARE_MAX,
        "{sent} sent, {stored} stored, answered: {:?}\n{}",
        answered.statuses,
        server.program.log_end()
    );
    let took = answered.took.as_secs_f64();
    Ok(Run {
        rate: accepted as f64 / took,
        cpu_ms: server_cpu.as_secs_f64() * 1e3 / accepted as f64,
        server_busy: server_cpu.as_secs_f64() / took,
        load_busy: load_cpu.as_secs_f64() / took,
        stored,
        drain: None,
    })
}

fn tell(name: &str, runs: &[Run]) {
    let of = |value: fn(&Run) -> f64| Spread::of(runs.iter().map(value));
    println!(
        "  {name}:\n    {}/s, {} ms server CPU each, server core {} % busy, load core {} %",
        of(|run| run.rate),
        of(|run| run.cpu_ms),
        of(|run| run.server_busy * 100.0),
        of(|run| run.load_busy * 100.0),
    );
    let drains: Vec<&(Drain, f64)> = runs.iter().filter_map(|run| run.drain.as_ref()).collect();
    if !drains.is_empty() {
        println!(
            "    until everybody has their answer: {} s more, {} ms server CPU each in all; {} messages over {} connections",
            Spread::of(drains.iter().map(|(drain, _)| drain.took)),
            Spread::of(drains.iter().map(|(_, cpu_ms)| *cpu_ms)),
            Spread::of(drains.iter().map(|(drain, _)| drain.sent as f64)),
            Spread::of(drains.iter().map(|(drain, _)| drain.connections as f64)),
        );
    }
}

/// How soon a quiet stream of webhooks is answered.
pub(super) async fn latency(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let each = plan.paced_webhooks / USERS;
    let requests = traffic(USERS, each);
    println!(
        "\nTime to the answer at {QUIET_RATE} webhooks a second: {} a run, the same kind of traffic, whatever becomes of the \
         ones before.",
        requests.len()
    );
    let redis = Redis::start(&[]).await?;
    let (mut baselines, mut relays) = (Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        redis.clear().await?;
        let baseline = Server::baseline(&redis.url()).await?;
        baselines.push(millis(paced(baseline.address, &requests, QUIET_RATE).await?));
        drop(baseline);
        redis.clear().await?;
        let (twilio, vm) = (Fake::twilio(USUAL_DELAY).await?, Fake::vm(USUAL_DELAY).await?);
        let relay = Server::relay(Surroundings { store: &redis.url(), twilio: &twilio, vm: &vm, users: USERS }).await?;
        relays.push(millis(paced(relay.address, &requests, QUIET_RATE).await?));
        drained(&relay, &redis, &twilio, &vm, USERS).await?;
    }
    for (name, runs) in [("baseline", &baselines), ("relay", &relays)] {
        let of = |share: f64| Spread::of(runs.iter().map(|run| run.percentile(share)));
        println!("  {name:8}  p50 {} ms, p99 {} ms", of(0.5), of(PERCENTILE));
    }
    let ratios = relays
        .iter()
        .zip(&baselines)
        .map(|(relay, baseline)| relay.percentile(PERCENTILE) / baseline.percentile(PERCENTILE));
    let ratios = Spread::of(ratios);
    println!("  relay/baseline p99 of each pair: {ratios}");
    figures.at_most("p99, times the baseline's", ratios.median(), LATENCY_RATIO_MAX);
    Ok(())
}

fn millis(latencies: Vec<Duration>) -> Spread {
    Spread::of(latencies.into_iter().map(|latency| latency.as_secs_f64() * 1e3))
}
