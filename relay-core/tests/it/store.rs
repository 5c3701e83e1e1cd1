//! Every store passes the conformance suite.

use relay_core::id::{ConversationId, EventId, NodeId, Nonce};
use relay_core::machine::{self, Conversation, Event, LogEntry, LogWhat, Rules};
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Claim, Claimed, Commit, Hint, Ingest, Ingested, Store, StoreError, UNREADABLE_PAUSE};
use relay_core::testing::conformance;
use relay_core::time::Timestamp;

#[tokio::test]
async fn sqlite_in_memory_keeps_the_contract() {
    conformance::all(|| async { SqliteStore::in_memory().unwrap() }).await;
}

#[tokio::test]
async fn sqlite_in_a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::sync::atomic::AtomicU32::new(0);
    conformance::all(|| async {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        SqliteStore::open(&folder.path().join(format!("store-{number}.db"))).unwrap()
    })
    .await;
}

#[tokio::test]
async fn a_file_is_there_after_a_restart_and_a_newer_layout_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let conversation = ConversationId::parse("a").unwrap();
    SqliteStore::open(&path).unwrap().append_feed(&conversation, "key", "kept").await.unwrap();
    let reopened = SqliteStore::open(&path).unwrap();
    assert_eq!(reopened.feed(&conversation, 0, 10).await.unwrap()[0].entry, "kept");
    drop(reopened);

    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::Unreadable(_)), "{refused}");
}

#[tokio::test]
async fn a_conversation_that_cannot_be_read_is_put_off_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    let broken = r#"INSERT INTO conversations (id, state, due_at) VALUES ('a', '{"from": "the future"}', 5)"#;
    rusqlite::Connection::open(&path).unwrap().execute_batch(broken).unwrap();
    let now = Timestamp(10);
    let conversation = ConversationId::parse("a").unwrap();
    let claim = Claim {
        conversation: conversation.clone(),
        node: NodeId::parse("n").unwrap(),
        nonce: Nonce::parse("1").unwrap(),
        now,
    };
    assert_eq!(store.due(now, 10).await.unwrap().conversations, std::slice::from_ref(&conversation));
    assert!(matches!(store.claim(claim).await.unwrap(), Claimed::Unreadable(_)));
    let due = store.due(now, 10).await.unwrap();
    assert_eq!((due.conversations.len(), due.next), (0, Some(now + UNREADABLE_PAUSE)));
    assert!(matches!(store.conversation(&conversation).await, Err(StoreError::Unreadable(_))), "left as it is");
}

/// As while relays of two versions run beside each other.
#[tokio::test]
async fn a_conversation_of_a_newer_relay_is_put_off_and_nothing_of_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let store = SqliteStore::open(&path).unwrap();
    let conversation = ConversationId::parse("a").unwrap();
    let mut newer = serde_json::to_value(Conversation::new(conversation.clone())).unwrap();
    newer["format"] = (Conversation::FORMAT + 1).into();
    newer["of_tomorrow"] = "kept".into();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute("INSERT INTO conversations (id, state, due_at) VALUES ('a', ?1, 5)", [newer.to_string()]).unwrap();
    let (node, nonce) = (NodeId::parse("n").unwrap(), Nonce::parse("1").unwrap());
    let claimed = store.claim(Claim { conversation, node, nonce, now: Timestamp(10) }).await.unwrap();
    assert!(matches!(claimed, Claimed::Unreadable(_)), "{claimed:?}");
    let left: String = db.query_row("SELECT state FROM conversations", [], |row| row.get(0)).unwrap();
    assert_eq!(left, newer.to_string());
}

#[test]
fn a_conversation_of_an_older_relay_is_read_and_written_back_as_a_new_one() {
    let mut older = serde_json::to_value(Conversation::new(ConversationId::parse("a").unwrap())).unwrap();
    older["format"] = 3.into();
    older["inquiry"] = serde_json::json!({"number": 1, "labels": ["Red"], "several": false});
    let read: Conversation = serde_json::from_value(older).unwrap();
    assert!(read.inquiry.as_ref().is_some_and(|inquiry| !inquiry.lost && inquiry.text.is_empty()));
    let written = machine::step(&Rules::default(), read, Event::Garbled, Timestamp(10)).conversation;
    assert_eq!(written.format, Conversation::FORMAT, "or an older relay would drop what it does not know");
}

#[tokio::test]
async fn a_file_tells_its_relay_that_a_log_has_grown() {
    let store = SqliteStore::in_memory().unwrap();
    let id = ConversationId::parse("a").unwrap();
    let ingest = Ingest {
        conversation: id.clone(),
        id: EventId::parse("one").unwrap(),
        event: Event::Garbled,
        node: NodeId::parse("n").unwrap(),
        nonce: Nonce::parse("1").unwrap(),
        now: Timestamp(10),
    };
    let Ingested::Held(held) = store.ingest(ingest).await.unwrap() else { panic!("nobody holds it") };
    let commit = Commit {
        fence: held.fence,
        nonce: Nonce::parse("2").unwrap(),
        previous: held.nonce,
        now: Timestamp(10),
        consumed: 0,
        acked: Vec::new(),
        effects: Vec::new(),
        dead: Vec::new(),
        log: vec![LogEntry::new(None, LogWhat::Said { text: "hello".into() })],
        conversation: held.conversation,
        activity: None,
        deadline: None,
        release: false,
    };
    let (hints, mut told) = tokio::sync::mpsc::channel(1);
    // Both in one task: it watches before the other begins.
    let (watched, hint) = tokio::join!(store.watch(hints, tokio::sync::watch::channel(false).1), async {
        store.commit(commit).await.unwrap();
        let hint = told.recv().await;
        drop(told);
        hint
    });
    assert_eq!(hint, Some(Hint::Logged(id)));
    watched.unwrap();
}
