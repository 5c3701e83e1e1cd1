//! What this relay tells of itself to whoever looks at all of them, and whether an operator has drained it.
//!
//! A relay tells that it is there when it starts, when it ends, and when it is asked: as long as nobody looks, it costs no call to
//! the store.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use relay_core::store::StoreError;
use relay_core::store::operators::Beat;
use relay_core::time::Timestamp;
use tokio::sync::{Notify, watch};

use crate::app::{App, in_time};
use crate::clock;

/// A relay that has not answered for so long when it is asked is not taken for well.
const SILENT: Duration = Duration::from_secs(5);

/// This relay, as the others see it.
pub struct Presence {
    started_at: Timestamp,
    turns: AtomicUsize,
    drained: watch::Sender<bool>,
    called: Notify,
}

impl Default for Presence {
    fn default() -> Self {
        let (turns, drained) = (AtomicUsize::new(0), watch::Sender::new(false));
        Self { started_at: clock::machine(), turns, drained, called: Notify::new() }
    }
}

/// A conversation that is worked on, until dropped.
pub struct Turn<'a>(&'a AtomicUsize);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Presence {
    /// Count a conversation that is worked on.
    pub fn turn(&self) -> Turn<'_> {
        self.turns.fetch_add(1, Ordering::Relaxed);
        Turn(&self.turns)
    }

    /// Whether this relay takes no more work by itself. What comes to it is still dealt with: nothing is lost that a proxy sends
    /// before it has looked.
    pub fn is_drained(&self) -> bool {
        *self.drained.borrow()
    }

    /// Whether it is, as it changes.
    pub fn drained(&self) -> watch::Receiver<bool> {
        self.drained.subscribe()
    }

    /// Ask this relay to tell that it is there.
    pub fn call(&self) {
        self.called.notify_one();
    }

    /// Wait until it is asked.
    pub async fn called(&self) {
        self.called.notified().await;
    }

    /// Be drained, or no longer; whether that is new.
    fn turn_to(&self, drained: bool) -> bool {
        self.drained.send_if_modified(|now| std::mem::replace(now, drained) != drained)
    }
}

/// Tell that this relay is there, and do what an operator wants of it.
pub async fn beat(app: &App) -> Result<(), StoreError> {
    clock::ensure(&*app.store).await?;
    let wanted = in_time(app.store.operators().beat(&told(app, false))).await?;
    if app.presence.turn_to(wanted) {
        match wanted {
            true => tracing::info!("drained by an operator: no more work is taken"),
            false => tracing::info!("work is taken again"),
        }
        in_time(app.store.operators().beat(&told(app, false))).await?;
    }
    Ok(())
}

/// Whether a relay that told this last, and was asked just now, may be gone.
pub fn is_silent(beat: &Beat, now: Timestamp) -> bool {
    now.since(beat.at) > SILENT
}

/// Tell that this relay is no longer there.
pub async fn leave(app: &App) -> Result<(), StoreError> {
    in_time(app.store.operators().beat(&told(app, true))).await.map(|_| ())
}

fn told(app: &App, is_last: bool) -> Beat {
    Beat {
        node: app.node.clone(),
        instance: app.config.instance.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: app.presence.started_at,
        at: clock::now(),
        turns: app.presence.turns.load(Ordering::Relaxed) as u64,
        drained: app.presence.is_drained(),
        is_last,
    }
}
