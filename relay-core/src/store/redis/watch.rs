//! Hints from Redis: alarms that rang, conversations whose VM has published, feeds that grew. Two connections: one with
//! subscriptions, one that blocks on the list of wake-ups, of which each goes to exactly one relay.

use std::sync::PoisonError;
use std::time::Duration;

use fred::clients::Client;
use fred::error::{Error, ErrorKind};
use fred::interfaces::FredResult;
use fred::interfaces::{ClientLike, EventInterface, ListInterface, PubsubInterface};
use fred::prelude::Options;
use fred::types::{KeyspaceEvent, Message};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use super::connection::keep_alive;
use super::notifications::Notifications;
use super::{RedisStore, check, keys::Keys};
use crate::id::ConversationId;
use crate::store::{Hint, StoreError};

/// How long a wake-up is waited for in one call: shorter than hosted Redis lets a silent connection live, and few calls a
/// day, because each is billed.
const WAKE_WAIT: Duration = Duration::from_secs(240);
/// After that call has failed.
const WAKE_PAUSE: Duration = Duration::from_millis(500);
const EXPIRED: &str = "expired";

pub(super) async fn run(store: &RedisStore, hints: mpsc::Sender<Hint>) -> Result<(), StoreError> {
    let waking = wake_ups(store.server.blocking_client(), &store.keys, &hints);
    tokio::select! {
        ended = subscriptions(store, &hints) => ended,
        () = waking => Ok(()),
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
    loop {
        tokio::select! {
            server = connected.recv() => {
                if let Err(RecvError::Closed) = server {
                    return Err(ended());
                }
                // A subscription that fails comes with another connection, which is told of here again.
                if subscribe(store, &client).await.is_ok() {
                    recheck_layout(store).await?;
                    tell(hints, Hint::Missed).await;
                }
            }
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
                Ok(Message { .. }) | Err(RecvError::Lagged(_)) => tell(hints, Hint::Fed).await,
                Err(RecvError::Closed) => return Err(ended()),
            },
            _ = &mut connection => return Err(ended()),
        }
    }
}

/// Listen, and see to it that there is something to hear.
async fn subscribe(store: &RedisStore, client: &impl PubsubInterface) -> FredResult<()> {
    let expired = format!("__keyevent@{}__:{EXPIRED}", store.server.database);
    client.subscribe(vec![expired, store.keys.fed()]).await?;
    let server = store.mailbox.ready().await?;
    let mut concerns: Vec<String> = Notifications::turn_on(server).await.concern().into_iter().collect();
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

async fn wake_ups(client: Client, keys: &Keys, hints: &mpsc::Sender<Hint>) {
    let patient = client.with_options(&Options { timeout: Some(WAKE_WAIT + WAKE_PAUSE), ..Options::default() });
    loop {
        let popped: FredResult<Option<(String, String)>> = patient.blpop(keys.wake(), WAKE_WAIT.as_secs_f64()).await;
        match popped {
            Ok(Some((_, id))) => {
                // Whoever may wake may write anything here.
                if let Ok(conversation) = ConversationId::parse(id) {
                    tell(hints, Hint::Due(conversation)).await;
                }
            }
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "waiting for wake-ups failed");
                #[expect(clippy::disallowed_methods, reason = "a call that fails at once is not made again at once")]
                tokio::time::sleep(WAKE_PAUSE).await;
            }
        }
    }
}

/// A receiver that is gone is noticed by [`run`].
async fn tell(hints: &mpsc::Sender<Hint>, hint: Hint) {
    let _ = hints.send(hint).await;
}

fn ended() -> StoreError {
    StoreError::Unavailable(Box::new(Error::new(ErrorKind::Canceled, "the client of Redis has ended")))
}
