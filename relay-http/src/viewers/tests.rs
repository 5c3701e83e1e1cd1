//! Viewers over a store in memory, whose hints the test gives.

use relay_core::id::{EventId, NodeId, Nonce};
use relay_core::machine::{Ending, Event, LogEntry};
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Commit, Committed, Held, Ingest, Ingested};
use relay_core::time::Timestamp;

use super::*;

const BOUND: Duration = Duration::from_secs(20);
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A run that goes on, and those who look at it.
struct Scene {
    store: SqliteStore,
    viewers: Arc<Viewers>,
    held: Held,
    previous: Nonce,
    told: u64,
}

impl Scene {
    async fn new() -> Self {
        let store = SqliteStore::in_memory().unwrap();
        let ingest = Ingest {
            conversation: ConversationId::parse("c0ffee").unwrap(),
            id: EventId::parse("one").unwrap(),
            event: Event::Garbled,
            node: NodeId::parse("n").unwrap(),
            nonce: Nonce::parse("1").unwrap(),
            now: NOW,
        };
        let Ingested::Held(held) = store.ingest(ingest).await.unwrap() else { panic!("nobody holds it") };
        let viewers = Viewers::new(Arc::new(store.clone()), TaskTracker::new(), CancellationToken::new());
        let previous = held.nonce.clone();
        Self { store, viewers, held: *held, previous, told: 0 }
    }

    fn id(&self) -> ConversationId {
        self.held.conversation.id.clone()
    }

    fn run(number: u64) -> RunId {
        RunId::parse(format!("c0ffee-1-{number}")).unwrap()
    }

    fn view(&self, cursor: u64) -> Viewer {
        self.viewers.view(self.id(), Self::run(1), cursor, false).expect("there is room")
    }

    /// One commit that tells these.
    async fn tell(&mut self, log: Vec<LogEntry>) {
        self.told += 1;
        let nonce = Nonce::parse(format!("c{}", self.told)).unwrap();
        let commit = Commit {
            fence: self.held.fence,
            nonce: nonce.clone(),
            previous: std::mem::replace(&mut self.previous, nonce),
            now: NOW,
            consumed: 0,
            acked: Vec::new(),
            effects: Vec::new(),
            dead: Vec::new(),
            log,
            conversation: self.held.conversation.clone(),
            activity: None,
            deadline: None,
            release: false,
        };
        assert!(matches!(self.store.commit(commit).await.unwrap(), Committed::Held { .. }));
    }

    /// The next steps of the run, between those of others, and a hint.
    async fn steps(&mut self, count: usize) {
        for _ in 0..count {
            let text = self.told.to_string();
            let of = |run| LogEntry::new(run, LogWhat::Progress { text: text.clone() });
            self.tell(vec![of(None), of(Some(Self::run(1))), of(Some(Self::run(2)))]).await;
        }
        self.viewers.look(&self.id());
    }

    async fn end(&mut self) {
        self.tell(vec![LogEntry::new(Some(Self::run(1)), LogWhat::Ended { ending: Ending::Cancelled })]).await;
        self.viewers.look(&self.id());
    }
}

fn text(entry: &Logged) -> String {
    assert_eq!(entry.entry.run, Some(Scene::run(1)), "of that run alone");
    match &entry.entry.what {
        LogWhat::Progress { text } => text.clone(),
        LogWhat::Ended { .. } => "ended".to_owned(),
        other => panic!("{other:?}"),
    }
}

async fn next(viewer: &mut Viewer) -> Seen {
    tokio::time::timeout(BOUND, viewer.next()).await.expect("in time").unwrap()
}

/// All until the run is over, or the viewer is gone.
async fn rest(viewer: &mut Viewer) -> (Vec<String>, Seen) {
    let mut texts = Vec::new();
    loop {
        match next(viewer).await {
            Seen::Entries(entries) => texts.extend(entries.iter().map(text)),
            seen => return (texts, seen),
        }
    }
}

fn numbers(from: u64, to: u64) -> Vec<String> {
    (from..to).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn whenever_a_viewer_comes_it_sees_everything_once() {
    let mut scene = Scene::new().await;
    let mut watching = Vec::new();
    for _ in 0..20 {
        let mut viewer = scene.view(0);
        watching.push(tokio::spawn(async move { rest(&mut viewer).await }));
        scene.steps(7).await;
        tokio::task::yield_now().await;
    }
    scene.end().await;
    let mut expected = numbers(0, 140);
    expected.push("ended".to_owned());
    for viewer in watching {
        assert_eq!(viewer.await.unwrap(), (expected.clone(), Seen::Over));
    }
    assert!(scene.viewers.lock().is_empty(), "nothing is left of them");
}

#[tokio::test]
async fn a_viewer_that_is_behind_another_finds_out() {
    let mut scene = Scene::new().await;
    scene.steps(1).await;
    let mut first = scene.view(0);
    assert!(matches!(next(&mut first).await, Seen::Entries(_)));
    // Nobody is told of these, but whoever comes now reads them.
    let quiet = scene.viewers.clone();
    scene.viewers = Viewers::new(Arc::new(scene.store.clone()), TaskTracker::new(), CancellationToken::new());
    scene.steps(3).await;
    scene.viewers = quiet;
    let mut second = scene.view(0);
    assert!(matches!(next(&mut second).await, Seen::Entries(entries) if entries.len() == 4));
    scene.viewers.look(&scene.id());
    let Seen::Entries(entries) = next(&mut first).await else { panic!("it goes on") };
    assert_eq!(entries.iter().map(text).collect::<Vec<_>>(), numbers(1, 4));
}

/// Nor does it matter whether they come before the others or after them.
#[tokio::test]
async fn who_names_a_place_that_nobody_has_reached_has_the_others_miss_nothing() {
    for comes_first in [true, false] {
        let mut scene = Scene::new().await;
        scene.steps(1).await;
        let stranger = comes_first.then(|| scene.view(u64::MAX));
        let mut viewer = scene.view(0);
        assert!(matches!(next(&mut viewer).await, Seen::Entries(_)));
        let mut stranger = stranger.unwrap_or_else(|| scene.view(u64::MAX));
        assert_eq!(stranger.seen().await.unwrap(), None);
        // One that came again and has all there is: nothing was read for it yet.
        let mut other = scene.view(viewer.cursor());
        assert_eq!(other.seen().await.unwrap(), None);
        assert_eq!(scene.viewers.lock()[&scene.id()].cursor(), viewer.cursor(), "what is read for all goes on there");
        scene.steps(1).await;
        for viewer in [&mut viewer, &mut other] {
            let Seen::Entries(entries) = next(viewer).await else { panic!("it goes on") };
            assert_eq!(entries.iter().map(text).collect::<Vec<_>>(), numbers(1, 2));
        }
    }
}

#[tokio::test]
async fn a_viewer_that_is_too_slow_is_cut_off_and_goes_on_where_it_was() {
    let mut scene = Scene::new().await;
    let mut viewer = scene.view(0);
    assert_eq!(viewer.seen().await.unwrap(), None);
    let mut other = scene.view(0);
    let steps = NEWS_MAX as u64 * 2;
    for _ in 0..steps {
        scene.steps(1).await;
        assert!(matches!(next(&mut other).await, Seen::Entries(_)));
    }
    assert_eq!(next(&mut viewer).await, Seen::Gone);
    let mut again = scene.view(viewer.cursor());
    scene.end().await;
    let (texts, seen) = rest(&mut again).await;
    assert_eq!((texts[..texts.len() - 1].to_vec(), seen), (numbers(0, steps), Seen::Over));
}

#[tokio::test]
async fn of_a_run_that_is_over_nothing_is_waited_for() {
    let mut scene = Scene::new().await;
    scene.steps(BATCH).await;
    let mut viewer = scene.viewers.view(scene.id(), Scene::run(1), 0, true).unwrap();
    assert_eq!(rest(&mut viewer).await, (numbers(0, BATCH as u64), Seen::Over));
    let mut none = scene.viewers.view(scene.id(), Scene::run(7), 0, true).unwrap();
    assert_eq!(next(&mut none).await, Seen::Over, "its entries may be gone");
}

#[tokio::test]
async fn a_stopping_relay_sends_its_viewers_to_another() {
    let scene = Scene::new().await;
    let mut viewer = scene.view(0);
    assert_eq!(viewer.seen().await.unwrap(), None);
    scene.viewers.stopping.cancel();
    assert_eq!(next(&mut viewer).await, Seen::Gone);
}

#[tokio::test]
async fn there_is_room_for_so_many_viewers_and_no_more() {
    let scene = Scene::new().await;
    let mut all: Vec<Viewer> = (0..VIEWERS_MAX).map(|_| scene.view(0)).collect();
    assert!(scene.viewers.view(scene.id(), Scene::run(1), 0, false).is_none());
    all.pop();
    assert!(scene.viewers.view(scene.id(), Scene::run(1), 0, false).is_some());
}
