//! What the relay costs and how fast it is, against the figures that the project promises. Started by `./dev bench`, by
//! way of `bin/bench_relay.rs`.
//!
//! The server under measurement has one core; Redis, the load and the stand-ins for Twilio and the VM share another. What is
//! compared is measured in turn, in the same minutes: on a shared machine only ratios mean anything.

#![expect(clippy::print_stdout, reason = "people read what is measured as it is measured")]

pub mod baseline;
mod counts;
mod drain;
mod fakes;
mod figures;
mod footprint;
mod http1;
mod load;
mod rate;
mod redis;
mod servers;
mod takeover;
pub mod telemetry;
mod turnstile;
pub mod vm;
pub mod web;
mod webhooks;

use figures::Figures;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Commands for one message.
    Message,
    /// Webhooks a second.
    Saturation,
    /// Time to the answer.
    Latency,
    /// Resident memory.
    Memory,
    /// Time from start to ready.
    Start,
    /// What happens when a relay is killed.
    Takeover,
    /// Commands of idle relays.
    Idle,
}

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Interleaved runs of what is compared.
    pub runs: usize,
    /// Webhooks of one run at saturation.
    pub webhooks: usize,
    /// Webhooks of one run at a quiet rate.
    pub paced_webhooks: usize,
    /// Relays that are killed.
    pub kills: usize,
    /// Minutes for which idle relays are watched.
    pub idle_minutes: u32,
}

/// Measure `parts` and print what comes of it, line by line; the figures that were missed.
///
/// # Errors
/// When something can't be measured at all: a program does not start, an answer is wrong, a message is lost.
pub async fn measure(plan: &Plan, parts: &[Part]) -> anyhow::Result<Vec<String>> {
    let mut figures = Figures::default();
    for part in parts {
        match part {
            Part::Message => counts::per_message(&mut figures).await?,
            Part::Saturation => rate::saturation(plan, &mut figures).await?,
            Part::Latency => rate::latency(plan, &mut figures).await?,
            Part::Memory => footprint::memory(&mut figures).await?,
            Part::Start => footprint::start(plan, &mut figures).await?,
            Part::Takeover => {
                takeover::unasked(plan, &mut figures).await?;
                takeover::asked(plan, &mut figures).await?;
            }
            Part::Idle => counts::idle(plan, &mut figures).await?,
        }
    }
    Ok(figures.missed().to_vec())
}
