//! What is promised of logs.

use super::*;
use crate::machine::{LogEntry, LogWhat};
use crate::store::{LOG_KEEP, LOG_MAX, Logged};

/// Longer than expired entries may be left.
const SWEPT_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Check every clause, each on a store that `fresh` makes.
pub(super) async fn all<S: Store, F: Future<Output = S>>(fresh: &impl Fn() -> F) {
    a_log_is_appended_to_with_the_commit_and_read_in_order(&fresh().await).await;
    a_commit_that_changes_nothing_tells_nothing(&fresh().await).await;
    logs_are_bounded_and_cursors_grow_all_the_same(&fresh().await).await;
    more_than_a_log_holds_leaves_the_latest(&fresh().await).await;
    what_has_been_kept_for_long_enough_is_swept(&fresh().await).await;
    a_forgotten_conversation_has_no_log(&fresh().await).await;
}

async fn a_log_is_appended_to_with_the_commit_and_read_in_order(store: &dyn Store) {
    let (a, b) = (take(store, "a", 1).await, take(store, "b", 2).await);
    assert!(log(store, "a").await.is_empty());
    still_held(store.commit(telling(&a, "c1", &["one", "größer 'zwei'"])).await.unwrap());
    still_held(store.commit(telling(&b, "o1", &["other"])).await.unwrap());
    let last = Commit { consumed: 1, release: true, now: T0 + MOMENT, ..telling(&a, "c2", &["three"]) };
    assert!(matches!(store.commit(last).await.unwrap(), Committed::Released));
    let all = log(store, "a").await;
    assert_eq!(texts(&all), ["one", "größer 'zwei'", "three"]);
    assert!(all.is_sorted_by(|one, next| one.cursor < next.cursor && one.at <= next.at));
    assert_eq!((all[1].at, all[2].at), (T0, T0 + MOMENT));
    let (id, first) = (conversation("a"), all[0].cursor);
    assert_eq!(store.log(&id, first, 1).await.unwrap(), all[1..2], "the limit is kept");
    assert_eq!(store.follow_log(&id, first, 10).await.unwrap(), all[1..]);
    assert!(store.log(&id, all[2].cursor, 10).await.unwrap().is_empty());
    assert!(store.log(&id, u64::MAX, 10).await.unwrap().is_empty());
    assert_eq!(texts(&log(store, "b").await), ["other"]);
    assert!(store.follow_log(&conversation("nobody"), 0, 10).await.unwrap().is_empty());
    assert_eq!(store.overview(&conversation("nobody")).await.unwrap(), None, "to follow makes nothing");
}

async fn a_commit_that_changes_nothing_tells_nothing(store: &dyn Store) {
    let old = take(store, "a", 1).await;
    let first = telling(&old, "c1", &["one"]);
    still_held(store.commit(first.clone()).await.unwrap());
    still_held(store.commit(first.clone()).await.unwrap());
    assert_eq!(texts(&log(store, "a").await), ["one"], "a repeat tells it once");
    still_held(store.commit(telling(&old, "c2", &["two"])).await.unwrap());
    assert!(matches!(store.commit(first).await.unwrap(), Committed::Fenced), "it comes late");
    let Claimed::Held(_) = store.claim(claim("a", "takeover", T0 + LEASE + MOMENT)).await.unwrap() else {
        panic!("the lease has run out");
    };
    assert!(matches!(store.commit(telling(&old, "stale", &["stale"])).await.unwrap(), Committed::Fenced));
    assert_eq!(texts(&log(store, "a").await), ["one", "two"]);
}

async fn logs_are_bounded_and_cursors_grow_all_the_same(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    let mut previous = held.nonce.clone();
    let (mut told, mut latest) = (0, 0);
    while told < LOG_MAX * 3 / 2 {
        let lines: Vec<String> = (told..told + 7).map(|number| number.to_string()).collect();
        told += lines.len();
        let name = format!("n{told}");
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let commit = Commit { previous, ..telling(&held, &name, &lines) };
        still_held(store.commit(commit).await.unwrap());
        previous = nonce(&name);
        let new = store.log(&conversation("a"), latest, LOG_MAX).await.unwrap();
        assert_eq!(texts(&new), lines, "whoever follows misses nothing");
        latest = new.last().unwrap().cursor;
    }
    let kept = log(store, "a").await;
    assert!((LOG_MAX * 9 / 10..=LOG_MAX).contains(&kept.len()), "{} are kept", kept.len());
    let expected: Vec<String> = (told - kept.len()..told).map(|number| number.to_string()).collect();
    assert_eq!(texts(&kept), expected, "the latest, without a gap");
}

async fn more_than_a_log_holds_leaves_the_latest(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    let lines: Vec<String> = (0..LOG_MAX * 2).map(|number| number.to_string()).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    still_held(store.commit(telling(&held, "c1", &["before"])).await.unwrap());
    still_held(store.commit(telling(&held, "c2", &lines)).await.unwrap());
    let kept = log(store, "a").await;
    assert!((LOG_MAX * 9 / 10..=LOG_MAX).contains(&kept.len()), "{} are kept", kept.len());
    let latest = &lines[lines.len() - LOG_MAX * 9 / 10..];
    assert_eq!(texts(&kept[kept.len() - latest.len()..]), latest);
}

async fn what_has_been_kept_for_long_enough_is_swept(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    still_held(store.commit(telling(&held, "c1", &["one", "two"])).await.unwrap());
    let later = Commit { now: T0 + LEASE, ..telling(&held, "c2", &["three"]) };
    still_held(store.commit(later).await.unwrap());
    store.sweep(T0 + LOG_KEEP - MOMENT).await.unwrap();
    let all = log(store, "a").await;
    assert_eq!(all.len(), 3);
    let busy = take(store, "b", 2).await;
    let in_the_middle = T0 + SWEPT_AFTER + LEASE;
    let kept = Commit { now: in_the_middle, ..telling(&busy, "o1", &["kept"]) };
    still_held(store.commit(kept).await.unwrap());
    store.sweep(T0 + LOG_KEEP + SWEPT_AFTER).await.unwrap();
    assert!(log(store, "a").await.is_empty());
    assert_eq!(texts(&log(store, "b").await), ["kept"]);
    let anew = Commit { previous: nonce("c2"), ..telling(&held, "c3", &["four"]) };
    still_held(store.commit(anew).await.unwrap());
    let after = store.log(&conversation("a"), all[2].cursor, 10).await.unwrap();
    assert_eq!(texts(&after), ["four"], "cursors go on where they were");
}

async fn a_forgotten_conversation_has_no_log(store: &dyn Store) {
    let (a, b) = (take(store, "a", 1).await, take(store, "b", 2).await);
    still_held(store.commit(telling(&a, "c1", &["one"])).await.unwrap());
    still_held(store.commit(telling(&b, "o1", &["other"])).await.unwrap());
    assert!(store.forget(&conversation("a"), &[], &[]).await.unwrap());
    assert!(log(store, "a").await.is_empty());
    assert!(matches!(store.commit(telling(&a, "c2", &["two"])).await.unwrap(), Committed::Fenced));
    assert!(log(store, "a").await.is_empty());
    assert_eq!(texts(&log(store, "b").await), ["other"]);
}

fn telling(held: &Held, nonce: &str, lines: &[&str]) -> Commit {
    let entry = |line: &&str| LogEntry::new(None, LogWhat::Progress { text: (*line).to_owned() });
    Commit { log: lines.iter().map(entry).collect(), ..commit(held, nonce, 0) }
}

async fn log(store: &dyn Store, name: &str) -> Vec<Logged> {
    store.log(&conversation(name), 0, LOG_MAX * 3).await.unwrap()
}

fn texts(log: &[Logged]) -> Vec<&str> {
    log.iter()
        .map(|logged| match &logged.entry.what {
            LogWhat::Progress { text } => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect()
}
