//! Every store passes the conformance suite.

use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Store, StoreError};
use relay_core::testing::conformance;

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
    let conversation = relay_core::id::ConversationId::parse("a").unwrap();
    SqliteStore::open(&path).unwrap().append_feed(&conversation, "key", "kept").await.unwrap();
    let reopened = SqliteStore::open(&path).unwrap();
    assert_eq!(reopened.feed(&conversation, 0, 10).await.unwrap()[0].entry, "kept");
    drop(reopened);

    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = SqliteStore::open(&path).unwrap_err();
    assert!(matches!(refused, StoreError::Unreadable(_)), "{refused}");
}
