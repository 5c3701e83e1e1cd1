//! A store whose troubles are logged here and nowhere else: each cause once when it begins, and once when it is over,
//! however many requests and turns meet it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use opentelemetry::KeyValue;
use relay_core::id::{BlobId, ConversationId};
use relay_core::machine::Conversation;
use relay_core::store::{
    Blob, Claim, Claimed, Commit, Committed, DeadLetter, Due, FeedEntry, Health, Hint, Ingest, Ingested, Logged,
    Operators, Overview, Reserve, Reserved, Stats, Store, StoreError, Survey, Usage,
};
use relay_core::telemetry::calls;
use relay_core::telemetry::metrics::{CALLS, DurationsBy, Metrics, durations};
use relay_core::time::Timestamp;
use tokio::sync::{mpsc, watch};

use super::reason;

mod operators;

/// A call that takes so long, or fails, is told in the trace that it belongs to. The others are many, and all alike.
const SLOW: Duration = Duration::from_millis(50);

/// Another store, with its troubles logged.
pub struct LoggedStore {
    inner: Arc<dyn Store>,
    trouble: Mutex<Option<Trouble>>,
    calls: DurationsBy<(&'static str, &'static str)>,
    system: &'static str,
}

/// What a call does to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reads,
    Writes,
}

/// A time in which calls fail.
struct Trouble {
    /// When writing fails, reading may work all the while, as on a store that is full: that does not end it.
    kind: Kind,
    since: Instant,
    /// Reasons that were logged; bounded.
    told: Vec<String>,
}

/// Reasons logged for one trouble at most.
const TOLD_MAX: usize = 8;

/// A call of the store under way.
trait Answer<T>: Future<Output = Result<T, StoreError>> + Send {}

impl<T, F: Future<Output = Result<T, StoreError>> + Send> Answer<T> for F {}

impl Trouble {
    /// Note that a call failed; whether that is to be logged.
    fn failed(trouble: &mut Option<Self>, kind: Kind, reason: &str) -> bool {
        let trouble = trouble.get_or_insert_with(|| Self { kind, since: Instant::now(), told: Vec::new() });
        if trouble.told.len() >= TOLD_MAX || trouble.told.iter().any(|told| told == reason) {
            return false;
        }
        trouble.told.push(reason.to_owned());
        true
    }

    /// Note that a call was answered; the trouble that is over now.
    fn answered(trouble: &mut Option<Self>, kind: Kind) -> Option<Self> {
        trouble.take_if(|trouble| kind == Kind::Writes || trouble.kind == Kind::Reads)
    }
}

impl LoggedStore {
    /// `inner`, with its troubles logged.
    pub fn new(inner: Arc<dyn Store>, system: &'static str, metrics: &Metrics) -> Self {
        let calls = durations(&metrics.meter(), "db.client.operation.duration", "Calls of the store", CALLS);
        Self { inner, trouble: Mutex::new(None), calls: DurationsBy::new(calls), system }
    }

    async fn read<T>(&self, call: &'static str, answer: impl Answer<T>) -> Result<T, StoreError> {
        self.note(Kind::Reads, call, self.measured(call, answer).await)
    }

    async fn written<T>(&self, call: &'static str, answer: impl Answer<T>) -> Result<T, StoreError> {
        self.note(Kind::Writes, call, self.measured(call, answer).await)
    }

    async fn measured<T>(&self, call: &'static str, answer: impl Answer<T>) -> Result<T, StoreError> {
        let started = Instant::now();
        let answer = answer.await;
        let took = started.elapsed();
        let failure = match &answer {
            Ok(_) => "",
            Err(StoreError::Unavailable(_)) => "unavailable",
            Err(StoreError::Unreadable(_)) => "unreadable",
        };
        let named = || vec![KeyValue::new("db.system.name", self.system), KeyValue::new("db.operation.name", call)];
        if answer.is_err() || took >= SLOW {
            calls::over(call, took, named(), Some(failure).filter(|failure| !failure.is_empty()));
        }
        self.calls.record(
            took,
            |known| *known == (call, failure),
            || {
                let mut labels = named();
                labels.push(KeyValue::new("error.type", failure));
                ((call, failure), labels)
            },
        );
        answer
    }

    fn note<T>(&self, kind: Kind, call: &'static str, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match &answer {
            Ok(_) => {
                if let Some(over) = Trouble::answered(&mut trouble, kind) {
                    tracing::info!(after_s = over.since.elapsed().as_secs(), "the store works again");
                }
            }
            Err(error) => {
                let reason = reason(error);
                if Trouble::failed(&mut trouble, kind, &reason) {
                    tracing::error!(call, reason, "{error}; it is tried again until it works");
                }
            }
        }
        answer
    }
}

#[async_trait]
impl Store for LoggedStore {
    async fn ingest(&self, ingest: Ingest) -> Result<Ingested, StoreError> {
        self.written("ingest", self.inner.ingest(ingest)).await
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.written("commit", self.inner.commit(commit)).await
    }

    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        self.written("claim", self.inner.claim(claim)).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Due, StoreError> {
        self.read("due", self.inner.due(now, limit)).await
    }

    async fn conversation(&self, conversation: &ConversationId) -> Result<Option<Conversation>, StoreError> {
        self.read("conversation", self.inner.conversation(conversation)).await
    }

    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.read("dead_letters", self.inner.dead_letters(limit)).await
    }

    async fn redrive(&self, letter: u64, now: Timestamp) -> Result<bool, StoreError> {
        self.written("redrive", self.inner.redrive(letter, now)).await
    }

    async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError> {
        self.read("stats", self.inner.stats(now)).await
    }

    async fn survey(&self, now: Timestamp) -> Result<Survey, StoreError> {
        self.read("survey", self.inner.survey(now)).await
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }

    async fn put_blob(&self, id: &BlobId, blob: Blob, expires_at: Timestamp) -> Result<(), StoreError> {
        self.written("put_blob", self.inner.put_blob(id, blob, expires_at)).await
    }

    async fn blob(&self, id: &BlobId, now: Timestamp) -> Result<Option<Blob>, StoreError> {
        self.read("blob", self.inner.blob(id, now)).await
    }

    async fn append_feed(&self, conversation: &ConversationId, key: &str, entry: &str) -> Result<(), StoreError> {
        self.written("append_feed", self.inner.append_feed(conversation, key, entry)).await
    }

    async fn feed(
        &self,
        conversation: &ConversationId,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, StoreError> {
        self.read("feed", self.inner.feed(conversation, cursor, limit)).await
    }

    async fn log(&self, conversation: &ConversationId, cursor: u64, limit: usize) -> Result<Vec<Logged>, StoreError> {
        self.read("log", self.inner.log(conversation, cursor, limit)).await
    }

    async fn follow_log(
        &self,
        conversation: &ConversationId,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError> {
        self.read("follow_log", self.inner.follow_log(conversation, cursor, limit)).await
    }

    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError> {
        self.written("reserve", self.inner.reserve(reserve)).await
    }

    async fn set_note(&self, name: &str, text: &str) -> Result<(), StoreError> {
        self.written("set_note", self.inner.set_note(name, text)).await
    }

    async fn swap_note(&self, name: &str, known: Option<&str>, text: &str) -> Result<bool, StoreError> {
        self.written("swap_note", self.inner.swap_note(name, known, text)).await
    }

    async fn note(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.read("note", self.inner.note(name)).await
    }

    async fn forget(
        &self,
        conversation: &ConversationId,
        blobs: &[BlobId],
        notes: &[String],
    ) -> Result<bool, StoreError> {
        self.written("forget", self.inner.forget(conversation, blobs, notes)).await
    }

    fn operators(&self) -> &dyn Operators {
        self
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        self.written("sweep", self.inner.sweep(now)).await
    }

    async fn conversations(&self, limit: usize) -> Result<Vec<ConversationId>, StoreError> {
        self.read("conversations", self.inner.conversations(limit)).await
    }

    async fn overview(&self, conversation: &ConversationId) -> Result<Option<Overview>, StoreError> {
        self.read("overview", self.inner.overview(conversation)).await
    }

    /// Not noted: when it ends for good, so does the process, which says why.
    async fn watch(&self, hints: mpsc::Sender<Hint>, drained: watch::Receiver<bool>) -> Result<(), StoreError> {
        self.inner.watch(hints, drained).await
    }

    async fn hand_on(&self, conversations: &[ConversationId]) -> Result<(), StoreError> {
        self.written("hand_on", self.inner.hand_on(conversations)).await
    }

    async fn time(&self, local: Timestamp) -> Result<Timestamp, StoreError> {
        self.read("time", self.inner.time(local)).await
    }

    async fn health(&self) -> Result<Health, StoreError> {
        self.read("health", self.inner.health()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_once_until_the_store_works_again() {
        use Kind::{Reads, Writes};
        let mut trouble = None;
        assert!(Trouble::failed(&mut trouble, Writes, "OOM"));
        assert!(!Trouble::failed(&mut trouble, Writes, "OOM"), "another call meets the same");
        assert!(Trouble::answered(&mut trouble, Reads).is_none(), "reading works on a store that is full");
        assert!(Trouble::failed(&mut trouble, Reads, "connection refused"), "another cause");
        assert!(!Trouble::failed(&mut trouble, Writes, "OOM"));
        assert!(Trouble::answered(&mut trouble, Writes).is_some());
        assert!(Trouble::answered(&mut trouble, Writes).is_none());
        assert!(Trouble::failed(&mut trouble, Reads, "connection refused"), "a new trouble");
        assert!(Trouble::answered(&mut trouble, Reads).is_some());
    }
}
