//! Strikes relays, their network and Redis with faults for as long as it is told to, and tells what came of it.
//!
//! Exits 0 when nothing happened that must not, 1 when something did.
#![expect(clippy::print_stdout, reason = "printing is this program's purpose")]

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use system_tests::chaos::{self, ChaosPlan};

/// The relay has to be built beside this program.
#[derive(Debug, Parser)]
struct Options {
    /// For how long faults come.
    #[arg(long, default_value_t = 3.0)]
    minutes: f64,
    /// Chooses what happens; any number when absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Relay processes.
    #[arg(long, default_value_t = 3)]
    relays: usize,
    /// People, with a conversation each.
    #[arg(long, default_value_t = 40)]
    conversations: usize,
    /// Only faults of this kind, as the report calls them: `relay killed`, `connections cut`, …
    #[arg(long)]
    only: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Options { minutes, seed, relays, conversations, only } = Options::parse();
    let seed = seed.unwrap_or_else(|| rand::random_range(0..1_000_000));
    println!("seed {seed}");
    let duration = Duration::from_secs_f64(minutes * 60.0);
    let report = chaos::run(&ChaosPlan { seed, relays, conversations, duration, only }).await;
    print!("{report}");
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
