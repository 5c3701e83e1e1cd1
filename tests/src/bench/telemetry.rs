//! What it costs a relay to tell of itself: webhooks taken in with and without, in the same minutes, and a scrape.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;

use super::fakes::{AT_ONCE, Fake};
use super::figures::{Figures, Spread};
use super::load::{connect, paced, saturate};
use super::redis::Redis;
use super::servers::{Server, Surroundings, free_port};
use super::webhooks::traffic;
use crate::server::{Received, Server as Listener, empty};

/// With metrics on and this share of traces kept, a relay takes in at least so much of what it takes in without.
const SAMPLED_SHARE: &str = "0.1";
const RATE_SHARE_MIN: f64 = 0.95;
const SCRAPE_MS_MAX: f64 = 10.0;
const SCRAPE_KB_MAX: f64 = 100.0;
/// While it is scraped a relay is as busy as with so many webhooks a second.
const BUSY_RATE: u32 = 500;
/// From one scrape to the next: a hundred times as often as Prometheus.
const SCRAPE_PAUSE: Duration = Duration::from_millis(150);
const USERS: usize = 1_000;

/// Measure in `runs` pairs of `webhooks` each and print what comes of it; the figures that were missed.
///
/// # Errors
/// When something can't be measured at all.
pub async fn measure(runs: usize, webhooks: usize) -> anyhow::Result<Vec<String>> {
    let mut figures = Figures::default();
    let requests: Arc<[Bytes]> = traffic(USERS, webhooks / USERS).into();
    println!(
        "Webhooks a second at saturation, {} a run from {USERS} people; with metrics, and {SAMPLED_SHARE} of all traces",
        requests.len()
    );
    let (redis, collector) = (Redis::start(&[]).await?, Collector::start().await);
    let (mut silent, mut telling) = (Vec::new(), Vec::new());
    for number in 0..runs {
        // Whoever comes first finds a machine in another state than whoever comes second.
        for tells in [number % 2 == 0, number % 2 != 0] {
            let rate = rate(&redis, &collector, tells, &requests).await?;
            if tells { telling.push(rate) } else { silent.push(rate) }
        }
    }
    ensure!(collector.taken() > 0, "spans were exported");
    let share = Spread::of(telling.iter().zip(&silent).map(|(telling, silent)| telling / silent));
    println!("  without: {}/s, with: {}/s, pair by pair: {share}", Spread::of(silent), Spread::of(telling));
    figures.at_least("webhooks a second with telemetry, share of those without", share.median(), RATE_SHARE_MIN);
    scrapes(&redis, &collector, &requests, &mut figures).await?;
    Ok(figures.missed().to_vec())
}

/// Takes spans and looks at none: whoever does has a machine of their own, and here they would take the relay's.
struct Collector {
    listener: Listener,
    bytes: Arc<AtomicUsize>,
}

impl Collector {
    async fn start() -> Self {
        let bytes = Arc::new(AtomicUsize::new(0));
        let taken = Arc::clone(&bytes);
        let listener = Listener::start(move |request: Received| {
            taken.fetch_add(request.body.len(), Ordering::Relaxed);
            std::future::ready(empty(200))
        });
        Self { listener: listener.await, bytes }
    }

    fn taken(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

async fn rate(redis: &Redis, collector: &Collector, tells: bool, requests: &Arc<[Bytes]>) -> anyhow::Result<f64> {
    redis.clear().await?;
    let (twilio, vm) = (Fake::twilio(AT_ONCE).await?, Fake::vm(AT_ONCE).await?);
    let surroundings = Surroundings { store: &redis.url(), twilio: &twilio, vm: &vm, users: USERS };
    let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let settings = if tells { settings(metrics, collector) } else { Vec::new() };
    let relay = Server::relay_with(surroundings, &settings).await?;
    let answered = saturate(relay.address, requests).await?;
    Ok(answered.accepted() as f64 / answered.took.as_secs_f64())
}

fn settings(metrics: SocketAddr, collector: &Collector) -> Vec<(&'static str, String)> {
    vec![
        ("METRICS_BIND", metrics.to_string()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.listener.url()),
        ("OTEL_TRACES_SAMPLER_ARG", SAMPLED_SHARE.to_owned()),
    ]
}

async fn scrapes(
    redis: &Redis,
    collector: &Collector,
    requests: &Arc<[Bytes]>,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    redis.clear().await?;
    let (twilio, vm) = (Fake::twilio(AT_ONCE).await?, Fake::vm(AT_ONCE).await?);
    let surroundings = Surroundings { store: &redis.url(), twilio: &twilio, vm: &vm, users: USERS };
    let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let relay = Server::relay_with(surroundings, &settings(metrics, collector)).await?;
    let load = paced(relay.address, requests, BUSY_RATE);
    tokio::pin!(load);
    let (mut millis, mut bytes) = (Vec::new(), Vec::new());
    let mut pause = tokio::time::interval(SCRAPE_PAUSE);
    loop {
        tokio::select! {
            latencies = &mut load => break drop(latencies?),
            _ = pause.tick() => {
                let started = Instant::now();
                let mut connection = connect(metrics).await.context("the port of the metrics")?;
                let answer = connection.ask(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
                ensure!(answer.status() == 200, "a scrape is answered {}", answer.status());
                millis.push(started.elapsed().as_secs_f64() * 1e3);
                bytes.push(answer.body_bytes() as f64 / 1e3);
            }
        }
    }
    let (millis, bytes) = (Spread::of(millis), Spread::of(bytes));
    println!("\nA scrape at {BUSY_RATE} webhooks a second: {millis} ms, {bytes} kB");
    figures.at_most("a scrape of a busy relay, p95 in ms", millis.percentile(0.95), SCRAPE_MS_MAX);
    figures.at_most("and its size in kB", bytes.max(), SCRAPE_KB_MAX);
    Ok(())
}
