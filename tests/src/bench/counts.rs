//! What a message costs at Redis, and what it costs to do nothing.

use std::ops::Range;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Plan;
use super::fakes::{AT_ONCE, Fake};
use super::figures::{Figures, Spread};
use super::load::connect;
use super::redis::{CommandCounts, Redis};
use super::servers::{Server, Surroundings};
use super::turnstile::Turnstile;
use super::webhooks::{Text, webhook};

/// Round trips before the answer, at most.
const ROUND_TRIPS_MAX: f64 = 1.0;
/// Script calls for one message over its whole life, at most.
const SCRIPTS_MAX: f64 = 3.0;
/// Commands for one message over its whole life, at most, those inside scripts counted.
const COMMANDS_MAX: f64 = 15.0;
/// Commands of two idle relays in thirty days, at most.
const IDLE_COMMANDS_MAX: f64 = 200_000.0;
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

/// Messages whose answers are tried with Redis cut off.
const TRIALS: usize = 20;
/// Round trips that are tried before it is given up.
const TRIPS_TRIED: usize = 8;
/// How long an answer is waited for while Redis is cut off: far longer than it takes, and shorter than the relay's patience.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Messages over which the commands are counted at a time, and how often: into some of these times falls a regular look
/// around, which is no part of a message.
const BATCH: usize = 50;
const BATCHES: usize = 10;
/// All of these, and one before them.
const PER_KIND: usize = BATCH * BATCHES + 1;
/// Webhooks come no faster than this, on an average. Of messages that come faster, the answers stand in the line of our sender,
/// whose turns are asked for in blocks: one script call more for a block.
const INTERVAL: Duration = Duration::from_millis(125);
/// After this long without a command a message's life is over.
const QUIET: Duration = Duration::from_millis(100);
/// Connecting and a first look around are no part of idling.
const SETTLE: Duration = Duration::from_secs(5);

/// Commands for one message.
pub(super) async fn per_message(figures: &mut Figures) -> anyhow::Result<()> {
    let (redis, twilio, vm) = (Redis::start(&[]).await?, Fake::twilio(AT_ONCE).await?, Fake::vm(AT_ONCE).await?);
    let turnstile = Turnstile::before(redis.port()).await?;
    let users = 2 * PER_KIND + TRIALS * TRIPS_TRIED;
    let store = turnstile.url();
    let relay = Server::relay(Surroundings { store: &store, twilio: &twilio, vm: &vm, users }).await?;
    sleep(SETTLE).await;

    println!(
        "\nWhat a message costs at Redis, from idle conversation to idle conversation, at {} messages a second",
        Duration::from_secs(1).as_millis() / INTERVAL.as_millis()
    );
    for (text, fake, name, first) in [(Text::Help, &twilio, "help", 0), (Text::Task, &vm, "a task", PER_KIND)] {
        // The first of all has Redis learn the scripts.
        lives(&redis, &relay, fake, text, first..first + 1).await?;
        let mut batches = Vec::new();
        for batch in 0..BATCHES {
            let first = first + 1 + batch * BATCH;
            batches.push(lives(&redis, &relay, fake, text, first..first + BATCH).await?);
        }
        let last = &batches[BATCHES - 1];
        println!("  {BATCH} × {name}, each to a conversation of its own: {}; {BATCHES} times", last.list());
        let each = |count: fn(&CommandCounts) -> u64| {
            Spread::of(batches.iter().map(|batch| count(batch) as f64 / BATCH as f64)).median()
        };
        figures.at_most(&format!("{name}: script calls per message"), each(CommandCounts::scripts), SCRIPTS_MAX);
        figures.at_most(&format!("{name}: commands per message"), each(CommandCounts::all), COMMANDS_MAX);
    }
    let mut most = 0;
    for trial in 0..TRIALS {
        most = most.max(round_trips(&redis, &turnstile, &relay, &twilio, 2 * PER_KIND + trial * TRIPS_TRIED).await?);
    }
    println!("  {TRIALS} messages while Redis is let answer a number of commands and no more:");
    figures.at_most("round trips before the 200", most as f64, ROUND_TRIPS_MAX);
    Ok(())
}

/// The commands of messages one after the other, each to a conversation of its own.
async fn lives(
    redis: &Redis,
    relay: &Server,
    fake: &Fake,
    text: Text,
    users: Range<usize>,
) -> anyhow::Result<CommandCounts> {
    let mut connection = connect(relay.address).await?;
    let before = redis.quiet(QUIET).await?;
    let called = fake.calls().count;
    for (user, done) in users.zip(1..) {
        let next = Instant::now() + INTERVAL;
        let status = connection.ask(&webhook(user, user, text)).await?.status();
        ensure!(status == 200, "answered {status}:\n{}", relay.program.log_end());
        fake.called(called + done).await;
        sleep_until(next).await;
    }
    Ok(redis.quiet(QUIET).await?.since(&before))
}

/// How many commands Redis has to answer before the relay does.
async fn round_trips(
    redis: &Redis,
    turnstile: &Turnstile,
    relay: &Server,
    twilio: &Fake,
    first: usize,
) -> anyhow::Result<usize> {
    for trips in 1..=TRIPS_TRIED {
        let mut connection = connect(relay.address).await?;
        let (user, called) = (first + trips - 1, twilio.calls().count);
        redis.quiet(QUIET).await?;
        turnstile.let_through(trips);
        let request = webhook(user, user, Text::Help);
        let answer = timeout(ANSWER_TIMEOUT, connection.ask(&request)).await;
        turnstile.open();
        twilio.called(called + 1).await;
        // A look around that falls into the same moment takes a pass; the next try has one more.
        if let Ok(answer) = answer {
            let status = answer?.status();
            ensure!(status == 200, "answered {status}:\n{}", relay.program.log_end());
            return Ok(trips);
        }
    }
    anyhow::bail!("no answer after {TRIPS_TRIED} round trips:\n{}", relay.program.log_end())
}

/// Two relays with nothing to do.
pub(super) async fn idle(plan: &Plan, figures: &mut Figures) -> anyhow::Result<()> {
    let (redis, twilio, vm) = (Redis::start(&[]).await?, Fake::twilio(AT_ONCE).await?, Fake::vm(AT_ONCE).await?);
    let store = redis.url();
    let surroundings = Surroundings { store: &store, twilio: &twilio, vm: &vm, users: 1 };
    let _relays = (Server::relay(surroundings).await?, Server::relay(surroundings).await?);
    sleep(SETTLE).await;
    let time = Duration::from_secs(60) * plan.idle_minutes;
    println!("\nTwo idle relays, watched for {} minutes", plan.idle_minutes);
    let before = redis.counts().await?;
    sleep(time).await;
    let spent = redis.counts().await?.since(&before);
    println!("  {}", spent.list());
    let month = spent.all() as f64 * MONTH.as_secs_f64() / time.as_secs_f64();
    figures.at_most("commands in 30 days", month, IDLE_COMMANDS_MAX);
    Ok(())
}
