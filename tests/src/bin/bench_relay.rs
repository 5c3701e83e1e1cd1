//! `./dev bench relay`: prints what the relay costs and how fast it is, beside a bare baseline measured in the same minutes.
//!
//! Exits 0 when all is measured, 1 when something could not be or, with `--check`, when a figure is missed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is this program's purpose")]

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Parser, Subcommand, ValueEnum};
use system_tests::bench::{Part, Plan, baseline, measure};

/// Minutes that it takes to see what an idle relay does.
const IDLE_MINUTES: u32 = 10;

#[derive(Parser)]
#[command(about = "Measures the relay against the figures that the project promises")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Exit 1 when a figure is missed.
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    check: bool,
    /// Measure less of everything: for trying things, not for telling others.
    #[arg(long)]
    quick: bool,
    /// Measure these parts alone.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Watch idle relays for so many minutes.
    #[arg(long, default_value_t = IDLE_MINUTES, conflicts_with = "quick")]
    idle_minutes: u32,
}

#[derive(Subcommand)]
enum Command {
    /// Serve as the baseline.
    #[command(hide = true)]
    Baseline {
        #[arg(long)]
        bind: SocketAddr,
        #[arg(long)]
        redis: String,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    if let Some(Command::Baseline { bind, redis }) = arguments.command {
        baseline::serve(bind, &redis).await?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(!arguments.check || arguments.idle_minutes >= IDLE_MINUTES, "--check needs {IDLE_MINUTES} idle minutes");
    let missed = measure(&plan(&arguments), &parts(&arguments)).await?;
    if arguments.quick {
        println!("\nThis was a quick look: too little of everything to be relied on.");
    }
    if missed.is_empty() {
        println!("\nEvery figure is met.");
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nMissed:\n  {}", missed.join("\n  "));
    Ok(if arguments.check { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn plan(arguments: &Arguments) -> Plan {
    if arguments.quick {
        return Plan { runs: 2, webhooks: 20_000, paced_webhooks: 1_000, kills: 2, idle_minutes: 1 };
    }
    let idle_minutes = arguments.idle_minutes;
    Plan { runs: 5, webhooks: 40_000, paced_webhooks: 2_000, kills: 5, idle_minutes }
}

fn parts(arguments: &Arguments) -> Vec<Part> {
    if arguments.only.is_empty() { Part::value_variants().to_vec() } else { arguments.only.clone() }
}
