//! Waiting for a condition, with a bound. The only place where a test lets time pass: a test never sleeps and hopes.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// How often a condition is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What one look at a condition saw.
pub trait Observation {
    /// What the wait returns once it is there.
    type Value;
    /// The value, or what was seen instead of it.
    fn outcome(self) -> Result<Self::Value, String>;
}

impl Observation for bool {
    type Value = ();
    fn outcome(self) -> Result<(), String> {
        self.then_some(()).ok_or_else(|| "false".to_owned())
    }
}

impl<T> Observation for Option<T> {
    type Value = T;
    fn outcome(self) -> Result<T, String> {
        self.ok_or_else(|| "None".to_owned())
    }
}

impl<T, Seen: Debug> Observation for Result<T, Seen> {
    type Value = T;
    fn outcome(self) -> Result<T, String> {
        self.map_err(|seen| format!("{seen:#?}"))
    }
}

/// Look at `condition` until it holds: `true`, `Some`, or `Ok`.
///
/// # Panics
/// When `bound` has passed, with `what` was awaited and what was seen last. A condition that answers with `Result`
/// says more here than one that answers with `bool`.
pub async fn wait_for<O: Observation>(what: &str, bound: Duration, mut condition: impl AsyncFnMut() -> O) -> O::Value {
    let deadline = Instant::now() + bound;
    let mut last = "nothing: the first look did not come back".to_owned();
    loop {
        match timeout_at(deadline, condition()).await.map(Observation::outcome) {
            Ok(Ok(value)) => return value,
            Ok(Err(seen)) => last = seen,
            Err(_) => {}
        }
        assert!(Instant::now() < deadline, "waited {bound:?} for {what}; last seen: {last}");
        sleep(POLL_INTERVAL).await;
    }
}

/// Look at `condition` until it is true; otherwise as [`wait_for`].
///
/// # Panics
/// When `bound` has passed.
pub async fn wait_until(what: &str, bound: Duration, condition: impl AsyncFnMut() -> bool) {
    wait_for(what, bound, condition).await;
}
