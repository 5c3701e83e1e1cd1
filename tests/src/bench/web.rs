//! What the relay's web side costs. Started by `./dev bench web`, by way of `bin/bench_web.rs`.

use std::time::Duration;

use anyhow::{Context, ensure};
use relay_core::id::RunId;
use relay_core::protocol::RunState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::fakes::{AT_ONCE, Fake};
use super::figures::Figures;
use super::load::connect;
use super::redis::Redis;
use super::servers::{START_TIMEOUT, Server, Surroundings};
use super::webhooks::{Text, webhook};
use crate::fake_vm::{FakeVm, Reports, Run};
use crate::links;
use crate::stack::SECRET;

mod paint;

/// Resident memory that so many idle viewers add to a relay, in MB, at most.
const VIEWERS_MB_MAX: f64 = 20.0;
const VIEWERS: usize = 1_000;
/// Those who are looked at: a few viewers each.
const PEOPLE: usize = 100;
/// After this long a relay is as it stays.
const SETTLE: Duration = Duration::from_secs(5);
/// A relay that has asked Redis for nothing for so long has nothing to do: it waits for no receipt longer.
const QUIET: Duration = Duration::from_secs(15);
/// The commands of an idle relay: waiting for wake-ups, looking at what is due, setting its clock.
const OF_IDLE_RELAYS: [&str; 3] = ["blpop", "zrangebyscore", "time"];

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Memory and commands of viewers of runs in which nothing happens.
    Viewers,
    /// Time until the review page is painted, and its weight.
    Paint,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long idle viewers are watched.
    pub idle: Duration,
    /// How often the review page is opened.
    pub opened: usize,
}

/// Measure `parts` and print what comes of it, line by line; the figures that were missed.
///
/// # Errors
/// When something can't be measured at all.
pub async fn measure(plan: &Plan, parts: &[Part]) -> anyhow::Result<Vec<String>> {
    let mut figures = Figures::default();
    for part in parts {
        match part {
            Part::Viewers => viewers(plan, &mut figures).await?,
            Part::Paint => paint::measure(plan.opened, &mut figures).await?,
        }
    }
    Ok(figures.missed().to_vec())
}

async fn viewers(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let (redis, twilio, unused) = (Redis::start(&[]).await?, Fake::twilio(AT_ONCE).await?, Fake::vm(AT_ONCE).await?);
    let vm = FakeVm::start(SECRET, Duration::ZERO).await;
    let store = redis.url();
    let surroundings = Surroundings { store: &store, twilio: &twilio, vm: &unused, users: PEOPLE };
    let at_once = [("TWILIO_MESSAGES_PER_SECOND", "1000".to_owned()), ("TWILIO_USER_INTERVAL_MS", "0".to_owned())];
    let settings = [&at_once[..], &[("VM_URL", vm.url()), links::setting()]].concat();
    let relay = Server::relay_with(surroundings, &settings).await?;
    vm.report_to(vec![Reports::Callback(format!("http://{}", relay.address))]);
    let runs = shown(&relay, &vm, PEOPLE, Text::Task).await?;
    idle(&redis).await?;
    let alone_mb = relay.program.resident_mb()?;

    let mut watching = Vec::new();
    for viewer in 0..VIEWERS {
        watching.push(watch(&relay, &runs[viewer % runs.len()]).await?);
    }
    sleep(SETTLE).await;
    println!(
        "\n{VIEWERS} viewers of {PEOPLE} runs that wait for an answer, at one relay of {alone_mb:.1} MB, for {} s",
        plan.idle.as_secs()
    );
    let before = redis.counts().await?;
    sleep(plan.idle).await;
    let spent = redis.counts().await?.since(&before);
    println!("  asked of Redis meanwhile: {}", spent.list());
    figures.at_most("commands beyond those of an idle relay", spent.but_for(&OF_IDLE_RELAYS) as f64, 0.0);
    figures.at_most("MB more", relay.program.resident_mb()? - alone_mb, VIEWERS_MB_MAX);
    // Whoever was not there any more would have cost nothing.
    let status = connect(relay.address).await?.ask(&webhook(PEOPLE, 0, Text::Status)).await?.status();
    ensure!(status == 200, "answered {status}:\n{}", relay.program.log_end());
    for viewer in watching.iter_mut().step_by(PEOPLE) {
        read_until(viewer, "status").await.context("a viewer is told of what happens then")?;
    }
    Ok(())
}

/// Wait until the relay does nothing but what idle relays do.
async fn idle(redis: &Redis) -> anyhow::Result<()> {
    loop {
        let before = redis.counts().await?;
        sleep(QUIET).await;
        if redis.counts().await?.since(&before).but_for(&OF_IDLE_RELAYS) == 0 {
            return Ok(());
        }
    }
}

/// A run for each person, with a diff that was shown.
async fn shown(relay: &Server, vm: &FakeVm, people: usize, text: Text) -> anyhow::Result<Vec<RunId>> {
    let mut connection = connect(relay.address).await?;
    for user in 0..people {
        let status = connection.ask(&webhook(user, user, text)).await?.status();
        ensure!(status == 200, "answered {status}:\n{}", relay.program.log_end());
    }
    let started = Instant::now();
    loop {
        let runs = vm.runs();
        let of = |user: usize| {
            let is_of = |run: &&Run| run.text().ends_with(&format!("(#{user})"));
            runs.iter().find(is_of).filter(|run| run.state == RunState::AwaitingApproval).map(|run| run.run.clone())
        };
        if let Some(runs) = (0..people).map(of).collect() {
            return Ok(runs);
        }
        ensure!(
            started.elapsed() < START_TIMEOUT,
            "the runs did not come to their diffs:\n{}",
            relay.program.log_end()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

/// A viewer who has seen all that there is.
async fn watch(relay: &Server, run: &RunId) -> anyhow::Result<TcpStream> {
    let path = links::run_url("", run.as_str());
    let mut stream = TcpStream::connect(relay.address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: relay.example.com\r\nAccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    read_until(&mut stream, "\"what\":\"changes\"").await?;
    Ok(stream)
}

async fn read_until(stream: &mut TcpStream, text: &str) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            ensure!(stream.read_buf(&mut seen).await? > 0, "the stream ended:\n{}", String::from_utf8_lossy(&seen));
        }
        Ok(())
    };
    timeout(START_TIMEOUT, reading).await?
}
