//! Runs simulated worlds by the thousand: `simulate --seeds N [--from K] [--threads T] [--trace]`.
//!
//! Exits 0 when no world broke an invariant, 1 when one did, 64 when the command line makes no sense.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is this program's purpose")]
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures how long the simulation takes")]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use relay_core::testing::sim::{self, Failure, Totals};

const USAGE: &str = "usage: simulate --seeds N [--from K] [--threads T] [--trace]";
const EXIT_USAGE: u8 = 64;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

struct Options {
    seeds: u64,
    from: u64,
    threads: usize,
    trace: bool,
}

fn main() -> ExitCode {
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("{fault}\n{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if options.trace {
        (options.from..options.from + options.seeds).flat_map(sim::trace).for_each(|line| println!("{line}"));
    }
    match simulate(&options) {
        None => ExitCode::SUCCESS,
        Some(failure) => {
            let seed = failure.seed;
            println!("{failure}\nrun just this one: simulate --from {seed} --seeds 1 --trace");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut options = Options { seeds: 0, from: 0, threads: cores, trace: false };
    while let Some(name) = arguments.next() {
        if name == "--trace" {
            options.trace = true;
            continue;
        }
        let number: u64 =
            arguments.next().and_then(|value| value.parse().ok()).ok_or_else(|| format!("{name} needs a number"))?;
        match name.as_str() {
            "--seeds" => options.seeds = number,
            "--from" => options.from = number,
            "--threads" => options.threads = usize::try_from(number.clamp(1, 256)).unwrap_or(1),
            _ => return Err(format!("{name} is not known")),
        }
    }
    if options.seeds == 0 { Err("--seeds is missing".to_owned()) } else { Ok(options) }
}

/// Run all worlds; the first failure ends it.
fn simulate(options: &Options) -> Option<Box<Failure>> {
    let begun = Instant::now();
    let (next, done, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let result: Mutex<(Totals, Option<Box<Failure>>)> = Mutex::default();
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= options.seeds {
                break;
            }
            let outcome = sim::run(options.from + number);
            let mut result = result.lock().expect("no thread panics while it adds up");
            match outcome {
                Ok(totals) => result.0 += totals,
                Err(failure) => {
                    stop.store(true, Ordering::Relaxed);
                    result.1.get_or_insert(failure);
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.threads).map(|_| scope.spawn(work)).collect();
        let mut told = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(20));
            if told.elapsed() >= PROGRESS_INTERVAL {
                told = Instant::now();
                println!("{} of {} seeds", done.load(Ordering::Relaxed), options.seeds);
            }
        }
    });
    let (totals, failure) = result.into_inner().expect("no thread panicked");
    let (done, seconds) = (done.into_inner(), begun.elapsed().as_secs_f64());
    summarise(done, seconds, &totals, u64::from(failure.is_some()));
    failure
}

fn summarise(seeds: u64, seconds: f64, totals: &Totals, failures: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = seeds as f64 / seconds.max(0.001);
    println!("{seeds} seeds, {failures} failures, {rate:.0} seeds/s, {seconds:.1} s");
    println!(
        "{} messages, {} runs, {} decisions, {} replies, {} effects, {} h of virtual time",
        totals.messages,
        totals.runs,
        totals.decisions,
        totals.replies,
        totals.effects,
        totals.virtual_ms / 3_600_000
    );
    println!(
        "{} crashes, {} pauses, {} VM restarts, {} store errors, {} repeats seen in the chat",
        totals.crashes, totals.pauses, totals.vm_restarts, totals.store_errors, totals.repeats_in_chat
    );
}
