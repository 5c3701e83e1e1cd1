//! `./dev bench web`: prints what the relay's web side costs.
//!
//! Exits 0 when all is measured, 1 when something could not be or, with `--check`, when a figure is missed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is this program's purpose")]

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use system_tests::bench::web::{Part, Plan, measure};

#[derive(Parser)]
#[command(about = "Measures the relay's web side against the figures that the project promises")]
struct Arguments {
    /// Exit 1 when a figure is missed.
    #[arg(long, conflicts_with = "only")]
    check: bool,
    /// Measure these parts alone.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Watch idle viewers for so many seconds.
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// Open the review page so many times.
    #[arg(long, default_value_t = 9)]
    opened: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { check, only, idle_seconds, opened } = Arguments::parse();
    let parts = if only.is_empty() { Part::value_variants().to_vec() } else { only };
    match measure(&Plan { idle: Duration::from_secs(idle_seconds), opened }, &parts).await {
        Ok(missed) if missed.is_empty() => {
            println!("\nEvery figure is met.");
            ExitCode::SUCCESS
        }
        Ok(missed) => {
            println!("\nMissed:\n  {}", missed.join("\n  "));
            if check { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
