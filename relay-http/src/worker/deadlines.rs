//! Finds conversations that are due and takes them: at the instants that this relay has set itself, when the store gives a
//! hint, and by a regular look into the store for whatever nobody told of.
//!
//! Each look is one call, seldom made: hosted Redis bills calls. The look also tells the next deadline in the store, so that
//! every relay acts on the deadlines of every other one, should that be gone by then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rand::RngExt;
use relay_core::id::ConversationId;
use relay_core::store::{Claim, Claimed, Hint, StoreError};
use relay_core::time::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::timers::{Deadline, Timers};
use crate::app::{App, Holding};
use crate::clock;
use crate::metrics::LeasedBy;

/// What other relays left behind, and no hint told of, is found at least this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(34);
/// What was due for so long and was taken by nobody, a drained relay takes after all: the others may be drained too, or gone. Another
/// relay would have found it in half the time.
const LEFT_LYING: Duration = Duration::from_secs(2 * SWEEP_INTERVAL.as_secs());
/// What has expired is deleted this often.
const TIDY_INTERVAL: Duration = Duration::from_secs(3600);
/// This machine's clock is held against the store's this often.
const CLOCK_INTERVAL: Duration = Duration::from_secs(600);
/// More or less of an interval, so that relays do not knock together.
const SPREAD: f64 = 0.05;
/// A deadline that is found in the store may be another relay's, which acts on it without looking: let it.
const OTHERS_DELAY: Duration = Duration::from_millis(250);
/// A store that does not answer is left alone for this long at first, and for longer each time.
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(10);
/// When there was no room for a conversation, the next look comes after this.
const ROOM_PAUSE: Duration = Duration::from_secs(1);
/// Conversations found in one look, hints taken at a time.
const BATCH: usize = 64;
/// Claims under way at the same time.
const CLAIMS_MAX: usize = 16;

/// Run until `drain` is cancelled; whatever was claimed is with the worker by then. `deadlines` tells what was released here.
pub(super) async fn run(
    app: Arc<App>,
    mut deadlines: mpsc::Receiver<Deadline>,
    mut hints: mpsc::Receiver<Hint>,
    drain: CancellationToken,
) {
    let mut drained = app.presence.drained();
    let mut finder = Finder::new(app);
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            () = drain.cancelled() => return,
            () = tokio::time::sleep_until(finder.wake_at()) => finder.act().await,
            // Whoever takes work again looks what there is.
            _ = drained.changed() => finder.look_at = Instant::now(),
            Some(deadline) = deadlines.recv() => finder.timers.set(deadline),
            _ = hints.recv_many(&mut batch, BATCH), if !hints.is_closed() => finder.take(batch.drain(..)).await,
        }
    }
}

struct Finder {
    app: Arc<App>,
    timers: Timers,
    look_at: Instant,
    clock_at: Instant,
    tidy_at: Instant,
    /// Nothing is done by itself before; while the store does not answer.
    resting_until: Instant,
    rest: Duration,
    /// When the store answered last.
    well_at: Option<Timestamp>,
}

impl Finder {
    fn new(app: Arc<App>) -> Self {
        let now = Instant::now();
        Self {
            app,
            timers: Timers::default(),
            look_at: now,
            clock_at: now,
            tidy_at: now + TIDY_INTERVAL.mul_f64(rand::rng().random_range(0.0..1.0)),
            resting_until: now,
            rest: REST_MIN,
            well_at: None,
        }
    }

    /// When there is something to do.
    fn wake_at(&self) -> Instant {
        let timer = self.timers.next().map(|at| Instant::now() + at.since(clock::now()));
        let regular = self.look_at.min(self.clock_at).min(self.tidy_at);
        timer.map_or(regular, |timer| timer.min(regular)).max(self.resting_until)
    }

    /// Do all that is due.
    async fn act(&mut self) {
        if self.clock_at <= Instant::now() {
            let interval = match clock::follow(&*self.app.store).await {
                Ok(()) => CLOCK_INTERVAL,
                // What was measured before is still better than standing still.
                Err(_) if clock::is_known() => SWEEP_INTERVAL,
                Err(error) => return self.rest(&error),
            };
            self.clock_at = Instant::now() + spread(interval);
        }
        let due = self.timers.take_due(clock::now(), BATCH);
        self.see_to(due).await;
        if self.look_at <= Instant::now() {
            self.look().await;
        }
        if self.tidy_at <= Instant::now() {
            self.tidy_at = Instant::now() + spread(TIDY_INTERVAL);
            // What is left is deleted another time; the store's troubles are logged where it is called.
            let _ = self.app.store.sweep(clock::now()).await;
        }
    }

    /// Take hints in: each conversation once.
    async fn take(&mut self, hints: impl Iterator<Item = Hint>) {
        let (mut due, mut woken) = (BTreeSet::new(), BTreeSet::new());
        let mut is_fed = false;
        let mut grown = BTreeSet::new();
        for hint in hints {
            match hint {
                Hint::Due(conversation) => {
                    due.insert(conversation);
                }
                Hint::Woken(conversation) => {
                    woken.insert(conversation);
                }
                Hint::Fed => is_fed = true,
                Hint::Logged(conversation) => {
                    grown.insert(conversation);
                }
                Hint::Roll => self.app.presence.call(),
                // The store is there again, or another one is: whose clock may be another.
                Hint::Missed => {
                    is_fed = true;
                    self.app.presence.call();
                    self.app.viewers.look_at_all();
                    let now = Instant::now();
                    (self.clock_at, self.look_at, self.resting_until) = (now, now, now);
                    // Another relay may have refused what people wrote meanwhile, and have died since.
                    if let Some(well_at) = self.well_at {
                        self.app.deaf_since(well_at);
                    }
                }
            }
        }
        if is_fed {
            self.app.console.look();
        }
        grown.iter().for_each(|conversation| self.app.viewers.look(conversation));
        // Every relay hears an alarm; those that are not drained follow it.
        if !self.app.presence.is_drained() {
            woken.append(&mut due);
        }
        self.see_to(woken.into_iter().collect()).await;
    }

    /// See to conversations that no other relay is told of: take them or, while drained, hand them on.
    async fn see_to(&mut self, conversations: Vec<ConversationId>) {
        if !self.app.presence.is_drained() {
            self.claim_all(conversations).await;
        } else if !conversations.is_empty()
            && let Err(error) = self.app.store.hand_on(&conversations).await
        {
            self.rest(&error);
            self.put_off(conversations);
        }
    }

    /// Ask the store what is due, and take it; while drained, what all others have left lying.
    async fn look(&mut self) {
        let (now, is_drained) = (clock::now(), self.app.presence.is_drained());
        let patience = if is_drained { LEFT_LYING } else { Duration::ZERO };
        let due = match self.app.store.due(now - patience, BATCH).await {
            Ok(due) => due,
            Err(error) => return self.rest(&error),
        };
        // It was away; the hint that says so may come later, or never.
        if let Some(well_at) = self.well_at.filter(|_| self.rest > REST_MIN) {
            self.app.deaf_since(well_at);
        }
        self.well_at = Some(now);
        self.look_at = Instant::now() + spread(SWEEP_INTERVAL);
        if let Some(next) = due.next {
            self.look_at = self.look_at.min(Instant::now() + (next + patience + OTHERS_DELAY).since(clock::now()));
        }
        let is_full = due.conversations.len() >= BATCH;
        let held = self.claim_all(due.conversations).await;
        if self.resting_until <= Instant::now() {
            self.rest = REST_MIN;
        }
        if is_full {
            // None of them to be had: others are at it.
            let pause = if held == 0 { ROOM_PAUSE } else { Duration::ZERO };
            self.look_at = self.look_at.min(Instant::now() + pause);
        }
    }

    /// Take these conversations, as far as there is room for them. How many were to be had. What is left is tried again a little
    /// later, from here: a wake-up that was popped stands nowhere else.
    async fn claim_all(&mut self, conversations: Vec<ConversationId>) -> usize {
        let (mut held, mut left) = (0, Vec::new());
        for some in conversations.chunks(CLAIMS_MAX) {
            if !left.is_empty() {
                left.extend_from_slice(some);
                continue;
            }
            let answers = join_all(some.iter().map(|conversation| claim(&self.app, conversation))).await;
            for (conversation, answer) in some.iter().zip(answers) {
                match answer {
                    Ok(Claiming::Held) => held += 1,
                    Ok(Claiming::NotToBeHad) => {}
                    Ok(Claiming::NoRoom) => left.push(conversation.clone()),
                    Err(StoreError::Unreadable(reason)) => {
                        tracing::error!(%conversation, reason, "a conversation can't be read");
                    }
                    Err(error) => {
                        self.rest(&error);
                        left.push(conversation.clone());
                    }
                }
            }
        }
        self.put_off(left);
        held
    }

    fn put_off(&mut self, conversations: Vec<ConversationId>) {
        let at = Some(clock::now() + ROOM_PAUSE);
        conversations.into_iter().for_each(|conversation| self.timers.set(Deadline { conversation, at }));
    }

    /// Leave the store alone for a while, and then look at everything.
    fn rest(&mut self, error: &StoreError) {
        tracing::debug!(%error, rest_ms = self.rest.as_millis(), "looking for due conversations failed");
        let now = Instant::now();
        if self.resting_until <= now {
            self.resting_until = now + spread(self.rest);
            self.rest = (self.rest * 2).min(REST_MAX);
        }
        self.look_at = now;
    }
}

/// What came of a claim.
enum Claiming {
    /// It is with the worker.
    Held,
    /// It is another's, or not due.
    NotToBeHad,
    /// The worker has too many as it is.
    NoRoom,
}

/// Take one conversation, unless there is no room for it: a lease that waits runs out.
async fn claim(app: &App, conversation: &ConversationId) -> Result<Claiming, StoreError> {
    let Ok(place) = app.turns.try_reserve() else {
        return Ok(Claiming::NoRoom);
    };
    clock::ensure(&*app.store).await?;
    let (conversation, leased) = (conversation.clone(), std::time::Instant::now());
    let claim = Claim { conversation, node: app.node.clone(), nonce: clock::nonce(), now: clock::now() };
    let conversation = claim.conversation.clone();
    let answer = match app.store.claim(claim.clone()).await {
        // If only the answer was lost, this one says that the lease is ours.
        Err(StoreError::Unavailable(_)) => app.store.claim(claim).await?,
        answer => answer?,
    };
    match answer {
        Claimed::Held(held) => {
            app.metrics.leased(if held.abandoned { LeasedBy::Takeover } else { LeasedBy::Due });
            if let Some(due_at) = held.conversation.deadline().filter(|_| !held.abandoned && held.inbox.is_empty()) {
                app.metrics.took_due(clock::now().since(due_at));
            }
            place.send(Holding { held: *held, leased });
            Ok(Claiming::Held)
        }
        // One that can't be read must not keep the others from their turn.
        Claimed::Unreadable(reason) => {
            tracing::error!(%conversation, reason, "a conversation can't be read; put off");
            Ok(Claiming::NotToBeHad)
        }
        Claimed::Taken | Claimed::NotDue => Ok(Claiming::NotToBeHad),
    }
}

fn spread(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(1.0 - SPREAD..1.0 + SPREAD))
}
