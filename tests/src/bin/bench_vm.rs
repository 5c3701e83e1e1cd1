//! `./dev bench vm`: prints what vm-agent costs and how fast it is, beside the bare Claude Code CLI.
//!
//! Exits 0 when all is measured, 1 when something could not be or, with `--check`, when a figure is missed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is this program's purpose")]

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use system_tests::bench::vm::{Part, Plan, measure};

#[derive(Parser)]
#[command(about = "Measures vm-agent against the figures that the project promises")]
struct Arguments {
    /// Exit 1 when a figure is missed.
    #[arg(long, conflicts_with = "only")]
    check: bool,
    /// Measure these parts alone.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Commands that are sent.
    #[arg(long, default_value_t = 40)]
    commands: usize,
    /// Turns, each with a bare one beside it.
    #[arg(long, default_value_t = 15)]
    turns: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { check, only, commands, turns } = Arguments::parse();
    let parts = if only.is_empty() { Part::value_variants().to_vec() } else { only };
    match measure(&Plan { commands, turns }, &parts).await {
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
