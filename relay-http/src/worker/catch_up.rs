//! Takes in what people wrote while no relay was there to hear it: Twilio keeps every message, and each is known by its id, so
//! that asking for too many changes nothing.
//!
//! A relay notes every now and then that relays are there. One that starts after a gap, and one whose store was away, asks for
//! what came meanwhile.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use relay_core::machine::{Event, Message};
use relay_core::store::{DEDUPE_KEEP, StoreError};
use relay_core::time::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::channels::twilio::history;
use crate::clock;
use crate::error::RequestError;

/// The note that says when relays were there last.
const NOTE: &str = "heartbeat";
/// This often the note is renewed: seldom, because hosted Redis bills calls. An older one only makes the next start ask for more
/// than it needs to.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(300);
/// A gap shorter than this is taken for none.
const GAP_MIN: Duration = Duration::from_secs(15);
/// This often it is looked whether the store was away.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// After a failure it is tried again this much later.
const REST: Duration = Duration::from_secs(10);

/// Run until `drain` is cancelled.
pub(super) async fn run(app: Arc<App>, drain: CancellationToken) {
    if app.twilio.is_none() {
        return drain.cancelled().await;
    }
    tokio::select! {
        () = drain.cancelled() => {}
        () = keep_up(&app) => {}
    }
    // The note stays as it is: what was not caught up with is asked for by the next that starts.
}

async fn keep_up(app: &App) {
    let mut since = loop {
        match missed_since(app).await {
            Ok(since) => break since,
            Err(()) => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    };
    let mut beat_at = tokio::time::Instant::now();
    loop {
        if let Some(from) = since
            && catch_up(app, from).await.is_err()
        {
            tokio::time::sleep(REST).await;
            continue;
        }
        if beat_at <= tokio::time::Instant::now()
            && app.store.set_note(NOTE, &clock::now().as_millis().to_string()).await.is_ok()
        {
            beat_at = tokio::time::Instant::now() + HEARTBEAT_INTERVAL;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        since = deaf_since(app).await;
    }
}

/// Since when nobody may have been there; `None` when somebody was, or nobody ever.
async fn missed_since(app: &App) -> Result<Option<Timestamp>, ()> {
    clock::ensure(&*app.store).await.map_err(|_| ())?;
    let note = app.store.note(NOTE).await.map_err(|_| ())?;
    let last = note.and_then(|note| note.parse().ok()).map(Timestamp);
    Ok(last.filter(|last| clock::now().since(*last) > GAP_MIN))
}

/// Since when messages were refused, once the store is well.
async fn deaf_since(app: &App) -> Option<Timestamp> {
    let waiting = app.deaf_since.lock().unwrap_or_else(PoisonError::into_inner).is_some();
    if !waiting || app.store.health().await.is_err() {
        return None;
    }
    app.deaf_since.lock().unwrap_or_else(PoisonError::into_inner).take()
}

async fn catch_up(app: &App, since: Timestamp) -> Result<(), ()> {
    let Some(twilio) = &app.twilio else { return Ok(()) };
    let since = since.max(clock::now() - DEDUPE_KEEP);
    let (messages, _) = history::inbound(twilio.api(), since).await.map_err(|error| {
        tracing::warn!(?error, "Twilio can't be asked for what was missed; trying again");
    })?;
    let count = messages.len();
    let mut refused = HashSet::new();
    for message in messages {
        let from = message.from.clone();
        // What somebody wrote next must not be taken in before.
        if refused.contains(&from) {
            continue;
        }
        match take_in(app, message).await {
            Ok(true) => drop(app.counts.caught_up.add()),
            Ok(false) => {}
            // An operator has to see to it; it holds up nobody else.
            Err(RequestError::Store(error @ StoreError::Unreadable(_))) => {
                tracing::error!(%error, "a missed message can't be taken in; see relay admin reconcile");
            }
            Err(error) => {
                tracing::warn!(%error, "a missed message can't be taken in; trying again");
                refused.insert(from);
            }
        }
    }
    if !refused.is_empty() {
        return Err(());
    }
    let (caught_up, gap_s) = (app.counts.caught_up.get(), clock::now().since(since).as_secs());
    tracing::info!(count, caught_up, gap_s, "asked Twilio for what was missed");
    Ok(())
}

async fn take_in(app: &App, message: Message) -> Result<bool, RequestError> {
    let conversation = app.conversation_of(&message.from).await?;
    app.take_in(conversation, Event::Message(message)).await
}
