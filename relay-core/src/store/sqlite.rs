//! The store of one relay machine: SQLite, in a file or in memory.
//!
//! Every call is one transaction. A file is in WAL mode with full synchronisation, so that an accepted event survives a
//! power cut. Calls on a file run on the blocking pool; calls on memory, which never wait, run in place.
//! The mailbox is in `mailbox`, logs are in `log`, what operators see in `operators`, everything else in `shelf`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{mpsc, watch};

use crate::id::{BlobId, ConversationId};
use crate::machine::Conversation;
use crate::store::{
    Blob, Claim, Claimed, Commit, Committed, DeadLetter, Due, FeedEntry, Health, Hint, Ingest, Ingested, Logged,
    Operators, Overview, Reserve, Reserved, Stats, Store, StoreError, Survey,
};
use crate::time::Timestamp;

mod log;
mod mailbox;
mod operators;
mod shelf;

const SCHEMA: &str = include_str!("sqlite/schema.sql");
/// The version of the schema that this program writes.
const SCHEMA_VERSION: i64 = 2;
/// How long a call waits for another process that has the file locked.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);
/// Logs that have grown and of which nobody was told yet; of more, it is told that there were some.
const GROWN_MAX: usize = 1024;

/// A [`Store`] over one SQLite database.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    connection: Arc<Mutex<Connection>>,
    in_memory: bool,
    /// Conversations whose logs grow.
    grown: broadcast::Sender<ConversationId>,
}

impl SqliteStore {
    /// Open or create the database at `path`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Self::prepare(connection, false)
    }

    /// A database that is gone with the process.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::prepare(Connection::open_in_memory()?, true)
    }

    fn prepare(connection: Connection, in_memory: bool) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(64);
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version > SCHEMA_VERSION {
            return Err(StoreError::Unreadable(format!(
                "the database has layout {version}, this program knows {SCHEMA_VERSION}; use a newer program"
            )));
        }
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        let grown = broadcast::Sender::new(GROWN_MAX);
        Ok(Self { connection: Arc::new(Mutex::new(connection)), in_memory, grown })
    }

    /// Run `work` in one transaction: all of it is kept, or, when it fails, none.
    async fn transact<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = Arc::clone(&self.connection);
        let call = move || {
            // A call that panicked was rolled back when its transaction was dropped.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let answer = work(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        };
        if self.in_memory {
            return call();
        }
        #[expect(clippy::disallowed_methods, reason = "a disk may take its time; the caller's thread must not")]
        let running = tokio::task::spawn_blocking(call);
        running.await.map_err(|error| StoreError::Unavailable(Box::new(error)))?
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn ingest(&self, ingest: Ingest) -> Result<Ingested, StoreError> {
        self.transact(move |db| mailbox::ingest(db, &ingest)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let grows = (!commit.log.is_empty()).then(|| commit.conversation.id.clone());
        let answer = self.transact(move |db| mailbox::commit(db, &commit)).await?;
        if let Some(conversation) = grows {
            // Nobody may be watching.
            let _ = self.grown.send(conversation);
        }
        Ok(answer)
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        self.transact(move |db| mailbox::claim(db, &claim)).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Due, StoreError> {
        self.transact(move |db| mailbox::due(db, now, limit)).await
    }

    async fn conversation(&self, conversation: &ConversationId) -> Result<Option<Conversation>, StoreError> {
        let id = conversation.clone();
        self.transact(move |db| mailbox::conversation(db, &id)).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.transact(move |db| shelf::dead_letters(db, 0, limit)).await
    }

    async fn redrive(&self, letter: u64, now: Timestamp) -> Result<bool, StoreError> {
        self.transact(move |db| shelf::redrive(db, letter, now)).await
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        self.transact(move |db| shelf::stats(db, now)).await
    }

    async fn survey(&self, now: Timestamp) -> Result<Survey, StoreError> {
        self.transact(move |db| shelf::survey(db, now)).await
    }

    async fn put_blob(&self, id: &BlobId, blob: Blob, expires_at: Timestamp) -> Result<(), StoreError> {
        let id = id.clone();
        self.transact(move |db| shelf::put_blob(db, &id, &blob, expires_at)).await
    }

    async fn blob(&self, id: &BlobId, now: Timestamp) -> Result<Option<Blob>, StoreError> {
        let id = id.clone();
        self.transact(move |db| shelf::blob(db, &id, now)).await
    }

    async fn append_feed(&self, conversation: &ConversationId, key: &str, entry: &str) -> Result<(), StoreError> {
        let (conversation, key, entry) = (conversation.clone(), key.to_owned(), entry.to_owned());
        self.transact(move |db| shelf::append_feed(db, &conversation, &key, &entry)).await
    }

    async fn feed(
        &self,
        conversation: &ConversationId,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        let conversation = conversation.clone();
        self.transact(move |db| shelf::feed(db, &conversation, cursor, limit)).await
    }

    async fn log(&self, conversation: &ConversationId, cursor: u64, limit: usize) -> Result<Vec<Logged>, StoreError> {
        let id = conversation.clone();
        self.transact(move |db| log::read(db, &id, cursor, limit)).await
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError> {
        self.transact(move |db| shelf::reserve(db, &reserve)).await
    }

    async fn set_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let (name, text) = (name.to_owned(), text.to_owned());
        self.transact(move |db| shelf::set_note(db, &name, &text)).await
    }

    async fn swap_note(&self, name: &str, known: Option<&str>, text: &str) -> Result<bool, StoreError> {
        let (name, known, text) = (name.to_owned(), known.map(str::to_owned), text.to_owned());
        self.transact(move |db| shelf::swap_note(db, &name, known.as_deref(), &text)).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.transact(move |db| shelf::note(db, &name)).await
    }

    async fn forget(
        &self,
        conversation: &ConversationId,
        blobs: &[BlobId],
        notes: &[String],
    ) -> Result<bool, StoreError> {
        let (id, blobs, notes) = (conversation.clone(), blobs.to_vec(), notes.to_vec());
        self.transact(move |db| shelf::forget(db, &id, &blobs, &notes)).await
    }

    fn operators(&self) -> &dyn Operators {
        self
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        self.transact(move |db| shelf::sweep(db, now)).await
    }

    async fn conversations(&self, limit: usize) -> Result<Vec<ConversationId>, StoreError> {
        self.transact(move |db| shelf::conversations(db, 0, limit)).await
    }

    async fn overview(&self, conversation: &ConversationId) -> Result<Option<Overview>, StoreError> {
        let id = conversation.clone();
        self.transact(move |db| shelf::overview(db, &id)).await
    }

    /// Every log that grows is told of, whoever follows it.
    async fn watch(&self, hints: mpsc::Sender<Hint>, _: watch::Receiver<bool>) -> Result<(), StoreError> {
        let mut grown = self.grown.subscribe();
        loop {
            let hint = tokio::select! {
                () = hints.closed() => return Ok(()),
                grown = grown.recv() => match grown {
                    Ok(conversation) => Hint::Logged(conversation),
                    Err(RecvError::Lagged(_)) => Hint::Missed,
                    Err(RecvError::Closed) => return Ok(()),
                },
            };
            // A receiver that is gone is noticed above.
            let _ = hints.send(hint).await;
        }
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.transact(|db| Ok(db.query_row("SELECT 1", [], |_| Ok(Health::default()))?)).await
    }
}

/// Something that was stored as JSON.
fn decode<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Unreadable(error.to_string()))
}

/// JSON to be stored.
fn encode<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with text keys")
}

/// SQLite's integers are signed.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
