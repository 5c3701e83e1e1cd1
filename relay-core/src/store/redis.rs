//! The store of any number of relays: Redis, by way of `fred`.
//!
//! The mailbox calls are one script each, so that what they promise holds whoever calls them at the same time. Nothing is
//! sent twice by the client itself; a call without an answer may or may not have been carried out, and may be made again
//! with its nonce. `docs/redis.md` has every key and what is promised of it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use fred::clients::Client;
use fred::interfaces::{ClientLike, HashesInterface, KeysInterface, ListInterface, SortedSetsInterface};
use tokio::sync::watch::Receiver;
use tokio::sync::{OnceCell, mpsc};

use crate::id::{BlobId, ConversationId, Nonce};
use crate::machine::Conversation;
use crate::store::{
    Activity, Blob, Claim, Claimed, Commit, Committed, DeadLetter, Due, FeedEntry, Health, Held, Hint, Ingest,
    Ingested, LOG_KEEP, Logged, Operators, Overview, Reserve, Reserved, Stats, Store, StoreError, Survey,
    UNREADABLE_PAUSE, Usage,
};
use crate::time::Timestamp;

pub mod acl;
pub mod check;
mod connection;
pub mod keys;
mod notifications;
mod operators;
mod pack;
pub mod publish;
mod scripts;
mod shelf;
mod watch;

pub use connection::OpenError;
use connection::{Connection, Server};
use fred::types::{ClusterHash, CustomCommand, Value};
use keys::{Keys, LAYOUT};
use scripts::{ClaimReply, CommitReply, IngestReply, Scripts, Taken};

/// Whichever relay gets the turn looks through the logs, so often: a command for each conversation.
const LOGS_LINE: &str = "sweep of logs";
const LOGS_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// Conversations whose logs are looked through in one step.
const LOGS_BATCH: usize = 20;

/// A [`Store`] over one Redis server.
#[derive(Clone)]
pub struct RedisStore {
    server: Server,
    keys: Keys,
    scripts: Arc<Scripts>,
    /// For the mailbox: short calls that a webhook waits for.
    mailbox: Connection,
    /// For what may be large, so that nothing short waits behind it.
    shelf: Connection,
    /// Set once the layout was found to be one that this program knows.
    layout: Arc<OnceCell<()>>,
    concerns: Arc<Mutex<Vec<String>>>,
}

/// Whether `url` is an address that [`RedisStore::open`] takes.
pub fn check_address(url: &str) -> Result<(), OpenError> {
    Server::parse(url, keys::NAMESPACE).map(|_| ())
}

impl RedisStore {
    /// The store of the deployment `namespace` on the server at `url`. Connects in the background, for as long as it takes;
    /// until then every call is [`StoreError::Unavailable`].
    pub fn open(url: &str, namespace: &str) -> Result<Self, OpenError> {
        let server = Server::parse(url, namespace)?;
        Ok(Self {
            keys: Keys::new(namespace),
            scripts: Arc::new(Scripts::new(server.is_upstash)),
            mailbox: server.connect(),
            shelf: server.connect(),
            layout: Arc::default(),
            concerns: Arc::default(),
            server,
        })
    }

    /// Nothing is read or written before the layout is known to be ours.
    async fn mailbox(&self) -> Result<&Client, StoreError> {
        let client = self.mailbox.ready().await?;
        self.layout.get_or_try_init(|| self.check_layout(client)).await?;
        Ok(client)
    }

    async fn shelf(&self) -> Result<&Client, StoreError> {
        self.mailbox().await?;
        Ok(self.shelf.ready().await?)
    }

    async fn check_layout(&self, client: &Client) -> Result<(), StoreError> {
        let key = self.keys.layout();
        let found: Option<String> = client.get(key).await?;
        match found.as_deref().map(str::parse::<u32>) {
            None => {
                let _: bool = client.setnx(key, LAYOUT).await?;
                Ok(())
            }
            Some(Ok(LAYOUT)) => Ok(()),
            Some(_) => Err(StoreError::Unreadable(format!(
                "the store has layout {}, this program knows {LAYOUT}; use a newer program",
                found.unwrap_or_default()
            ))),
        }
    }

    /// Look through the logs of all conversations, a few at a time.
    async fn sweep_logs(&self, until: Timestamp) -> Result<(), StoreError> {
        let client = self.shelf().await?;
        let mut from = 0;
        loop {
            let ids = shelf::conversations(client, &self.keys, from, LOGS_BATCH).await?;
            if ids.is_empty() {
                return Ok(());
            }
            self.scripts.sweep_logs(client, &self.keys, &ids, until).await?;
            from += LOGS_BATCH;
        }
    }

    /// What was taken, or, when it can't be read, the lease given back until somebody may be able to read it.
    async fn held(&self, id: &ConversationId, taken: Taken, nonce: Nonce, now: Timestamp) -> Result<Held, StoreError> {
        let fence = taken.fence;
        let held = pack::held(id, taken, nonce);
        if matches!(held, Err(StoreError::Unreadable(_))) {
            let until = now + UNREADABLE_PAUSE;
            self.scripts.put_off(self.mailbox.ready().await?, &self.keys, id, fence, until).await?;
        }
        held
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl From<fred::error::Error> for StoreError {
    fn from(error: fred::error::Error) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

fn newer(format: &str) -> StoreError {
    StoreError::Unreadable(format!("a conversation of format {format}"))
}

#[async_trait]
impl Store for RedisStore {
    async fn ingest(&self, ingest: Ingest) -> Result<Ingested, StoreError> {
        let reply = self.scripts.ingest(self.mailbox().await?, &self.keys, &ingest).await?;
        self.mailbox.count(reply.commands());
        Ok(match reply {
            IngestReply::Newer(format) => return Err(newer(&format)),
            IngestReply::Duplicate => Ingested::Duplicate,
            IngestReply::Full => Ingested::Full,
            IngestReply::Queued => Ingested::Queued,
            IngestReply::Held(taken) => match self.held(&ingest.conversation, taken, ingest.nonce, ingest.now).await {
                Ok(held) => Ingested::Held(Box::new(held)),
                // The event is kept, for a program that can read what it belongs to.
                Err(StoreError::Unreadable(_)) => Ingested::Queued,
                Err(error) => return Err(error),
            },
        })
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let reply = self.scripts.commit(self.mailbox().await?, &self.keys, &commit).await?;
        let unmarks = matches!(reply, CommitReply::Released) && commit.activity == Some(Activity::Idle);
        self.mailbox.count(reply.commands() + u64::from(unmarks));
        Ok(match reply {
            CommitReply::Fenced => Committed::Fenced,
            CommitReply::Released => Committed::Released,
            CommitReply::Held(events) => Committed::Held { inbox: pack::events(&commit.conversation.id, &events)? },
        })
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        let reply = self.scripts.claim(self.mailbox().await?, &self.keys, &claim).await?;
        self.mailbox.count(reply.commands());
        Ok(match reply {
            ClaimReply::Newer(format) => Claimed::Unreadable(format!("a conversation of format {format}")),
            ClaimReply::Taken => Claimed::Taken,
            ClaimReply::NotDue => Claimed::NotDue,
            ClaimReply::Held(taken) => match self.held(&claim.conversation, taken, claim.nonce, claim.now).await {
                Ok(held) => Claimed::Held(Box::new(held)),
                Err(StoreError::Unreadable(reason)) => Claimed::Unreadable(reason),
                Err(error) => return Err(error),
            },
        })
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Due, StoreError> {
        let page = Some((0, i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)));
        let soonest: Vec<(String, f64)> =
            self.mailbox().await?.zrangebyscore(self.keys.due(), 0.0, f64::INFINITY, true, page).await?;
        let mut due = Due::default();
        for (id, at) in soonest {
            // Exact: a score holds every integer of this size.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "scores are instants, or infinite"
            )]
            let at = if at.is_finite() { Timestamp(at as u64) } else { break };
            if at > now {
                due.next = Some(at);
                break;
            }
            if due.conversations.len() < limit {
                due.conversations.push(pack::conversation_id(id)?);
            }
        }
        Ok(due)
    }

    async fn conversation(&self, conversation: &ConversationId) -> Result<Option<Conversation>, StoreError> {
        let key = self.keys.conversation(conversation);
        let (state, format): (Option<String>, Option<u32>) =
            self.mailbox().await?.hmget(key, vec!["state", "format"]).await?;
        match (state, format) {
            (_, Some(format)) if format > Conversation::FORMAT => Err(newer(&format.to_string())),
            (Some(state), _) => pack::decode(&state).map(Some),
            (None, _) => Ok(None),
        }
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.letters(0, limit).await
    }

    async fn redrive(&self, letter: u64, now: Timestamp) -> Result<bool, StoreError> {
        let client = self.mailbox().await?;
        match shelf::dead_letter(client, &self.keys, letter).await? {
            Some(letter) => self.scripts.redrive(client, &self.keys, letter, now).await,
            None => Ok(false),
        }
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        shelf::stats(self.shelf().await?, &self.keys, now).await
    }

    async fn survey(&self, now: Timestamp) -> Result<Survey, StoreError> {
        let client = self.shelf().await?;
        self.shelf.count(shelf::SURVEY_COMMANDS - 1);
        shelf::survey(client, &self.keys, now).await
    }

    fn usage(&self) -> Usage {
        Usage {
            commands: self.mailbox.commands() + self.shelf.commands(),
            reconnects: self.mailbox.reconnects() + self.shelf.reconnects(),
        }
    }

    async fn put_blob(&self, id: &BlobId, blob: Blob, expires_at: Timestamp) -> Result<(), StoreError> {
        shelf::put_blob(self.shelf().await?, &self.keys, id, blob, expires_at).await
    }

    async fn blob(&self, id: &BlobId, now: Timestamp) -> Result<Option<Blob>, StoreError> {
        shelf::blob(self.shelf().await?, &self.keys, id, now).await
    }

    async fn append_feed(&self, conversation: &ConversationId, key: &str, entry: &str) -> Result<(), StoreError> {
        self.shelf.count(scripts::APPEND_FEED_COMMANDS);
        self.scripts.append_feed(self.shelf().await?, &self.keys, conversation, key, entry).await
    }

    async fn feed(
        &self,
        conversation: &ConversationId,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        shelf::feed(self.shelf().await?, &self.keys, conversation, cursor, limit).await
    }

    async fn log(&self, conversation: &ConversationId, cursor: u64, limit: usize) -> Result<Vec<Logged>, StoreError> {
        self.shelf.count(scripts::LOG_COMMANDS);
        self.scripts.log(self.shelf().await?, &self.keys, conversation, (cursor, limit), false).await
    }

    async fn follow_log(
        &self,
        conversation: &ConversationId,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError> {
        self.shelf.count(scripts::LOG_COMMANDS);
        self.scripts.log(self.shelf().await?, &self.keys, conversation, (cursor, limit), true).await
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError> {
        self.mailbox.count(scripts::RESERVE_COMMANDS);
        self.scripts.reserve(self.mailbox().await?, &self.keys, &reserve).await
    }

    async fn set_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let (mailbox, notes) = (self.mailbox().await?, self.keys.notes());
        let _: i64 = match text {
            "" => mailbox.hdel(notes, name).await?,
            text => mailbox.hset(notes, (name, text)).await?,
        };
        Ok(())
    }

    async fn swap_note(&self, name: &str, known: Option<&str>, text: &str) -> Result<bool, StoreError> {
        self.mailbox.count(scripts::SWAP_NOTE_COMMANDS);
        self.scripts.swap_note(self.mailbox().await?, &self.keys, name, known, text).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.mailbox().await?.hget(self.keys.notes(), name).await?)
    }

    async fn forget(
        &self,
        conversation: &ConversationId,
        blobs: &[BlobId],
        notes: &[String],
    ) -> Result<bool, StoreError> {
        let client = self.shelf().await?;
        let letters = shelf::letters_of(client, &self.keys, conversation).await?;
        self.scripts.forget(client, &self.keys, conversation, &letters, (blobs, notes)).await
    }

    fn operators(&self) -> &dyn Operators {
        self
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        shelf::sweep(self.shelf().await?, &self.keys, now).await?;
        let (line, interval, wait_max) = (LOGS_LINE.to_owned(), LOGS_INTERVAL, Duration::ZERO);
        match self.reserve(Reserve { line, count: 1, interval, wait_max, now }).await? {
            Reserved::In(_) => self.sweep_logs(now - LOG_KEEP).await,
            Reserved::Later(_) => Ok(()),
        }
    }

    async fn conversations(&self, limit: usize) -> Result<Vec<ConversationId>, StoreError> {
        self.list(0, limit).await
    }

    async fn overview(&self, conversation: &ConversationId) -> Result<Option<Overview>, StoreError> {
        shelf::overview(self.shelf().await?, &self.keys, conversation).await
    }

    async fn watch(&self, hints: mpsc::Sender<Hint>, drained: Receiver<bool>) -> Result<(), StoreError> {
        watch::run(self, hints, drained).await
    }

    async fn hand_on(&self, conversations: &[ConversationId]) -> Result<(), StoreError> {
        let ids: Vec<&str> = conversations.iter().map(ConversationId::as_str).collect();
        let _: i64 = self.mailbox().await?.rpush(self.keys.wake(), ids).await?;
        Ok(())
    }

    /// The server's own clock.
    async fn time(&self, _local: Timestamp) -> Result<Timestamp, StoreError> {
        let command = CustomCommand::new_static("TIME", ClusterHash::FirstKey, false);
        let (seconds, micros): (u64, u64) = self.mailbox().await?.custom(command, Vec::<Value>::new()).await?;
        Ok(Timestamp(seconds * 1_000 + micros / 1_000))
    }

    async fn health(&self) -> Result<Health, StoreError> {
        let _: String = self.mailbox().await?.ping(None).await?;
        Ok(Health { concerns: self.concerns.lock().unwrap_or_else(PoisonError::into_inner).clone() })
    }
}
