//! Everything that the relay does by itself: it owns the tasks that take turns and the loop that finds what is due, and
//! ends them all when it is told to drain.

use std::sync::Arc;

use relay_core::store::Held;
use relay_core::time::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::App;

mod deadlines;
mod perform;
mod turns;

/// Turns taken at the same time at most; the others wait in the channel.
const TURNS_MAX: usize = 256;

/// Run until `drain` is cancelled and every turn has given its conversation back.
pub async fn run(app: Arc<App>, mut held: mpsc::Receiver<Held>, drain: CancellationToken) {
    let (deadlines, set_deadlines) = mpsc::channel::<Timestamp>(TURNS_MAX);
    let mut tasks = JoinSet::new();
    tasks.spawn(deadlines::run(Arc::clone(&app), set_deadlines, drain.clone()));
    let room = Arc::new(Semaphore::new(TURNS_MAX));
    loop {
        tokio::select! {
            Some(held) = held.recv() => {
                let (app, room) = (Arc::clone(&app), Arc::clone(&room));
                let (deadlines, drain) = (deadlines.clone(), drain.clone());
                tasks.spawn(async move {
                    let _permit = room.acquire_owned().await;
                    turns::take(&app, held, &deadlines, &drain).await;
                });
            }
            Some(ended) = tasks.join_next() => log_panic(ended),
            () = drain.cancelled() => break,
        }
    }
    // What was handed over before the drain began still has to be given back.
    while let Ok(held) = held.try_recv() {
        turns::take(&app, held, &deadlines, &drain).await;
    }
    while let Some(ended) = tasks.join_next().await {
        log_panic(ended);
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task ended badly; its conversation is taken over when the lease runs out");
    }
}
