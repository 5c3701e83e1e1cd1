//! The store contract: one durable mailbox per conversation, and what else the relays share.
//!
//! The documentation of [`Store`] is the contract; `testing::conformance` is the contract as tests, which every
//! implementation passes. A store commits, it never decides: it knows nothing of phases, words or VMs.
//!
//! Who holds a conversation's *lease* may commit to it. Every lease has a *fence*, larger than all before; a commit under
//! an older fence changes nothing. Every call carries a *nonce*, so that a call which is carried out twice (a client that
//! sends again after a dropped connection) has the effect of one. Safety rests on fence and nonce alone; the clock, which
//! each caller passes as `now`, only decides when a lease may be taken over.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::id::{BlobId, ConversationId, EffectSeq, EventId, Fence, NodeId, Nonce};
use crate::machine::{Conversation, Dead, Effect, Event, LogEntry, Queued};
use crate::time::Timestamp;

pub mod operators;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod survey;

pub use operators::Operators;
pub use survey::{Activity, Survey};

/// How long a lease lasts without a commit. Longer than any effect, so that a holder which is alive keeps it; as short as
/// the longest time that a person should wait when a relay dies.
pub const LEASE: Duration = Duration::from_secs(8);
/// Events that one conversation's inbox holds at most; more are refused until the holder has caught up.
pub const INBOX_MAX: usize = 2_000;
/// Event ids are remembered for this long, far longer than any provider repeats a webhook.
pub const DEDUPE_KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// A conversation that can't be read is looked at again after this long: by then a newer program may be there.
pub const UNREADABLE_PAUSE: Duration = Duration::from_secs(60);
/// A feed keeps its latest entries, this many.
pub const FEED_MAX: usize = 1_000;
/// A log keeps its latest entries, this many or a few less.
pub const LOG_MAX: usize = 1_000;
/// An entry of a log is kept for this long, and until it is swept.
pub const LOG_KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the relays share.
#[async_trait]
pub trait Store: Send + Sync {
    /// Append an event to its conversation's inbox, durably, and take the lease if nobody holds it.
    ///
    /// An event whose id was ingested before (within [`DEDUPE_KEEP`]) is a [`Ingested::Duplicate`] and changes nothing.
    /// When this returns anything but an error, the event will be processed even if every relay dies now.
    async fn ingest(&self, ingest: Ingest) -> Result<Ingested, StoreError>;

    /// Apply one turn's result: drop the first `consumed` events, remove `acked` and append `effects` in the outbox, keep
    /// the dead letters, append to the log, write the state, extend or release the lease. All of it or nothing.
    ///
    /// Released only if `release` is asked and the inbox is empty, so that no event is left without somebody who
    /// will process it; a released conversation is due at `deadline`. The same nonce again changes nothing and answers the same;
    /// a call that arrives after a later one of the same lease is [`Committed::Fenced`].
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// Take the lease of a conversation that is due: its deadline has passed, its holder's lease has run out, or its VM has
    /// published something that nobody holds it to read.
    async fn claim(&self, claim: Claim) -> Result<Claimed, StoreError>;

    /// Conversations that are due, the longest overdue first, and when the next one will be.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Due, StoreError>;

    /// The state of a conversation as last committed, for looking at.
    async fn conversation(&self, conversation: &ConversationId) -> Result<Option<Conversation>, StoreError>;

    /// Dead letters, the oldest first.
    async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, StoreError>;

    /// Put a dead letter back: it leaves the dead letters and its conversation gets [`Event::Redriven`], in one step.
    /// False when there is no such letter. The conversation is due at once.
    async fn redrive(&self, letter: u64, now: Timestamp) -> Result<bool, StoreError>;

    /// Counts over everything stored.
    async fn stats(&self, now: Timestamp) -> Result<Stats, StoreError>;

    /// Counts that cost little however much is stored: a few calls of a server that bills them.
    async fn survey(&self, now: Timestamp) -> Result<Survey, StoreError>;

    /// What the calls of this process have cost so far.
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// Keep a picture until `expires_at`. The same id again overwrites.
    async fn put_blob(&self, id: &BlobId, blob: Blob, expires_at: Timestamp) -> Result<(), StoreError>;

    /// A picture that has not expired at `now`.
    async fn blob(&self, id: &BlobId, now: Timestamp) -> Result<Option<Blob>, StoreError>;

    /// Append to a conversation's feed, which viewers follow. The same key again changes nothing. Keeps [`FEED_MAX`]. Cursors
    /// only grow, also when the conversation is erased in between: whoever follows goes on.
    async fn append_feed(&self, conversation: &ConversationId, key: &str, entry: &str) -> Result<(), StoreError>;

    /// Entries of a feed after `cursor` (0: from the oldest kept), the oldest first.
    async fn feed(
        &self,
        conversation: &ConversationId,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<FeedEntry>, StoreError>;

    /// Entries of a conversation's log after `cursor` (0: from the oldest kept), the oldest first. Keeps at most [`LOG_MAX`].
    async fn log(&self, conversation: &ConversationId, cursor: u64, limit: usize) -> Result<Vec<Logged>, StoreError>;

    /// The same, and the next commit that appends to this log gives the hint [`Hint::Logged`] to everybody who watches, once:
    /// whoever goes on following asks again. A store may give it unasked.
    async fn follow_log(
        &self,
        conversation: &ConversationId,
        cursor: u64,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError> {
        self.log(conversation, cursor, limit).await
    }

    /// Reserve `count` turns of a line that all who share the store stand in, one turn each `interval`, if the first of them
    /// comes within `wait_max`: how long it is until then. Otherwise nothing is reserved.
    async fn reserve(&self, reserve: Reserve) -> Result<Reserved, StoreError>;

    /// Keep a short text under a name, for ever or until another is; an empty one erases it.
    async fn set_note(&self, name: &str, text: &str) -> Result<(), StoreError>;

    /// Keep a text under a name if what is kept there now is `known` (`None`: nothing); an empty one erases it. Whether that was so; if not, nothing is
    /// changed. Whoever changes a note that others change too reads it, and tries again when it was another by then.
    async fn swap_note(&self, name: &str, known: Option<&str>, text: &str) -> Result<bool, StoreError>;

    /// The text kept under that name.
    async fn note(&self, name: &str) -> Result<Option<String>, StoreError>;

    /// Erase a conversation: its state, what waits in it, its feed, its log, its dead letters, and the blobs and notes named. Whoever
    /// holds it commits to it no more. Event ids are still remembered, so that a repeat does not bring it back. Whether
    /// there was one.
    async fn forget(
        &self,
        conversation: &ConversationId,
        blobs: &[BlobId],
        notes: &[String],
    ) -> Result<bool, StoreError>;

    /// What operators see of the same store, and do.
    fn operators(&self) -> &dyn Operators;

    /// Delete what has expired: pictures, remembered event ids, entries of logs (these may be left for a day), relays
    /// that are gone.
    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Conversations known, those that are due or will be soonest first.
    async fn conversations(&self, limit: usize) -> Result<Vec<ConversationId>, StoreError>;

    /// Who has a conversation and what waits in it, for looking at.
    async fn overview(&self, conversation: &ConversationId) -> Result<Option<Overview>, StoreError>;

    /// Send hints for as long as somebody receives them. A hint saves time and promises nothing: whoever gets none finds
    /// the same a little later by [`Store::due`] and [`Store::feed`], and is told by [`Hint::Missed`] when to look at logs. Ends
    /// with an error when no more hints can come. While `drained` says so, what goes to one relay alone is left to others.
    ///
    /// A store that one process has for itself has nothing to tell it but that logs grow.
    async fn watch(&self, hints: mpsc::Sender<Hint>, _drained: watch::Receiver<bool>) -> Result<(), StoreError> {
        hints.closed().await;
        Ok(())
    }

    /// Have another relay look at these at once: each is sent [`Hint::Woken`] to one that is not drained. A store that one process
    /// has for itself has nobody to tell.
    async fn hand_on(&self, _conversations: &[ConversationId]) -> Result<(), StoreError> {
        Ok(())
    }

    /// The time by the clock that all who share the store go by: `local` for a process that has it for itself.
    async fn time(&self, local: Timestamp) -> Result<Timestamp, StoreError> {
        Ok(local)
    }

    /// Whether the store can be worked with, by one call that costs nothing.
    async fn health(&self) -> Result<Health, StoreError>;
}

/// The store is unwell. What the caller may act on is in the answers, not here.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not answer, or answered with an error of its own. The call may or may not have been carried out.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something stored can't be read, or was written by a newer version. It is left untouched.
    #[error("stored data can't be read: {0}")]
    Unreadable(String),
}

/// A call of [`Store::ingest`].
#[derive(Clone, Debug)]
pub struct Ingest {
    /// Whose event.
    pub conversation: ConversationId,
    /// What a repeat is known by.
    pub id: EventId,
    /// What happened.
    pub event: Event,
    /// Who would hold the lease.
    pub node: NodeId,
    /// Names this call.
    pub nonce: Nonce,
    /// The caller's clock.
    pub now: Timestamp,
}

/// Answer of [`Store::ingest`].
#[derive(Clone, Debug)]
pub enum Ingested {
    /// The caller now holds the conversation and must take its turn.
    Held(Box<Held>),
    /// Somebody else holds it and will see the event.
    Queued,
    /// It was ingested before.
    Duplicate,
    /// The inbox is full; nothing was stored.
    Full,
}

/// A conversation in the hands of a lease holder.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its state; a new one if nothing was ever committed.
    pub conversation: Conversation,
    /// This lease's fence.
    pub fence: Fence,
    /// Names the call that took it.
    pub nonce: Nonce,
    /// Events not yet consumed, in order.
    pub inbox: Vec<Event>,
    /// Effects not yet acknowledged, in order.
    pub outbox: Vec<Queued>,
    /// Whether the holder before did not give the conversation back: it died or was cut off, and what it was about to do it
    /// may have done.
    pub abandoned: bool,
}

/// A call of [`Store::commit`].
#[derive(Clone, Debug)]
pub struct Commit {
    /// The lease it is made under.
    pub fence: Fence,
    /// Names this call.
    pub nonce: Nonce,
    /// Names the call before it under the same lease: the one that took it, or the last commit.
    pub previous: Nonce,
    /// The caller's clock.
    pub now: Timestamp,
    /// How many events, from the first, are dealt with.
    pub consumed: usize,
    /// Effects that leave the outbox.
    pub acked: Vec<EffectSeq>,
    /// Effects to append.
    pub effects: Vec<Queued>,
    /// Effects given up.
    pub dead: Vec<Dead>,
    /// Entries to append to the log, at `now`.
    pub log: Vec<LogEntry>,
    /// The new state.
    pub conversation: Conversation,
    /// With a release: what goes on now, where that is something else than what was told before, or that is not known.
    pub activity: Option<Activity>,
    /// When the conversation is due once it is released.
    pub deadline: Option<Timestamp>,
    /// Whether the holder has nothing more to do for now.
    pub release: bool,
}

/// Answer of [`Store::commit`].
#[derive(Clone, Debug)]
pub enum Committed {
    /// The lease is given back.
    Released,
    /// The lease is extended; these events wait now.
    Held {
        /// All events not yet consumed, in order.
        inbox: Vec<Event>,
    },
    /// Somebody else holds the conversation, or a later commit was carried out; nothing was changed.
    Fenced,
}

/// A call of [`Store::claim`].
#[derive(Clone, Debug)]
pub struct Claim {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Who would hold the lease.
    pub node: NodeId,
    /// Names this call.
    pub nonce: Nonce,
    /// The caller's clock.
    pub now: Timestamp,
}

/// Answer of [`Store::claim`].
#[derive(Clone, Debug)]
pub enum Claimed {
    /// The caller now holds the conversation and must take its turn.
    Held(Box<Held>),
    /// Somebody else has a lease that has not run out.
    Taken,
    /// It is not due, or does not exist.
    NotDue,
    /// What is stored of it can't be read; it is left as it is and not due again before [`UNREADABLE_PAUSE`] is over, so
    /// that it does not keep others from their turn. Says why.
    Unreadable(String),
}

/// Answer of [`Store::due`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Conversations that are due.
    pub conversations: Vec<ConversationId>,
    /// The earliest instant after `now` at which another one will be.
    pub next: Option<Timestamp>,
}

/// A call of [`Store::reserve`].
#[derive(Clone, Debug)]
pub struct Reserve {
    /// Which line.
    pub line: String,
    /// Turns.
    pub count: u32,
    /// From one turn to the next.
    pub interval: Duration,
    /// The first of them must come within this time.
    pub wait_max: Duration,
    /// The caller's clock.
    pub now: Timestamp,
}

/// Answer of [`Store::reserve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The first turn is in so long.
    In(Duration),
    /// Nothing is reserved; a turn is to be had in so long.
    Later(Duration),
}

/// An effect that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its number in the store.
    pub letter: u64,
    /// Whose it is.
    pub conversation: ConversationId,
    /// What could not be done.
    pub effect: Effect,
    /// Why.
    pub reason: String,
    /// When it was given up.
    pub at: Timestamp,
}

/// Answer of [`Store::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Conversations known.
    pub conversations: u64,
    /// Of them, those under a lease that has not run out.
    pub held: u64,
    /// Of them, those that are due.
    pub due: u64,
    /// Events not yet consumed.
    pub inbox: u64,
    /// Effects not yet acknowledged.
    pub outbox: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// Answer of [`Store::usage`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Commands carried out by a server, those inside of scripts counted as hosted servers bill them.
    pub commands: u64,
    /// Connections that were lost and made again.
    pub reconnects: u64,
}

/// A picture.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its media type.
    pub content_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Blob({}, {} bytes)", self.content_type, self.bytes.len())
    }
}

/// Something that happened in the store, by another process or by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// This conversation may be due. Others are told as well.
    Due(ConversationId),
    /// This conversation is to be looked at: its VM has published something, or a drained relay has handed it on. Nobody else is
    /// told: whoever does not look hands it on by [`Store::hand_on`].
    Woken(ConversationId),
    /// Hints may have been lost: anything may be due.
    Missed,
    /// A feed has grown.
    Fed,
    /// An operator wants to know which relays are there: tell it by [`Operators::beat`].
    Roll,
    /// A log that is followed has grown.
    Logged(ConversationId),
}

/// Answer of [`Store::health`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// What works less well than it could, and how to mend it; one sentence each.
    pub concerns: Vec<String>,
}

/// Answer of [`Store::overview`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Which conversation.
    pub conversation: ConversationId,
    /// The latest fence.
    pub fence: Fence,
    /// Who has the lease, if anyone; it may have run out.
    pub holder: Option<NodeId>,
    /// When the lease runs out or, without one, the conversation is due.
    pub due_at: Option<Timestamp>,
    /// Events not yet consumed.
    pub inbox: u64,
    /// Effects not yet acknowledged.
    pub outbox: u64,
}

/// An entry of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Its place; grows.
    pub cursor: u64,
    /// What was appended.
    pub entry: String,
}

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logged {
    /// Its place; grows.
    pub cursor: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub entry: LogEntry,
}
