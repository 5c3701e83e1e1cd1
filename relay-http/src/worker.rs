//! Everything that the relay does by itself: it owns the tasks that take turns and the loop that finds what is due, and
//! ends them all when it is told to drain.

use std::sync::Arc;

use relay_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Holding};

mod deadlines;
mod perform;
mod turns;

/// Turns taken at the same time at most; the others wait in the channel.
const TURNS_MAX: usize = 256;

/// Run until `drain` is cancelled and every turn has given its conversation back. An error when the loop that finds what is
/// due has ended by itself: a relay without deadlines must not go on looking healthy.
pub async fn run(
    app: Arc<App>,
    mut held: mpsc::Receiver<Holding>,
    drain: CancellationToken,
) -> Result<(), DeadlinesEnded> {
    let (deadlines, set_deadlines) = mpsc::channel::<Timestamp>(TURNS_MAX);
    let mut finding = JoinSet::new();
    finding.spawn(deadlines::run(Arc::clone(&app), set_deadlines, drain.clone()));
    let mut turns = JoinSet::new();
    loop {
        tokio::select! {
            // A conversation is taken only when there is room for it: what waits in the channel has its lease running.
            Some(holding) = held.recv(), if turns.len() < TURNS_MAX => {
                let (app, deadlines, drain) = (Arc::clone(&app), deadlines.clone(), drain.clone());
                turns.spawn(async move { turns::take(&app, holding, &deadlines, &drain).await });
            }
            Some(ended) = turns.join_next() => log_panic(ended),
            ended = finding.join_next() => match drain.is_cancelled() {
                true => break,
                false => {
                    tracing::error!(?ended, "the loop that finds what is due has ended");
                    return Err(DeadlinesEnded);
                }
            },
            () = drain.cancelled() => break,
        }
    }
    // What was handed over before the drain began still has to be given back.
    while let Ok(holding) = held.try_recv() {
        turns::take(&app, holding, &deadlines, &drain).await;
    }
    while let Some(ended) = turns.join_next().await {
        log_panic(ended);
    }
    Ok(())
}

/// The loop that finds what is due has ended without being told to.
#[derive(Debug, thiserror::Error)]
#[error("the loop that finds what is due has ended")]
pub struct DeadlinesEnded;

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task ended badly; its conversation is taken over when the lease runs out");
    }
}
