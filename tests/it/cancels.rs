//! A hundred runs of the real Claude Code CLI cancelled at random moments, several at once on a machine that is busy with them.
#![expect(clippy::print_stdout, reason = "what was measured is for people")]

use std::time::{Duration, Instant};

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use system_tests::console::Console;
use system_tests::fake_anthropic::FakeAnthropic;
use system_tests::fake_anthropic::script::MARK_VARIABLE;
use system_tests::process::descendants_alive;
use system_tests::stack::{BOUND, Stack};

use crate::claude::with_claude;
use crate::common::{contents, processes_of_runs};

/// Runs that are cancelled.
const CANCELS: usize = 100;
/// VMs at the same time, each with a run of its own.
const VMS: usize = 3;
/// A run is cancelled at any moment from the message on until its agent is well at work.
const MOMENT_MAX: Duration = Duration::from_millis(3_500);
/// From the word *cancel* to the line that nothing is left.
const CONFIRMED_MAX: Duration = Duration::from_secs(3);

/// Start a run and cancel it after `moment`; how long it took to be told that it is stopped, and what was alive then.
async fn cancelled(stack: &Stack, console: &Console, number: usize, moment: Duration) -> (Duration, usize) {
    let mark = format!("cancel-{}-{}", stack.folder().display(), number);
    let marked = format!("{MARK_VARIABLE}={mark}");
    console.send(&format!("SCENARIO:sleep[[{mark}]]"), BOUND).await;
    // Not a wait for something to happen: the moment is what is drawn at random.
    tokio::time::sleep(moment).await;
    let alive = descendants_alive(&marked).len();
    let began = Instant::now();
    console.send("cancel", BOUND).await;
    console.wait_for(&format!("Run {number} is stopped"), BOUND).await;
    let took = began.elapsed();
    assert_eq!(descendants_alive(&marked), Vec::<String>::new(), "told when nothing is left");
    assert_eq!(processes_of_runs(stack), Vec::<String>::new(), "told when nothing is left");
    (took, alive)
}

async fn cancel_many(share: usize, seed: u64) -> Vec<(Duration, usize)> {
    let api = FakeAnthropic::start().await;
    let stack = Stack::start(with_claude(&api)).await;
    let console = stack.console();
    let worktree = stack.worktree().await;
    let before = contents(&worktree);
    let mut random = StdRng::seed_from_u64(seed);
    let mut results = Vec::new();
    for number in 1..=share {
        results.push(cancelled(&stack, &console, number, random.random_range(Duration::ZERO..MOMENT_MAX)).await);
        assert_eq!(contents(&worktree), before, "the files are as they were");
    }
    results
}

#[tokio::test]
async fn a_hundred_runs_cancelled_at_random_moments_leave_nothing() {
    let seed = rand::random_range(0..1_000_000);
    println!("seed {seed}");
    let shares = (0..VMS).map(|vm| CANCELS / VMS + usize::from(vm < CANCELS % VMS));
    let vms = shares.zip(seed..).map(|(share, seed)| cancel_many(share, seed));
    let results = join_all(vms).await.concat();
    let mut times: Vec<Duration> = results.iter().map(|(took, _)| *took).collect();
    times.sort_unstable();
    let at_work = results.iter().filter(|(_, alive)| *alive > 0).count();
    let (middle, longest) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{} cancelled, {at_work} of them with commands at work: {middle:?} in the middle, {longest:?} at most",
        times.len()
    );
    assert_eq!(times.len(), CANCELS);
    assert!((CANCELS / 10..CANCELS).contains(&at_work), "the moments are spread: {at_work}");
    assert!(longest <= CONFIRMED_MAX, "{times:?}");
}
