//! Whoever looks on: any number of viewers of the logs of conversations, on whichever relay they are.
//!
//! All viewers of one conversation share what this relay reads of its log. A hint of the store has it read once, and every viewer
//! is given what came. While nothing happens, nothing is asked. A viewer reads by itself only what came before it did, or what it
//! finds that it has missed, so that it has every entry, and each once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relay_core::id::{ConversationId, RunId};
use relay_core::machine::LogWhat;
use relay_core::store::{Logged, Store, StoreError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Viewers of one relay at most.
const VIEWERS_MAX: usize = 4_000;
/// Entries read in one call.
const BATCH: usize = 100;
/// News that a viewer may leave untaken; one that is slower is cut off and comes again.
const NEWS_MAX: usize = 32;
/// A store that does not answer is asked again after this long.
const REST: Duration = Duration::from_secs(1);

/// The viewers of this relay.
pub struct Viewers {
    store: Arc<dyn Store>,
    followed: Mutex<HashMap<ConversationId, Followed>>,
    places: Arc<Semaphore>,
    /// What is read for all of a conversation's viewers.
    reading: TaskTracker,
    stopping: CancellationToken,
}

/// A conversation that somebody looks at.
struct Followed {
    viewers: usize,
    /// How far its log was read for any of them, once it was. Only what was read counts: a place that somebody just names may be far
    /// beyond the end, and then nothing would be read for the others.
    read: Option<u64>,
    /// Until then, the least that one of them says to have.
    named: u64,
    /// Whether it is being read, and whether it has to be again.
    is_read: bool,
    has_grown: bool,
    news: broadcast::Sender<Arc<News>>,
}

impl Followed {
    /// From where to read for all of them.
    fn cursor(&self) -> u64 {
        self.read.unwrap_or(self.named)
    }

    /// These were read.
    fn reached(&mut self, entries: &[Logged]) {
        self.read = self.read.max(entries.last().map(|entry| entry.cursor));
    }
}

/// What was read for all.
struct News {
    /// From after this place.
    after: u64,
    entries: Vec<Logged>,
}

/// What a viewer of a run sees.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// Entries of the run, at least one.
    Entries(Vec<Logged>),
    /// The run is over, and all of it was seen.
    Over,
    /// This relay is stopping, or the viewer is too slow for it: it goes on where it was by coming again.
    Gone,
}

impl Viewers {
    /// Viewers of what is in `store`, until `stopping`.
    pub fn new(store: Arc<dyn Store>, reading: TaskTracker, stopping: CancellationToken) -> Arc<Self> {
        let (followed, places) = (Mutex::default(), Arc::new(Semaphore::new(VIEWERS_MAX)));
        Arc::new(Self { store, followed, places, reading, stopping })
    }

    /// Look at a run from after `cursor` on. `is_over` says that it has ended. `None` when there are too many viewers.
    pub fn view(
        self: &Arc<Self>,
        conversation: ConversationId,
        run: RunId,
        cursor: u64,
        is_over: bool,
    ) -> Option<Viewer> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut followed = self.lock();
        let followed = followed.entry(conversation.clone()).or_insert_with(|| Followed {
            viewers: 0,
            read: None,
            named: cursor,
            is_read: false,
            has_grown: false,
            news: broadcast::Sender::new(NEWS_MAX),
        });
        followed.viewers += 1;
        followed.named = followed.named.min(cursor);
        let (viewers, news) = (Arc::clone(self), followed.news.subscribe());
        Some(Viewer {
            viewers,
            conversation,
            run,
            cursor,
            is_over,
            is_done: false,
            is_behind: true,
            news,
            _place: place,
        })
    }

    /// The log of a conversation has grown.
    pub fn look(self: &Arc<Self>, conversation: &ConversationId) {
        if let Some(followed) = self.lock().get_mut(conversation) {
            followed.has_grown = true;
            if !std::mem::replace(&mut followed.is_read, true) {
                self.reading.spawn(Arc::clone(self).read(conversation.clone()));
            }
        }
    }

    /// Any log may have grown.
    pub fn look_at_all(self: &Arc<Self>) {
        let all: Vec<ConversationId> = self.lock().keys().cloned().collect();
        all.iter().for_each(|conversation| self.look(conversation));
    }

    /// Read for all viewers of a conversation, until there is no more.
    async fn read(self: Arc<Self>, conversation: ConversationId) {
        while let Some(cursor) = self.to_read(&conversation) {
            let entries = tokio::select! {
                () = self.stopping.cancelled() => return,
                entries = self.store.follow_log(&conversation, cursor, BATCH) => entries,
            };
            match entries {
                Ok(entries) => self.tell(&conversation, News { after: cursor, entries }),
                // The store's troubles are logged where it is called.
                Err(_) => {
                    tokio::time::sleep(REST).await;
                    self.tell_of_trouble(&conversation);
                }
            }
        }
    }

    /// From where to read, if there is anything.
    fn to_read(&self, conversation: &ConversationId) -> Option<u64> {
        let mut all = self.lock();
        let followed = all.get_mut(conversation)?;
        followed.is_read = std::mem::take(&mut followed.has_grown);
        followed.is_read.then_some(followed.cursor())
    }

    /// Also of nothing new: a viewer that has less finds that out.
    fn tell(&self, conversation: &ConversationId, news: News) {
        if let Some(followed) = self.lock().get_mut(conversation) {
            followed.has_grown |= news.entries.len() == BATCH;
            followed.reached(&news.entries);
            // The last viewer may have left a moment ago.
            let _ = followed.news.send(Arc::new(news));
        }
    }

    fn tell_of_trouble(&self, conversation: &ConversationId) {
        if let Some(followed) = self.lock().get_mut(conversation) {
            followed.has_grown = true;
        }
    }

    /// A viewer has read these by itself. Others that have not are told by the next news where these begin.
    fn reached(&self, conversation: &ConversationId, entries: &[Logged]) {
        if let Some(followed) = self.lock().get_mut(conversation) {
            followed.reached(entries);
        }
    }

    fn leave(&self, conversation: &ConversationId) {
        let mut all = self.lock();
        if let Some(followed) = all.get_mut(conversation) {
            followed.viewers -= 1;
            if followed.viewers == 0 {
                all.remove(conversation);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConversationId, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who looks at a run, until dropped.
pub struct Viewer {
    viewers: Arc<Viewers>,
    conversation: ConversationId,
    run: RunId,
    cursor: u64,
    /// Whether the run was over when it was first looked at.
    is_over: bool,
    /// Whether its end was seen.
    is_done: bool,
    /// Whether it has to read by itself.
    is_behind: bool,
    news: broadcast::Receiver<Arc<News>>,
    _place: OwnedSemaphorePermit,
}

impl Viewer {
    /// How far it has seen.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether there is nothing more to come.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// What is there already; nothing when it has to be waited for.
    pub async fn seen(&mut self) -> Result<Option<Seen>, StoreError> {
        while self.is_behind && !self.is_done {
            // What comes while it reads is news; what came before, it reads.
            self.news = self.news.resubscribe();
            let (store, conversation) = (&self.viewers.store, &self.conversation);
            let entries = match self.is_over {
                true => store.log(conversation, self.cursor, BATCH).await?,
                false => store.follow_log(conversation, self.cursor, BATCH).await?,
            };
            self.is_behind = entries.len() == BATCH;
            let seen = self.take(&entries);
            self.viewers.reached(&self.conversation, &entries);
            self.is_done |= self.is_over && !self.is_behind;
            if !seen.is_empty() {
                return Ok(Some(Seen::Entries(seen)));
            }
        }
        Ok(self.is_done.then_some(Seen::Over))
    }

    /// What comes next, as soon as it does.
    pub async fn next(&mut self) -> Result<Seen, StoreError> {
        loop {
            if let Some(seen) = self.seen().await? {
                return Ok(seen);
            }
            let news = tokio::select! {
                () = self.viewers.stopping.cancelled() => return Ok(Seen::Gone),
                news = self.news.recv() => match news {
                    Ok(news) => news,
                    Err(_) => return Ok(Seen::Gone),
                },
            };
            // Between what it has and these, others may have read something by themselves.
            self.is_behind = news.after > self.cursor;
            let seen = if self.is_behind { Vec::new() } else { self.take(&news.entries) };
            if !seen.is_empty() {
                return Ok(Seen::Entries(seen));
            }
        }
    }

    /// Of these entries, those that are new, and of the run.
    fn take(&mut self, entries: &[Logged]) -> Vec<Logged> {
        let new = entries.iter().filter(|entry| entry.cursor > self.cursor);
        let seen: Vec<Logged> = new.filter(|entry| entry.entry.run.as_ref() == Some(&self.run)).cloned().collect();
        self.cursor = self.cursor.max(entries.last().map_or(0, |entry| entry.cursor));
        self.is_done |= seen.iter().any(|entry| matches!(entry.entry.what, LogWhat::Ended { .. }));
        seen
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.viewers.leave(&self.conversation);
    }
}

#[cfg(test)]
mod tests;
