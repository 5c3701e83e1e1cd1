//! Has a survey of the store made now and then, for metrics: by one relay at a time, for a look costs the same for all.

use std::time::Duration;

use relay_core::store::{Reserve, Reserved};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::clock;

/// From one survey of all relays to the next.
const INTERVAL: Duration = Duration::from_secs(30);
/// Whoever has the turn of this line makes it.
const LINE: &str = "survey";

/// Run until `drain` is cancelled.
pub(super) async fn run(app: &App, drain: CancellationToken) {
    let mut pause = Duration::ZERO;
    while drain.run_until_cancelled(tokio::time::sleep(pause)).await.is_some() {
        // Whatever is wrong with the store is logged where it is called.
        pause = look(app).await.unwrap_or(INTERVAL);
    }
}

/// Until the next turn.
async fn look(app: &App) -> Option<Duration> {
    clock::ensure(&*app.store).await.ok()?;
    let (line, now) = (LINE.to_owned(), clock::now());
    let reserve = Reserve { line, count: 1, interval: INTERVAL, wait_max: Duration::ZERO, now };
    match app.store.reserve(reserve).await.ok()? {
        Reserved::In(_) => {
            let at = clock::now();
            app.metrics.surveyed(app.store.survey(at).await.ok()?, at);
            Some(INTERVAL)
        }
        // Others wait for the same turn; whoever comes first has it.
        Reserved::Later(wait) => Some(wait),
    }
}
