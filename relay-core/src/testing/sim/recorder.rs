//! A store that remembers what really happened in it, below the faults: every first append, fence and commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::id::{BlobId, ConversationId, EffectSeq, EventId, Fence, Nonce};
use crate::machine::{Conversation, Effect, Event, LogEntry, Phase, Queued, Timer};
use crate::store::sqlite::SqliteStore;
use crate::store::{
    Blob, Claim, Claimed, Commit, Committed, DeadLetter, Due, FeedEntry, Health, Held, Ingest, Ingested, Logged,
    Operators, Overview, Reserve, Reserved, Stats, Store, StoreError, Survey,
};
use crate::time::Timestamp;

/// What really happened.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Events in the order of their inboxes.
    pub(super) accepted: Vec<Accepted>,
    /// Commits that changed something.
    pub(super) commits: Vec<Kept>,
    /// Commits that were carried out under a fence that had been overtaken.
    pub(super) overtaken: Vec<String>,
    /// Commits that changed something when they were carried out again.
    pub(super) repeated: Vec<String>,
    seen: BTreeSet<EventId>,
    nonces: BTreeSet<Nonce>,
    fences: BTreeMap<ConversationId, Fence>,
    /// Places of the outboxes that were taken.
    places: BTreeSet<(ConversationId, EffectSeq)>,
    /// Messages in the outboxes.
    waiting: BTreeMap<ConversationId, BTreeMap<EffectSeq, String>>,
}

/// An event that was appended to an inbox.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) conversation: ConversationId,
    pub(super) event: Event,
    pub(super) at: Timestamp,
}

/// A commit, as far as it matters.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) conversation: ConversationId,
    pub(super) at: Timestamp,
    pub(super) effects: Vec<Queued>,
    /// What people are told by it that they had not been told before: lines that joined a message that waited already.
    pub(super) said: Vec<String>,
    /// What whoever looks on is told by it.
    pub(super) log: Vec<LogEntry>,
    pub(super) phase: Phase,
    /// When an unanswered diff is to be parked.
    pub(super) approval: Option<Timestamp>,
}

/// A [`SqliteStore`] with [`Records`].
#[derive(Debug)]
pub(super) struct Recorder {
    inner: SqliteStore,
    records: Mutex<Records>,
}

impl Recorder {
    pub(super) fn new(inner: SqliteStore) -> Self {
        Self { inner, records: Mutex::default() }
    }

    /// How much waits in all mailboxes.
    async fn mail(&self, now: Timestamp) -> Result<[u64; 3], StoreError> {
        let Stats { inbox, outbox, dead_letters, .. } = self.inner.stats(now).await?;
        Ok([inbox, outbox, dead_letters])
    }

    pub(super) fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    fn handed_out(&mut self, conversation: &ConversationId, held: &Held) {
        let highest = self.fences.entry(conversation.clone()).or_default();
        *highest = (*highest).max(held.fence);
        // What the holder before may have sent, nothing is joined to, whatever the next message begins with.
        if held.abandoned {
            self.waiting.remove(conversation);
        }
    }

    fn newly_said(&mut self, commit: &Commit) -> Vec<String> {
        let waiting = self.waiting.entry(commit.conversation.id.clone()).or_default();
        let joined: Vec<String> = commit.acked.iter().filter_map(|seq| waiting.remove(seq)).collect();
        let mut said = Vec::new();
        for queued in &commit.effects {
            let Effect::Say(say) = &queued.effect else { continue };
            let before = joined.iter().find(|before| say.text.starts_with(before.as_str()) && say.text != **before);
            // One that is sent again, at its old place, says nothing new.
            if self.places.insert((commit.conversation.id.clone(), queued.seq)) {
                said.push(say.text[before.map_or(0, String::len)..].to_owned());
            }
            waiting.insert(queued.seq, say.text.clone());
        }
        said
    }

    fn committed(&mut self, commit: Commit) {
        let id = &commit.conversation.id;
        let highest = self.fences.get(id).copied().unwrap_or_default();
        if commit.fence < highest {
            self.overtaken
                .push(format!("{id}: fence {} was carried out after {} was handed out", commit.fence.0, highest.0));
        }
        if self.nonces.insert(commit.nonce.clone()) {
            let said = self.newly_said(&commit);
            self.commits.push(Kept {
                conversation: commit.conversation.id.clone(),
                at: commit.now,
                said,
                log: commit.log,
                effects: commit.effects,
                approval: commit.conversation.timers.get(&Timer::Approval).copied(),
                phase: commit.conversation.phase,
            });
        }
    }
}

#[async_trait]
impl Store for Recorder {
    async fn ingest(&self, ingest: Ingest) -> Result<Ingested, StoreError> {
        let answer = self.inner.ingest(ingest.clone()).await?;
        let mut records = self.records();
        if let Ingested::Held(held) = &answer {
            records.handed_out(&ingest.conversation, held);
        }
        if matches!(answer, Ingested::Held(_) | Ingested::Queued) && records.seen.insert(ingest.id) {
            let Ingest { conversation, event, now: at, .. } = ingest;
            records.accepted.push(Accepted { conversation, event, at });
        }
        Ok(answer)
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let repeated = self.records().nonces.contains(&commit.nonce);
        let before = if repeated { Some(self.mail(commit.now).await?) } else { None };
        let answer = self.inner.commit(commit.clone()).await?;
        if let Some(before) = before
            && self.mail(commit.now).await? != before
        {
            let (id, nonce) = (&commit.conversation.id, &commit.nonce);
            self.records().repeated.push(format!("{id}: {nonce}, consuming {}", commit.consumed));
        }
        if !matches!(answer, Committed::Fenced) {
            self.records().committed(commit);
        }
        Ok(answer)
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        let conversation = claim.conversation.clone();
        let answer = self.inner.claim(claim).await?;
        if let Claimed::Held(held) = &answer {
            self.records().handed_out(&conversation, held);
        }
        Ok(answer)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Due, StoreError> {
        self.inner.due(now, limit).await
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
