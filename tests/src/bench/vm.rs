//! What vm-agent costs and how fast it is: against the bare Claude Code CLI where there is something to compare, both with the
//! same fake Messages API, in turn. Started by `./dev bench vm`, by way of `bin/bench_vm.rs`.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::figures::{Figures, Spread};
use crate::fake_anthropic::FakeAnthropic;

mod bare;
mod machine;

use bare::Bare;
use machine::Machine;

/// From a command to the answer that it is accepted, in ms, at most.
const COMMAND_MS_MAX: f64 = 20.0;
/// What a turn takes longer than with the bare CLI, in ms, at most.
const OVERHEAD_MS_MAX: f64 = 100.0;
/// Resident memory of vm-agent alone, in MB, at most, also at its peak.
const MEMORY_MB_MAX: f64 = 40.0;
/// A picture of a page, the browser being open, in ms, at most.
const SCREENSHOT_MS_MAX: f64 = 1_000.0;
/// Pictures of one run; the first opens the browser.
const SCREENSHOTS: usize = 8;
/// A turn that does nothing but say a line.
const TRIVIAL: &str = "hi";

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Time to the answer of `POST /command`.
    Command,
    /// Time of a turn beside the bare CLI's.
    Turn,
    /// Time of a screenshot.
    Screenshot,
}

/// How often each is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Commands.
    pub commands: usize,
    /// Turns, each with a bare one beside it.
    pub turns: usize,
}

/// Measure `parts` and print what comes of it, line by line; the figures that were missed. The memory is that of the process
/// that did all of them.
///
/// # Errors
/// When something can't be measured at all.
pub async fn measure(plan: &Plan, parts: &[Part]) -> anyhow::Result<Vec<String>> {
    let mut figures = Figures::default();
    let api = FakeAnthropic::start().await;
    let mut machine = Machine::start(&api).await?;
    let idle_mb = machine.resident_mb("VmRSS:")?;
    for part in parts {
        match part {
            Part::Command => command(plan, &mut machine, &mut figures).await?,
            Part::Turn => turn(plan, &api, &mut machine, &mut figures).await?,
            Part::Screenshot => screenshot(&api, &mut machine, &mut figures).await?,
        }
    }
    println!("\nResident memory of vm-agent: {idle_mb:.1} MB before the first run");
    figures.at_most("MB at its peak, over all of the above", machine.resident_mb("VmHWM:")?, MEMORY_MB_MAX);
    Ok(figures.missed().to_vec())
}

fn millis(durations: impl IntoIterator<Item = Duration>) -> Spread {
    Spread::of(durations.into_iter().map(|duration| duration.as_secs_f64() * 1e3))
}

async fn command(plan: &Plan, machine: &mut Machine, figures: &mut Figures) -> anyhow::Result<()> {
    let mut answered = Vec::new();
    for _ in 0..plan.commands {
        let run = machine.command(TRIVIAL).await?;
        answered.push(run.answered_after);
        // What is measured is the answer: the run has served.
        machine.cancel(&run).await?;
    }
    let answered = millis(answered);
    println!("\nPOST /command, of {} commands: {answered} ms", plan.commands);
    figures.at_most("ms until the answer", answered.median(), COMMAND_MS_MAX);
    figures.at_most("ms until the answer, 95th of 100", answered.percentile(0.95), COMMAND_MS_MAX);
    Ok(())
}

async fn turn(plan: &Plan, api: &FakeAnthropic, machine: &mut Machine, figures: &mut Figures) -> anyhow::Result<()> {
    let bare = Bare::prepare(api)?;
    // The first turn of a home is another one: the program makes what it keeps there.
    bare.turn(TRIVIAL).await?;
    machine.turn(TRIVIAL).await?;
    let (mut alone, mut whole) = (Vec::new(), Vec::new());
    for _ in 0..plan.turns {
        alone.push(bare.turn(TRIVIAL).await?);
        whole.push(machine.turn(TRIVIAL).await?);
    }
    let more =
        Spread::of(alone.iter().zip(&whole).map(|(alone, whole)| (whole.as_secs_f64() - alone.as_secs_f64()) * 1e3));
    println!("\nA trivial turn, {} times in turn", plan.turns);
    println!("  the bare CLI, from its start to its end: {} ms", millis(alone));
    println!("  by vm-agent, from the command to the report of the end: {} ms", millis(whole));
    println!("  longer by {more} ms");
    figures.at_most("ms more than the bare CLI", more.median(), OVERHEAD_MS_MAX);
    Ok(())
}

async fn screenshot(api: &FakeAnthropic, machine: &mut Machine, figures: &mut Figures) -> anyhow::Result<()> {
    let before = api.messages().len();
    machine.turn(&format!("SCENARIO:looks[[{SCREENSHOTS}]]")).await?;
    let requests = api.messages().split_off(before);
    // Each picture is asked for by the answer to one request and comes back with the next.
    let pictures: Vec<Duration> = requests
        .windows(2)
        .filter(|pair| last_result_is_a_picture(&pair[1].json()))
        .map(|pair| pair[1].at - pair[0].at)
        .collect();
    ensure!(pictures.len() == SCREENSHOTS, "{} pictures came back of {SCREENSHOTS}", pictures.len());
    let (first, warm) = pictures.split_first().context("there are pictures")?;
    let warm = millis(warm.iter().copied());
    println!(
        "\nA screenshot of a local page, as the model sees it: {} ms the first, then {warm} ms",
        first.as_millis()
    );
    figures.at_most("ms with the browser open", warm.median(), SCREENSHOT_MS_MAX);
    Ok(())
}

/// The program may say something to the model after what the person, or a tool, said.
fn last_result_is_a_picture(request: &Value) -> bool {
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last = messages.iter().rfind(|message| message["role"] == "user");
    last.is_some_and(|message| message.to_string().contains("image/png"))
}
