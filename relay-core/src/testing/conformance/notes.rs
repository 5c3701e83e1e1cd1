//! Short texts under a name, kept whole and changed by whoever knows what they are.

use super::conversation;
use crate::store::Store;

pub(super) async fn all<S: Store, F: Future<Output = S>>(fresh: impl Fn() -> F) {
    notes_are_kept_until_another_is(&fresh().await).await;
    a_note_is_swapped_by_whoever_knows_it(&fresh().await).await;
    of_many_who_swap_at_once_none_loses_what_another_kept(&fresh().await).await;
}

async fn notes_are_kept_until_another_is(store: &dyn Store) {
    assert_eq!(store.note("x").await.unwrap(), None);
    for text in ["one", "größer 'zwei'", ""] {
        store.set_note("x", text).await.unwrap();
        assert_eq!(store.note("x").await.unwrap().as_deref(), Some(text).filter(|text| !text.is_empty()));
    }
}

async fn a_note_is_swapped_by_whoever_knows_it(store: &dyn Store) {
    assert!(!store.swap_note("x", Some(""), "one").await.unwrap(), "nothing is not an empty text");
    assert!(!store.swap_note("x", Some("one"), "two").await.unwrap());
    assert_eq!(store.note("x").await.unwrap(), None);
    assert!(store.swap_note("x", None, "größer 'eins'").await.unwrap());
    assert!(!store.swap_note("x", None, "two").await.unwrap());
    assert!(!store.swap_note("x", Some("one"), "two").await.unwrap());
    assert_eq!(store.note("x").await.unwrap().as_deref(), Some("größer 'eins'"));
    assert!(store.swap_note("x", Some("größer 'eins'"), "").await.unwrap());
    assert_eq!(store.note("x").await.unwrap(), None, "an empty text erases it");
    assert!(!store.swap_note("x", Some(""), "two").await.unwrap());
    assert!(store.swap_note("x", None, "two").await.unwrap());
    assert_eq!(store.note("x").await.unwrap().as_deref(), Some("two"));
    assert_eq!(store.note("y").await.unwrap(), None);
    store.forget(&conversation("a"), &[], &["x".to_owned()]).await.unwrap();
    assert!(store.swap_note("x", None, "again").await.unwrap(), "what is erased is not there");
}

async fn of_many_who_swap_at_once_none_loses_what_another_kept(store: &dyn Store) {
    let add = async |word: &str| loop {
        let known = store.note("x").await.unwrap();
        let text = format!("{}{word} ", known.as_deref().unwrap_or_default());
        if store.swap_note("x", known.as_deref(), &text).await.unwrap() {
            return;
        }
    };
    futures::future::join4(add("a"), add("b"), add("c"), add("d")).await;
    let kept = store.note("x").await.unwrap().unwrap();
    let mut words: Vec<&str> = kept.split_whitespace().collect();
    words.sort_unstable();
    assert_eq!(words, ["a", "b", "c", "d"]);
}
