//! Everything that the relay does by itself: it owns the tasks that take turns, the loop that finds what is due and the
//! store's hints to it, and the one that catches up with what was missed; and it ends them all when it is told to drain.

use std::sync::Arc;
use std::time::Duration;

use relay_core::store::StoreError;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Holding};

mod catch_up;
mod deadlines;
mod lines;
mod perform;
mod presence;
mod review;
mod say;
mod survey;
mod timers;
mod turns;

pub use catch_up::lost_event;
pub use lines::Lines;
pub use perform::kind;

/// Turns taken at the same time at most; the others wait in the channel.
const TURNS_MAX: usize = 256;

/// What is done beside the turns is waited for this long when the relay ends.
const ASIDES_PATIENCE: Duration = Duration::from_secs(5);

/// Releases that may wait to be taken note of; one more is found in the store.
const DEADLINES_WAITING_MAX: usize = 1024;
/// Hints that may wait.
const HINTS_WAITING_MAX: usize = 1024;

/// Run until `drain` is cancelled and every turn has given its conversation back. An error when the loop that finds what is
/// due, or what tells it, has ended by itself: a relay without deadlines must not go on looking healthy.
pub async fn run(app: Arc<App>, mut held: mpsc::Receiver<Holding>, drain: CancellationToken) -> Result<(), Ended> {
    let (deadlines, set_deadlines) = mpsc::channel(DEADLINES_WAITING_MAX);
    let (hints, given_hints) = mpsc::channel(HINTS_WAITING_MAX);
    let (mut finding, mut hinting, mut turns) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
    let mut catching_up = JoinSet::new();
    catching_up.spawn(catch_up::run(Arc::clone(&app), drain.clone()));
    catching_up.spawn(presence::run(Arc::clone(&app), drain.clone()));
    finding.spawn(deadlines::run(Arc::clone(&app), set_deadlines, given_hints, drain.clone()));
    if app.config.metrics_bind.is_some() {
        let (app, drain) = (Arc::clone(&app), drain.clone());
        catching_up.spawn(async move { survey::run(&app, drain).await });
    }
    if app.twilio.is_some() {
        let app = Arc::clone(&app);
        catching_up.spawn(async move {
            if let Some(twilio) = &app.twilio {
                twilio.check().await;
            }
        });
    }
    let (store, drained) = (Arc::clone(&app.store), app.presence.drained());
    hinting.spawn(async move { store.watch(hints, drained).await });
    loop {
        tokio::select! {
            // In this order: what ends because of the drain has not ended by itself.
            biased;
            () = drain.cancelled() => break,
            Some(ended) = finding.join_next() => {
                log_panic(ended);
                return Err(Ended::Deadlines);
            }
            Some(ended) = hinting.join_next() => {
                return Err(Ended::Hints(ended.unwrap_or_else(|panic| Err(StoreError::Unavailable(panic.into()))).err()));
            }
            Some(ended) = catching_up.join_next() => log_panic(ended),
            Some(ended) = turns.join_next() => log_panic(ended),
            // A conversation is taken only when there is room for it: what waits in the channel has its lease running.
            Some(holding) = held.recv(), if turns.len() < TURNS_MAX => {
                let (app, deadlines, drain) = (Arc::clone(&app), deadlines.clone(), drain.clone());
                turns.spawn(async move { turns::take(&app, holding, &deadlines, &drain).await });
            }
        }
    }
    // The loop ends first: what it claims last is given back too, like all that was handed over before the drain began.
    while let Some(ended) = finding.join_next().await {
        log_panic(ended);
    }
    while let Ok(holding) = held.try_recv() {
        turns::take(&app, holding, &deadlines, &drain).await;
    }
    while let Some(ended) = turns.join_next().await {
        log_panic(ended);
    }
    while let Some(ended) = catching_up.join_next().await {
        log_panic(ended);
    }
    app.asides.close();
    if tokio::time::timeout(ASIDES_PATIENCE, app.asides.wait()).await.is_err() {
        tracing::warn!(
            count = app.asides.len(),
            "what was done beside the turns is cut off: people are told to send voice notes again, and VMs are seen to by whoever asks next"
        );
    }
    Ok(())
}

/// A part without which the relay is no use has ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The loop that finds what is due.
    #[error("the loop that finds what is due has ended")]
    Deadlines,
    /// What the store tells of what other relays do.
    #[error("the store gives no more hints")]
    Hints(#[source] Option<StoreError>),
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task ended badly; its conversation is taken over when the lease runs out");
    }
}

#[cfg(test)]
mod tests;
