//! `./dev bench telemetry`: prints what it costs a relay to tell of itself.
//!
//! Exits 0 when all is measured, 1 when something could not be or, with `--check`, when a figure is missed.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is this program's purpose")]

use std::process::ExitCode;

use clap::Parser;
use system_tests::bench::telemetry::measure;

#[derive(Parser)]
#[command(about = "Measures what telemetry costs against the figures that the project promises")]
struct Arguments {
    /// Exit 1 when a figure is missed.
    #[arg(long)]
    check: bool,
    /// Pairs of runs, with and without.
    #[arg(long, default_value_t = 61)]
    runs: usize,
    /// Webhooks of one run.
    #[arg(long, default_value_t = 20_000)]
    webhooks: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { check, runs, webhooks } = Arguments::parse();
    match measure(runs, webhooks).await {
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
