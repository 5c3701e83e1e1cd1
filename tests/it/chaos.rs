//! Three minutes of faults, judged from outside; `cargo run -p system-tests --bin chaos` goes on for as long as one likes.

use std::time::Duration;

use system_tests::chaos::{self, ChaosPlan};

const DURATION: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the report is what the test is for")]
async fn relays_that_are_killed_frozen_and_cut_off_lose_nothing_and_do_nothing_twice() {
    let seed = rand::random_range(0..1_000_000);
    let plan = ChaosPlan { seed, relays: 3, conversations: 40, duration: DURATION, only: None };
    println!("seed {}", plan.seed);
    let report = chaos::run(&plan).await;
    println!("{report}");
    assert!(report.violations.is_empty(), "{report}");
}
