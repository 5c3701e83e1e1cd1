//! The worker over a store that counts what is asked of it, and fails, waits and hints as told.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use relay_core::id::{Address, BlobId, ChannelKind, ConversationId, MessageId, NodeId};
use relay_core::machine::{Content, Conversation, Event, Message};
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{
    Blob, Claim, Claimed, Commit, Committed, DeadLetter, Due, FeedEntry, Health, Hint, Ingest, Ingested, Logged,
    Operators, Overview, Reserve, Reserved, Stats, Store, Survey,
};
use relay_core::telemetry::Identity;
use relay_core::telemetry::metrics::Metrics;
use relay_core::time::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::*;
use crate::clock;
use crate::config::Config;
use timers::Deadline;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// For anything that happens at once; long, for a machine that is busy with a build.
const BOUND: Duration = Duration::from_secs(20);

struct Spy {
    inner: SqliteStore,
    is_away: AtomicBool,
    looks: Mutex<Vec<Instant>>,
    claims: Mutex<Vec<(ConversationId, Instant)>>,
    /// A claim waits for a permit before it answers.
    answers: Semaphore,
    asked_the_time: AtomicUsize,
    /// Present until the relay watches.
    hints: Mutex<Option<mpsc::Receiver<Hint>>>,
}

impl Spy {
    fn new(hints: mpsc::Receiver<Hint>) -> Arc<Self> {
        Arc::new(Self {
            inner: SqliteStore::in_memory().unwrap(),
            is_away: AtomicBool::new(false),
            looks: Mutex::default(),
            claims: Mutex::default(),
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

    fn looks(&self) -> Vec<Instant> {
        self.looks.lock().unwrap().clone()
    }

    fn claims(&self) -> Vec<(ConversationId, Instant)> {
        self.claims.lock().unwrap().clone()
    }

    /// A conversation that another relay has released, due at `deadline`.
    async fn released(&self, name: &str, deadline: Timestamp) -> ConversationId {
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
        let commit = Commit {
            fence: held.fence,
            nonce: clock::nonce(),
            previous: held.nonce,
            now: clock::now(),
            consumed: 1,
            acked: Vec::new(),
            effects: Vec::new(),
            dead: Vec::new(),
            log: Vec::new(),
            activity: None,
            conversation: held.conversation,
            deadline: Some(deadline),
            release: true,
        };
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

/// The loop that finds what is due, with its ends in the test's hands.
struct Loop {
    store: Arc<Spy>,
    app: Arc<App>,
    deadlines: mpsc::Sender<Deadline>,
    hints: mpsc::Sender<Hint>,
    held: mpsc::Receiver<Holding>,
    _running: JoinSet<()>,
}

fn app(store: &Arc<Spy>, room: usize) -> (Arc<App>, mpsc::Receiver<Holding>) {
    let settings = HashMap::from([("RELAY_SECRET", SECRET), ("VM_SECRET", SECRET), ("VM_URL", "http://127.0.0.1:9")]);
    let (turns, held) = mpsc::channel(room);
    let store: Arc<dyn Store> = store.clone();
    (
        Arc::new(App::new(Config::read(&settings).unwrap(), Metrics::new(&Identity::default()), store, turns).unwrap()),
        held,
    )
}

async fn start(store: Arc<Spy>, room: usize) -> Loop {
    let (app, held) = app(&store, room);
    let (deadlines, set) = mpsc::channel(16);
    let (hints, given) = mpsc::channel(16);
    let mut running = JoinSet::new();
    running.spawn(deadlines::run(Arc::clone(&app), set, given, CancellationToken::new()));
    Loop { store, app, deadlines, hints, held, _running: running }
}

/// The loop over a store in which nothing is due, after its first look.
async fn start_idle(room: usize) -> Loop {
    let found = start(Spy::new(mpsc::channel(1).1), room).await;
    until(|| found.store.looks().len() == 1).await;
    found
}

async fn until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {BOUND:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl Loop {
    async fn next_held(&mut self) -> ConversationId {
        let holding = tokio::time::timeout(BOUND, self.held.recv()).await.expect("a conversation in time");
        holding.expect("the loop runs").held.conversation.id
    }

    async fn hint(&self, hint: Hint) {
        self.hints.send(hint).await.expect("the loop runs");
    }
}

#[tokio::test]
async fn a_deadline_that_was_set_here_is_met_without_asking_what_is_due() {
    let mut found = start_idle(8).await;
    let at = clock::now() + Duration::from_millis(150);
    let conversation = found.store.released("a", at).await;
    found.deadlines.send(Deadline { conversation: conversation.clone(), at: Some(at) }).await.unwrap();
    assert_eq!(found.next_held().await, conversation);
    assert!(clock::now() >= at);
    assert_eq!((found.store.looks().len(), found.store.claims().len()), (1, 1));
}

#[tokio::test]
async fn a_deadline_of_another_relay_is_met_a_little_later() {
    let store = Spy::new(mpsc::channel(1).1);
    let at = clock::now() + Duration::from_millis(200);
    let conversation = store.released("a", at).await;
    let mut found = start(store, 8).await;
    assert_eq!(found.next_held().await, conversation);
    assert!(clock::now() >= at + Duration::from_millis(250), "its setter goes first");
    assert_eq!(found.store.looks().len(), 2, "one look told when to look again");
}

#[tokio::test]
async fn a_hint_is_followed_at_once_and_without_asking_what_is_due() {
    let mut found = start_idle(8).await;
    let conversation = found.store.released("a", clock::now()).await;
    found.hint(Hint::Due(conversation.clone())).await;
    assert_eq!(found.next_held().await, conversation);
    assert_eq!(found.store.looks().len(), 1);
}

#[tokio::test]
async fn missed_hints_mean_a_look_at_everything_and_at_the_clock() {
    let mut found = start_idle(8).await;
    let mut appended = found.app.console.appended();
    appended.mark_unchanged();
    let conversation = found.store.released("a", clock::now()).await;
    found.hint(Hint::Missed).await;
    assert_eq!(found.next_held().await, conversation);
    assert_eq!(found.store.asked_the_time.load(Ordering::Relaxed), 2);
    assert!(appended.has_changed().unwrap(), "viewers look too");
}

#[tokio::test]
async fn a_feed_that_another_relay_appended_to_wakes_viewers() {
    let found = start_idle(8).await;
    let mut appended = found.app.console.appended();
    appended.mark_unchanged();
    found.hint(Hint::Fed).await;
    tokio::time::timeout(BOUND, appended.changed()).await.expect("in time").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_hints_does_not_hide_a_deadline() {
    let mut found = start_idle(8).await;
    let at = clock::now() + Duration::from_millis(100);
    let conversation = found.store.released("a", at).await;
    found.deadlines.send(Deadline { conversation: conversation.clone(), at: Some(at) }).await.unwrap();
    let hints = found.hints.clone();
    let mut flood = JoinSet::new();
    flood.spawn(async move {
        for n in 0.. {
            let conversation = ConversationId::parse(format!("nobody{n}")).unwrap();
            hints.send(Hint::Due(conversation)).await.expect("the loop runs");
        }
    });
    // The flood does not end before.
    assert_eq!(found.next_held().await, conversation);
}

#[tokio::test]
async fn what_there_is_no_room_for_is_not_taken_and_is_found_later() {
    let mut found = start_idle(1).await;
    let names = ["a", "b"];
    for name in names {
        let conversation = found.store.released(name, clock::now()).await;
        found.hint(Hint::Due(conversation)).await;
    }
    until(|| found.held.len() == 1).await;
    let mut seen = vec![found.next_held().await];
    seen.push(found.next_held().await);
    seen.sort();
    assert_eq!(seen, names.map(|name| ConversationId::parse(name).unwrap()));
    assert_eq!(found.store.claims().len(), 2, "no lease was taken to wait in vain");
}

#[tokio::test]
async fn a_store_that_is_away_is_left_alone_more_and_more_until_it_is_back() {
    let mut found = start_idle(8).await;
    found.store.is_away.store(true, Ordering::Relaxed);
    found.hint(Hint::Missed).await;
    until(|| found.store.looks().len() == 4).await;
    let looks = found.store.looks();
    assert!(looks[3] - looks[2] > looks[2] - looks[1] + Duration::from_millis(500), "{looks:?}");
    assert!(looks[2] - looks[1] > Duration::from_millis(800), "{looks:?}");
    found.store.is_away.store(false, Ordering::Relaxed);
    let conversation = found.store.released("a", clock::now()).await;
    let back = Instant::now();
    found.hint(Hint::Missed).await;
    assert_eq!(found.next_held().await, conversation);
    assert!(back.elapsed() < Duration::from_secs(1), "a store that is back is not waited for");
}

#[tokio::test]
async fn a_relay_without_hints_ends() {
    let (hints, given) = mpsc::channel(1);
    let store = Spy::new(given);
    let (app, held) = app(&store, 8);
    drop(hints);
    let ended = tokio::time::timeout(BOUND, run(app, held, CancellationToken::new())).await.expect("in time");
    assert!(matches!(ended, Err(Ended::Hints(Some(StoreError::Unavailable(_))))), "{ended:?}");
}

#[tokio::test]
async fn what_was_being_claimed_when_the_drain_began_is_given_back() {
    let (hints, given) = mpsc::channel(1);
    let store = Spy::new(given);
    store.answers.forget_permits(Semaphore::MAX_PERMITS);
    let conversation = store.released("a", clock::now()).await;
    let (app, held) = app(&store, 8);
    let drain = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(run(app, held, drain.clone()));
    until(|| store.claims().len() == 1).await;
    drain.cancel();
    store.answers.add_permits(1);
    let ended = tokio::time::timeout(BOUND, tasks.join_next()).await.expect("in time").unwrap().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    let overview = store.inner.overview(&conversation).await.unwrap().unwrap();
    assert_eq!(overview.holder, None);
    drop(hints);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_not_taken_for_a_failure() {
    for _ in 0..50 {
        let (hints, given) = mpsc::channel(1);
        let store = Spy::new(given);
        let (app, held) = app(&store, 8);
        let drain = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(run(app, held, drain.clone()));
        until(|| store.looks().len() == 1).await;
        drain.cancel();
        drop(hints);
        let ended = tokio::time::timeout(BOUND, tasks.join_next()).await.expect("in time").unwrap().unwrap();
        assert!(ended.is_ok(), "{ended:?}");
    }
}

/// It would be looked for, and counted, as if it might have been sent.
#[tokio::test]
async fn a_message_that_finds_no_place_to_be_sent_waits_without_a_doubt() {
    let store = Spy::new(mpsc::channel(1).1);
    let (app, _held) = app(&store, 8);
    let places = u32::try_from(app.sends.available_permits()).unwrap();
    let all = app.sends.acquire_many(places).await.unwrap();
    let from = Address { channel: ChannelKind::Console, name: "someone".into() };
    let message = Message::new(MessageId::parse("M1").unwrap(), from, Content::Text { text: "status".into() });
    let conversation = app.conversation(&message.from);
    let holding = app.record(conversation.clone(), Event::Message(message)).await.unwrap().expect("it is free");
    let (deadlines, mut released) = mpsc::channel(1);
    turns::take(&app, holding, &deadlines, &CancellationToken::new()).await;
    let at = released.try_recv().expect("it is given back").at.expect("it is due again");
    assert!(at <= clock::now() + Duration::from_secs(2), "and soon");
    let state = store.inner.conversation(&conversation).await.unwrap().unwrap();
    assert!(state.delivery.doubts.is_empty() && state.retries.is_empty(), "not tried, and not in doubt");
    drop(all);
}

#[tokio::test]
async fn a_drained_relay_takes_nothing_until_it_is_let_again() {
    let mut found = start_idle(8).await;
    let operators = found.store.inner.clone();
    let turn_to = async |drain| {
        crate::presence::beat(&found.app).await.unwrap();
        assert!(operators.drain(&found.app.node, drain).await.unwrap());
        crate::presence::beat(&found.app).await.unwrap();
    };
    turn_to(true).await;
    let hinted = found.store.released("hinted", clock::now()).await;
    let at = clock::now() + Duration::from_millis(50);
    let set_here = found.store.released("sethere", at).await;
    found.hint(Hint::Due(hinted)).await;
    found.deadlines.send(Deadline { conversation: set_here, at: Some(at) }).await.unwrap();
    found.hint(Hint::Fed).await;
    until(|| clock::now() > at + Duration::from_millis(100)).await;
    assert_eq!((found.store.claims().len(), found.store.looks().len()), (0, 1));
    turn_to(false).await;
    let mut names = [found.next_held().await.to_string(), found.next_held().await.to_string()];
    names.sort();
    assert_eq!(names, ["hinted", "sethere"], "whatever is due by then");
}
