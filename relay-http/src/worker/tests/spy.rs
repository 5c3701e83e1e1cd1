//! A store that counts what is asked of it, and fails, waits and hints as told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use relay_core::id::{Address, BlobId, ChannelKind, ConversationId, MessageId, NodeId};
use relay_core::machine::{Content, Conversation, Event, Message};
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{
    Blob, Claim, Claimed, Commit, Committed, DeadLetter, Due, FeedEntry, Health, Hint, Ingest, Ingested, Logged,
    Operators, Overview, Reserve, Reserved, Stats, Store, StoreError, Survey,
};
use relay_core::testing;
use relay_core::time::Timestamp;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::clock;

/// Over one in memory.
pub(super) struct Spy {
    pub(super) inner: SqliteStore,
    pub(super) is_away: AtomicBool,
    looks: Mutex<Vec<Instant>>,
    claims: Mutex<Vec<(ConversationId, Instant)>>,
    handed_on: Mutex<Vec<ConversationId>>,
    /// A claim waits for a permit before it answers.
    pub(super) answers: Semaphore,
    pub(super) asked_the_time: AtomicUsize,
    /// Present until the relay watches.
    hints: Mutex<Option<mpsc::Receiver<Hint>>>,
}

impl Spy {
    pub(super) fn new(hints: mpsc::Receiver<Hint>) -> Arc<Self> {
        Arc::new(Self {
            inner: SqliteStore::in_memory().unwrap(),
            is_away: AtomicBool::new(false),
            looks: Mutex::default(),
            claims: Mutex::default(),
            handed_on: Mutex::default(),
            answers: Semaphore::new(Semaphore::MAX_PERMITS),
            asked_the_time: AtomicUsize::new(0),
            hints: Mutex::new(Some(hints)),
        })
    }

    fn try_out(&self) -> Result<(), StoreError> {
        match self.is_away.load(Ordering::Relaxed) {
            true => Err(StoreError::Unavailable("connection refused".into())),
            false => Ok(()),
        }
    }

    pub(super) fn looks(&self) -> Vec<Instant> {
        self.looks.lock().unwrap().clone()
    }

    pub(super) fn claims(&self) -> Vec<(ConversationId, Instant)> {
        self.claims.lock().unwrap().clone()
    }

    pub(super) fn handed_on(&self) -> Vec<ConversationId> {
        self.handed_on.lock().unwrap().clone()
    }

    /// A conversation that another relay has released, due at `deadline`.
    pub(super) async fn released(&self, name: &str, deadline: Timestamp) -> ConversationId {
        let conversation = ConversationId::parse(name).unwrap();
        let from = Address { channel: ChannelKind::Console, name: name.to_owned() };
        let content = Content::Text { text: "hello".into() };
        let event = Event::Message(Message::new(MessageId::parse(name).unwrap(), from, content));
        let ingest = Ingest {
            conversation: conversation.clone(),
            id: event.id().unwrap(),
            event,
            node: NodeId::parse("another").unwrap(),
            nonce: clock::nonce(),
            now: clock::now(),
        };
        let Ingested::Held(held) = self.inner.ingest(ingest).await.unwrap() else { panic!("{name} is new") };
        let commit = Commit { deadline: Some(deadline), ..testing::giving_back(&held, clock::nonce(), clock::now()) };
        assert!(matches!(self.inner.commit(commit).await.unwrap(), Committed::Released));
        conversation
    }
}

#[async_trait]
impl Store for Spy {
    async fn ingest(&self, ingest: Ingest) -> Result<Ingested, StoreError> {
        self.inner.ingest(ingest).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.inner.commit(commit).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        self.claims.lock().unwrap().push((claim.conversation.clone(), Instant::now()));
        self.try_out()?;
        let answer = self.inner.claim(claim).await;
        let _permit = self.answers.acquire().await;
        answer
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Due, StoreError> {
        self.looks.lock().unwrap().push(Instant::now());
        self.try_out()?;
        self.inner.due(now, limit).await
    }

    async fn time(&self, local: Timestamp) -> Result<Timestamp, StoreError> {
        self.asked_the_time.fetch_add(1, Ordering::Relaxed);
        self.inner.time(local).await
    }

    async fn watch(&self, hints: mpsc::Sender<Hint>, _: watch::Receiver<bool>) -> Result<(), StoreError> {
        let given = self.hints.lock().unwrap().take();
        let mut given = given.expect("watched once");
        while let Some(hint) = given.recv().await {
            let _ = hints.send(hint).await;
        }
        Err(StoreError::Unavailable("the client has ended".into()))
    }

    async fn hand_on(&self, conversations: &[ConversationId]) -> Result<(), StoreError> {
        self.try_out()?;
        self.handed_on.lock().unwrap().extend_from_slice(conversations);
        Ok(())
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError> {
        self.inner.reserve(reserve).await
    }

    async fn swap_note(&self, name: &str, known: Option<&str>, text: &str) -> Result<bool, StoreError> {
        self.inner.swap_note(name, known, text).await
    }

    async fn set_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.inner.set_note(name, text).await
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

    async fn feed(&self, id: &ConversationId, cursor: u64, limit: usize) -> Result<Vec<FeedEntry>, StoreError> {
        self.inner.feed(id, cursor, limit).await
    }

    fn operators(&self) -> &dyn Operators {
        self.inner.operators()
    }

    async fn log(&self, id: &ConversationId, cursor: u64, limit: usize) -> Result<Vec<Logged>, StoreError> {
        self.inner.log(id, cursor, limit).await
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
