//! A store that fails by seed: before a call, after it (the reply is lost), or by carrying it out twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::id::{BlobId, ConversationId};
use crate::machine::Conversation;
use crate::store::{
    Blob, Claim, Claimed, Commit, Committed, DeadLetter, Due, FeedEntry, Health, Ingest, Ingested, Logged, Operators,
    Overview, Reserve, Reserved, Stats, Store, StoreError, Survey,
};
use crate::time::Timestamp;

/// How often which fault happens, in percent of calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The call is not carried out.
    pub before_percent: u32,
    /// The call is carried out, and its reply is lost.
    pub lost_reply_percent: u32,
    /// The call is carried out twice, as by a client that sends again after a dropped connection.
    pub twice_percent: u32,
}

enum Fault {
    None,
    Before,
    LostReply,
    Twice,
}

/// A [`Store`] around another that injects [`Faults`] into the mailbox calls.
pub struct FaultyStore<S> {
    inner: S,
    faults: Faults,
    chance: Mutex<StdRng>,
    healed: AtomicBool,
}

impl<S: Store> FaultyStore<S> {
    /// Faults are drawn from `seed`: the same calls fail the same way.
    pub fn new(inner: S, faults: Faults, seed: u64) -> Self {
        Self { inner, faults, chance: Mutex::new(StdRng::seed_from_u64(seed)), healed: AtomicBool::new(false) }
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    /// The store inside, which does not fail.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    fn draw(&self) -> Fault {
        if self.healed.load(Ordering::Relaxed) {
            return Fault::None;
        }
        let drawn = self.chance.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..100);
        let Faults { before_percent, lost_reply_percent, twice_percent } = self.faults;
        match drawn {
            n if n < before_percent => Fault::Before,
            n if n < before_percent + lost_reply_percent => Fault::LostReply,
            n if n < before_percent + lost_reply_percent + twice_percent => Fault::Twice,
            _ => Fault::None,
        }
    }
}

fn unavailable(what: &'static str) -> StoreError {
    StoreError::Unavailable(what.into())
}

macro_rules! with_fault {
    ($self:ident, $call:expr, $again:expr) => {
        match $self.draw() {
            Fault::None => $again,
            Fault::Before => Err(unavailable("injected before the call")),
            Fault::LostReply => {
                $again?;
                Err(unavailable("injected: the reply is lost"))
            }
            Fault::Twice => {
                $call?;
                $again
            }
        }
    };
}

#[async_trait]
impl<S: Store> Store for FaultyStore<S> {
    async fn ingest(&self, ingest: Ingest) -> Result<Ingested, StoreError> {
        with_fault!(self, self.inner.ingest(ingest.clone()).await, self.inner.ingest(ingest).await)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        with_fault!(self, self.inner.commit(commit.clone()).await, self.inner.commit(commit).await)
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        with_fault!(self, self.inner.claim(claim.clone()).await, self.inner.claim(claim).await)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Due, StoreError> {
        with_fault!(self, self.inner.due(now, limit).await, self.inner.due(now, limit).await)
    }

    async fn conversation(&self, conversation: &ConversationId) -> Result<Option<Conversation>, StoreError> {
        self.inner.conversation(conversation).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.inner.dead_letters(limit).await
    }

    async fn redrive(&self, letter: u64, now: Timestamp) -> Result<bool, StoreError> {
        self.inner.redrive(letter, now).await
    }

    async fn survey(&self, now: Timestamp) -> Result<Survey, StoreError> {
        self.inner.survey(now).await
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        self.inner.stats(now).await
    }

    async fn put_blob(&self, id: &BlobId, blob: Blob, expires_at: Timestamp) -> Result<(), StoreError> {
        self.inner.put_blob(id, blob, expires_at).await
    }

    async fn blob(&self, id: &BlobId, now: Timestamp) -> Result<Option<Blob>, StoreError> {
        self.inner.blob(id, now).await
    }

    async fn append_feed(&self, conversation: &ConversationId, key: &str, entry: &str) -> Result<(), StoreError> {
        self.inner.append_feed(conversation, key, entry).await
    }

    async fn feed(
        &self,
        conversation: &ConversationId,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        self.inner.feed(conversation, cursor, limit).await
    }

    async fn log(&self, conversation: &ConversationId, cursor: u64, limit: usize) -> Result<Vec<Logged>, StoreError> {
        self.inner.log(conversation, cursor, limit).await
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError> {
        self.inner.reserve(reserve).await
    }

    async fn set_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.inner.set_note(name, text).await
    }

    async fn swap_note(&self, name: &str, known: Option<&str>, text: &str) -> Result<bool, StoreError> {
        self.inner.swap_note(name, known, text).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.inner.note(name).await
    }

    async fn forget(
        &self,
        conversation: &ConversationId,
        blobs: &[BlobId],
        notes: &[String],
    ) -> Result<bool, StoreError> {
        self.inner.forget(conversation, blobs, notes).await
    }

    fn operators(&self) -> &dyn Operators {
        self.inner.operators()
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        self.inner.sweep(now).await
    }

    async fn conversations(&self, limit: usize) -> Result<Vec<ConversationId>, StoreError> {
        self.inner.conversations(limit).await
    }

    async fn overview(&self, conversation: &ConversationId) -> Result<Option<Overview>, StoreError> {
        self.inner.overview(conversation).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.inner.health().await
    }
}
