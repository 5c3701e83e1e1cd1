//! Finds conversations that are due and takes their turn: at the instants this process knows of, and by a regular sweep
//! for those that it does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::RngExt;
use relay_core::store::{Claim, Claimed, StoreError};
use relay_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Holding};
use crate::clock;

/// What other processes left behind is found at least this often, more or less a fifth so that relays do not knock together.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// After a failed look, the next one comes this soon.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Conversations claimed in one look.
const BATCH: usize = 64;

/// Run until `drain` is cancelled. `deadlines` tells the instants at which conversations that were released here are due.
pub(super) async fn run(app: Arc<App>, mut deadlines: mpsc::Receiver<Timestamp>, drain: CancellationToken) {
    let mut look_at = clock::now();
    let mut sweep_at = clock::now();
    loop {
        let pause = look_at.min(sweep_at).since(clock::now());
        tokio::select! {
            () = tokio::time::sleep(pause) => {
                let now = clock::now();
                if now >= sweep_at {
                    sweep_at = now + SWEEP_INTERVAL.mul_f64(rand::rng().random_range(0.8..1.2));
                    sweep(&app, now).await;
                }
                look_at = match look(&app, now).await {
                    Ok(next) => next.unwrap_or(sweep_at),
                    Err(error) => {
                        tracing::error!(%error, "looking for due conversations failed");
                        now + RETRY_PAUSE
                    }
                };
            }
            Some(deadline) = deadlines.recv() => look_at = look_at.min(deadline),
            () = drain.cancelled() => return,
        }
    }
}

/// Claim what is due; when to look again.
async fn look(app: &App, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let due = app.store.due(now, BATCH).await?;
    let more = due.conversations.len() == BATCH;
    for conversation in due.conversations {
        let claim = Claim { conversation, node: app.node.clone(), nonce: clock::nonce(), now: clock::now() };
        let (conversation, leased) = (claim.conversation.clone(), Instant::now());
        match app.store.claim(claim).await? {
            Claimed::Held(held) => app.take_turn(Holding { held: *held, leased }),
            // One that can't be read must not keep the others from their turn.
            Claimed::Unreadable(reason) => {
                tracing::error!(%conversation, reason, "a conversation can't be read; put off")
            }
            Claimed::Taken | Claimed::NotDue => {}
        }
    }
    Ok(if more { Some(now) } else { due.next })
}

async fn sweep(app: &App, now: Timestamp) {
    if let Err(error) = app.store.sweep(now).await {
        tracing::error!(%error, "sweeping the store failed");
    }
}
