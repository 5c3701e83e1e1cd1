//! Takes in what Twilio told while no relay was there to hear it: what people wrote, and which of our messages failed. Twilio
//! keeps every message, and each is known by its id, so that asking for too many changes nothing.
//!
//! A relay notes every now and then that relays are there. One that starts after a gap, and one whose store was away, asks for
//! what came meanwhile.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use relay_core::id::ConversationId;
use relay_core::machine::{Event, Receipt};
use relay_core::store::{DEDUPE_KEEP, Store, StoreError};
use relay_core::time::Timestamp;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::channels::twilio::api::Api;
use crate::channels::twilio::history::{self, Lost, Missed};
use crate::clock;
use crate::error::RequestError;
use crate::identity;

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
    let not_told = |error| tracing::warn!(?error, "Twilio can't be asked for what was missed; trying again");
    // First what failed: whoever has written since has opened the channel again.
    let lost = history::lost(twilio.api(), since).await.map_err(not_told)?;
    let (missed, _) = history::inbound(twilio.api(), since).await.map_err(not_told)?;
    let (count, lost_count) = (missed.len(), lost.len());
    let (mut is_complete, mut caught_up) = (true, 0_usize);
    for lost in lost {
        is_complete &= done(tell_lost(app, lost).await).is_some();
    }
    let mut refused = HashSet::new();
    for missed in missed {
        let conversation = match conversation_of(app, &missed).await {
            Ok(Some(conversation)) => conversation,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%error, "whose a missed message is can't be found out; trying again");
                return Err(());
            }
        };
        // What somebody wrote next must not be taken in before.
        if refused.contains(&conversation) {
            continue;
        }
        match done(take_in(app, twilio.api(), conversation.clone(), missed).await) {
            Some(true) => {
                app.metrics.caught_up();
                caught_up += 1;
            }
            Some(false) => {}
            None => drop(refused.insert(conversation)),
        }
    }
    if !refused.is_empty() || !is_complete {
        return Err(());
    }
    let gap_s = clock::now().since(since).as_secs();
    tracing::info!(count, caught_up, lost_count, gap_s, "asked Twilio for what was missed");
    Ok(())
}

/// `None` for what is to be tried again.
fn done(taken: Result<bool, RequestError>) -> Option<bool> {
    match taken {
        Ok(is_new) => Some(is_new),
        // An operator has to see to it; it holds up nobody else.
        Err(RequestError::Store(error @ StoreError::Unreadable(_))) => {
            tracing::error!(%error, "what was missed can't be taken in; see relay admin reconcile");
            Some(false)
        }
        Err(error) => {
            tracing::warn!(%error, "what was missed can't be taken in; trying again");
            None
        }
    }
}

/// Twilio's list has one name of each person, so that is the one that is looked up.
async fn conversation_of(app: &App, missed: &Missed) -> Result<Option<ConversationId>, RequestError> {
    let from = &missed.message().from;
    app.conversation_of(from, Some(from), missed.is_named).await
}

async fn take_in(app: &App, api: &Api, conversation: ConversationId, missed: Missed) -> Result<bool, RequestError> {
    // Of one that can't be asked for now nothing is known yet.
    let message =
        missed.with_files(api).await.map_err(|_| StoreError::Unavailable("its files can't be asked for".into()))?;
    app.take_in(conversation, Event::Message(message)).await
}

async fn tell_lost(app: &App, lost: Lost) -> Result<bool, RequestError> {
    let Some((conversation, event)) = lost_event(&*app.store, &app.config.relay_secret, lost).await? else {
        return Ok(false);
    };
    app.take_in(conversation, event).await
}

/// What a conversation is told of a message that did not arrive; nothing when there is no such conversation.
pub async fn lost_event(
    store: &dyn Store,
    secret: &SecretString,
    Lost { to, message, failure }: Lost,
) -> Result<Option<(ConversationId, Event)>, StoreError> {
    let conversation = identity::of_named(store, secret, &to, Some(&to)).await?;
    // A person may have been forgotten, or the message may be somebody else's who sends with our number.
    if store.overview(&conversation).await?.is_none() {
        return Ok(None);
    }
    let receipt = Receipt::Failed { failure };
    Ok(Some((conversation, Event::Receipt { effect: None, message, receipt })))
}
