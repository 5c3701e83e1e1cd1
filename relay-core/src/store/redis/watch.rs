//! Hints from Redis: alarms that rang, conversations whose VM has published, feeds and logs that grew. Two connections: one with
//! subscriptions, one that blocks on the list of wake-ups, of which each goes to exactly one relay.

use std::sync::PoisonError;
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::interfaces::FredResult;
use fred::interfaces::{ClientLike, EventInterface, ListInterface, PubsubInterface};
use fred::prelude::Options;
use fred::types::{KeyspaceEvent, Message, Value};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};

use super::connection::keep_alive;
use super::notifications::Notifications;
use super::{RedisStore, check};
use crate::id::ConversationId;
use crate::store::{Hint, StoreError};

/// How long a wake-up is waited for in one call: shorter than hosted Redis lets a silent connection live, and few calls a
/// day, because each is billed.
const WAKE_WAIT: Duration = Duration::from_secs(240);
/// After a part of listening has failed.
const SETUP_PAUSE: Duration = Duration::from_secs(1);
/// After waiting for a wake-up has failed.
const WAKE_PAUSE: Duration = Duration::from_millis(500);
const EXPIRED: &str = "expired";

pub(super) async fn run(
    store: &RedisStore,
    hints: mpsc::Sender<Hint>,
    drained: watch::Receiver<bool>,
) -> Result<(), StoreError> {
    #[expect(clippy::disallowed_methods, reason = "it outlives this call by the one wake-up that it may still pop")]
    tokio::spawn(wake_ups(store.clone(), hints.clone(), drained));
    tokio::select! {
        ended = subscriptions(store, &hints) => ended,
        () = hints.closed() => Ok(()),
    }
}

async fn subscriptions(store: &RedisStore, hints: &mpsc::Sender<Hint>) -> Result<(), StoreError> {
    let client = store.server.subscriber();
    let mut connected = client.reconnect_rx();
    let mut expired = client.keyspace_event_rx();
    let mut messages = client.message_rx();
    let mut connection = client.connect();
    keep_alive(client.clone());
    let mut is_set_up = true;
    loop {
        tokio::select! {
            server = connected.recv() => {
                if let Err(RecvError::Closed) = server {
                    return Err(ended());
                }
                is_set_up = set_up(store, &client, hints).await?;
            }
            // The other connection may not be there yet.
            () = pause(SETUP_PAUSE), if !is_set_up => is_set_up = set_up(store, &client, hints).await?,
            event = expired.recv() => match event {
                Ok(KeyspaceEvent { operation, key, .. }) if operation == EXPIRED => {
                    if let Some(conversation) = key.as_str().and_then(|key| store.keys.rung(key)) {
                        tell(hints, Hint::Due(conversation)).await;
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => tell(hints, Hint::Missed).await,
                Err(RecvError::Closed) => return Err(ended()),
            },
            message = messages.recv() => match message {
                Ok(Message { channel, .. }) if *channel == *store.keys.roll() => tell(hints, Hint::Roll).await,
                Ok(message) => tell(hints, grown(store, &message)).await,
                Err(RecvError::Lagged(_)) => tell(hints, Hint::Missed).await,
                Err(RecvError::Closed) => return Err(ended()),
            },
            _ = &mut connection => return Err(ended()),
        }
    }
}

/// A feed has grown, or a log.
fn grown(store: &RedisStore, message: &Message) -> Hint {
    let log = (message.channel == store.keys.logged()).then(|| message.value.as_string()).flatten();
    log.and_then(|id| ConversationId::parse(id).ok()).map_or(Hint::Fed, Hint::Logged)
}

/// Listen, tell that something may have been missed before, and see to it that there is something to hear. Whether all of it
/// was done; a newer layout is an error.
async fn set_up(
    store: &RedisStore,
    client: &impl PubsubInterface,
    hints: &mpsc::Sender<Hint>,
) -> Result<bool, StoreError> {
    let expired = format!("__keyevent@{}__:{EXPIRED}", store.server.database);
    let channels = vec![expired, store.keys.fed(), store.keys.logged(), store.keys.roll()];
    if client.subscribe(channels).await.is_err() {
        return Ok(false);
    }
    tell(hints, Hint::Missed).await;
    recheck_layout(store).await?;
    Ok(note_concerns(store).await.is_ok())
}

async fn note_concerns(store: &RedisStore) -> FredResult<()> {
    let server = store.mailbox.ready().await?;
    let mut concerns: Vec<String> = Notifications::turn_on(server).await?.concern().into_iter().collect();
    concerns.extend(check::faults_of_setup(server).await.iter().map(ToString::to_string));
    let mut known = store.concerns.lock().unwrap_or_else(PoisonError::into_inner);
    for concern in concerns.iter().filter(|concern| !known.contains(concern)) {
        tracing::warn!("Redis: {concern}");
    }
    *known = concerns;
    Ok(())
}

/// A newer layout ends this program; a server that is away does not.
async fn recheck_layout(store: &RedisStore) -> Result<(), StoreError> {
    let Ok(client) = store.mailbox.ready().await else { return Ok(()) };
    match store.check_layout(client).await {
        Ok(()) | Err(StoreError::Unavailable(_)) => Ok(()),
        Err(unreadable @ StoreError::Unreadable(_)) => Err(unreadable),
    }
}

/// Pop wake-ups until nobody wants to hear of them, but while this relay is drained; the one too many goes back.
async fn wake_ups(store: RedisStore, hints: mpsc::Sender<Hint>, mut drained: watch::Receiver<bool>) {
    let options = Options { timeout: Some(WAKE_WAIT + WAKE_PAUSE), ..Options::default() };
    let patient = store.server.blocking_client().with_options(&options);
    while !hints.is_closed() {
        if *drained.borrow() {
            // Whoever could end it is gone.
            let Ok(_) = drained.wait_for(|drained| !drained).await else { return };
        }
        let popped: FredResult<Option<(Value, Value)>> =
            patient.blpop(store.keys.wake(), WAKE_WAIT.as_secs_f64()).await;
        match popped {
            Ok(Some((_, id))) => {
                // Whoever may wake may write anything here.
                let Some(conversation) = id.into_string().and_then(|id| ConversationId::parse(id).ok()) else {
                    continue;
                };
                let is_drained = *drained.borrow();
                if is_drained || hints.send(Hint::Woken(conversation.clone())).await.is_err() {
                    give_back(&store, &conversation).await;
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "waiting for wake-ups failed");
                pause(WAKE_PAUSE).await;
            }
        }
    }
}

async fn give_back(store: &RedisStore, conversation: &ConversationId) {
    let Ok(client) = store.mailbox.ready().await else { return };
    let pushed: FredResult<()> = client.rpush(store.keys.wake(), conversation.as_str()).await;
    if let Err(error) = pushed {
        tracing::debug!(%error, "a wake-up is lost; the VM sends another");
    }
}

async fn pause(pause: Duration) {
    #[expect(clippy::disallowed_methods, reason = "what failed at once is not tried again at once")]
    tokio::time::sleep(pause).await;
}

/// A receiver that is gone is noticed by [`run`].
async fn tell(hints: &mpsc::Sender<Hint>, hint: Hint) {
    let _ = hints.send(hint).await;
}

fn ended() -> StoreError {
    StoreError::Unavailable(Box::new(Error::new(ErrorKind::Canceled, "the client of Redis has ended")))
}
