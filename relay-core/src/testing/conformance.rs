//! The store contract as tests: one function per clause, each over a fresh store. An implementation's test calls [`all`].

#![expect(clippy::unwrap_used, reason = "a failing call fails the test that made it")]

use std::future::Future;
use std::time::Duration;

use crate::id::{Address, BlobId, ChannelKind, ConversationId, EffectSeq, Fence, MessageId, NodeId, Nonce};
use crate::machine::{Content, Conversation, Dead, Effect, Event, Message, Queued, Say};
use crate::store::{
    Blob, Claim, Claimed, Commit, Committed, DEDUPE_KEEP, FEED_MAX, Held, INBOX_MAX, Ingest, Ingested, LEASE, Reserve,
    Reserved, Store,
};
use crate::testing::giving_back;
use crate::time::Timestamp;

mod log;
mod notes;
mod operators;

const T0: Timestamp = Timestamp(1_800_000_000_000);
const MOMENT: Duration = Duration::from_millis(1);

/// Check every clause, each on a store that `fresh` makes.
pub async fn all<S: Store, F: Future<Output = S>>(fresh: impl Fn() -> F) {
    the_first_event_takes_the_lease(&fresh().await).await;
    an_event_for_a_held_conversation_waits_for_its_holder(&fresh().await).await;
    the_same_event_again_changes_nothing(&fresh().await).await;
    an_ingest_carried_out_twice_is_one(&fresh().await).await;
    a_full_inbox_refuses_and_remembers_nothing(&fresh().await).await;
    a_commit_is_all_or_nothing_and_read_back_whole(&fresh().await).await;
    a_commit_carried_out_twice_is_one(&fresh().await).await;
    a_commit_that_arrives_late_changes_nothing(&fresh().await).await;
    no_event_slips_between_commit_and_release(&fresh().await).await;
    a_stale_fence_changes_nothing(&fresh().await).await;
    a_dead_holder_is_replaced_when_its_lease_ends(&fresh().await).await;
    fences_grow_and_never_fall_behind_the_clock(&fresh().await).await;
    a_claim_carried_out_twice_is_one(&fresh().await).await;
    a_released_conversation_is_due_at_its_deadline(&fresh().await).await;
    two_conversations_do_not_meet(&fresh().await).await;
    dead_letters_can_be_seen_and_redriven_once(&fresh().await).await;
    blobs_expire(&fresh().await).await;
    feeds_are_ordered_deduplicated_and_bounded(&fresh().await).await;
    event_ids_are_forgotten_only_after_their_time(&fresh().await).await;
    a_conversation_that_was_not_given_back_is_known_as_abandoned(&fresh().await).await;
    what_is_asked_for_again_has_its_old_place(&fresh().await).await;
    turns_of_a_line_come_one_after_the_other(&fresh().await).await;
    a_forgotten_conversation_is_gone_with_all_that_belongs_to_it(&fresh().await).await;
    log::all(&fresh).await;
    notes::all(&fresh).await;
    operators::all(fresh).await;
}

/// The first clause: for stores that can't be made anew for each.
pub async fn the_first_event_takes_the_lease(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    assert_eq!(held.conversation, Conversation::new(conversation("a")));
    assert_eq!(held.inbox, [event(1)]);
    assert!(held.outbox.is_empty());
    assert!(held.fence > Fence(0));
    assert_eq!(store.conversation(&conversation("a")).await.unwrap(), None, "nothing was committed yet");
}

async fn an_event_for_a_held_conversation_waits_for_its_holder(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    assert!(matches!(store.ingest(ingest("a", 2, "two")).await.unwrap(), Ingested::Queued));
    let inbox = still_held(store.commit(commit(&held, "c1", 1)).await.unwrap());
    assert_eq!(inbox, [event(2)]);
}

async fn the_same_event_again_changes_nothing(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    assert!(matches!(store.ingest(ingest("a", 1, "two")).await.unwrap(), Ingested::Duplicate));
    let released = store.commit(Commit { release: true, ..commit(&held, "c1", 1) }).await.unwrap();
    assert!(matches!(released, Committed::Released));
    assert!(matches!(store.ingest(ingest("a", 1, "two")).await.unwrap(), Ingested::Duplicate));
    assert_eq!(store.stats(T0).await.unwrap().inbox, 0);
}

async fn an_ingest_carried_out_twice_is_one(store: &dyn Store) {
    let first = take(store, "a", 1).await;
    let Ingested::Held(again) = store.ingest(ingest("a", 1, "one")).await.unwrap() else {
        panic!("the repeat of a call that took the lease must say so");
    };
    assert_eq!((again.fence, &again.inbox), (first.fence, &first.inbox));
}

async fn a_full_inbox_refuses_and_remembers_nothing(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    for number in 2..=INBOX_MAX {
        let answer = store.ingest(ingest("a", number, &format!("n{number}"))).await.unwrap();
        assert!(matches!(answer, Ingested::Queued));
    }
    assert!(matches!(store.ingest(ingest("a", 9_999, "full")).await.unwrap(), Ingested::Full));
    still_held(store.commit(commit(&held, "c1", 10)).await.unwrap());
    let answer = store.ingest(ingest("a", 9_999, "again")).await.unwrap();
    assert!(matches!(answer, Ingested::Queued), "what was refused may come again");
}

async fn a_commit_is_all_or_nothing_and_read_back_whole(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    let mut state = held.conversation.clone();
    state.runs = 7;
    let first = Commit {
        conversation: state.clone(),
        effects: vec![say(1, "one"), say(2, "two"), say(3, "three")],
        ..commit(&held, "c1", 1)
    };
    assert!(still_held(store.commit(first).await.unwrap()).is_empty());
    let second = Commit {
        conversation: state.clone(),
        acked: vec![EffectSeq(2)],
        effects: vec![say(4, "four")],
        ..commit(&held, "c2", 0)
    };
    still_held(store.commit(second).await.unwrap());

    let Claimed::Held(next) = store.claim(claim("a", "after", T0 + LEASE + MOMENT)).await.unwrap() else {
        panic!("the lease has run out");
    };
    assert_eq!(next.conversation, state);
    assert_eq!(next.outbox, [say(1, "one"), say(3, "three"), say(4, "four")]);
    assert_eq!(store.conversation(&conversation("a")).await.unwrap(), Some(state));
}

async fn a_commit_carried_out_twice_is_one(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    store.ingest(ingest("a", 2, "two")).await.unwrap();
    store.ingest(ingest("a", 3, "three")).await.unwrap();
    let once = Commit { effects: vec![say(1, "one")], ..commit(&held, "c1", 1) };
    assert_eq!(still_held(store.commit(once.clone()).await.unwrap()), [event(2), event(3)]);
    assert_eq!(still_held(store.commit(once).await.unwrap()), [event(2), event(3)], "nothing more was consumed");
    assert_eq!(store.stats(T0).await.unwrap().outbox, 1);

    let release = Commit { acked: vec![EffectSeq(1)], release: true, ..commit(&held, "c2", 2) };
    assert!(matches!(store.commit(release.clone()).await.unwrap(), Committed::Released));
    assert!(matches!(store.commit(release).await.unwrap(), Committed::Released));
}

async fn a_commit_that_arrives_late_changes_nothing(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    let first = Commit { effects: vec![say(1, "one")], ..commit(&held, "c1", 1) };
    still_held(store.commit(first.clone()).await.unwrap());
    still_held(store.commit(Commit { acked: vec![EffectSeq(1)], ..commit(&held, "c2", 0) }).await.unwrap());
    store.ingest(ingest("a", 2, "two")).await.unwrap();
    // The bytes of a connection that was given up may still be on their way.
    assert!(matches!(store.commit(first).await.unwrap(), Committed::Fenced));
    let stats = store.stats(T0).await.unwrap();
    assert_eq!((stats.inbox, stats.outbox), (1, 0));
}

async fn no_event_slips_between_commit_and_release(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    store.ingest(ingest("a", 2, "two")).await.unwrap();
    let release = Commit { release: true, ..commit(&held, "c1", 1) };
    assert_eq!(still_held(store.commit(release).await.unwrap()), [event(2)], "not released over a waiting event");
    let release = Commit { release: true, ..commit(&held, "c2", 1) };
    assert!(matches!(store.commit(release).await.unwrap(), Committed::Released));
    let Ingested::Held(next) = store.ingest(ingest("a", 3, "three")).await.unwrap() else {
        panic!("a released conversation is taken by the next event");
    };
    assert_eq!(next.inbox, [event(3)]);
}

async fn a_stale_fence_changes_nothing(store: &dyn Store) {
    let old = take(store, "a", 1).await;
    let Claimed::Held(new) = store.claim(claim("a", "takeover", T0 + LEASE + MOMENT)).await.unwrap() else {
        panic!("the lease has run out");
    };
    assert!(new.fence > old.fence);
    let stale = Commit { effects: vec![say(1, "stale")], ..commit(&old, "stale", 1) };
    assert!(matches!(store.commit(stale).await.unwrap(), Committed::Fenced));
    let stats = store.stats(T0).await.unwrap();
    assert_eq!((stats.inbox, stats.outbox), (1, 0));
    // Also when nobody holds it any more.
    let release = Commit { release: true, ..commit(&new, "c1", 1) };
    assert!(matches!(store.commit(release).await.unwrap(), Committed::Released));
    assert!(matches!(store.commit(commit(&old, "staler", 0)).await.unwrap(), Committed::Fenced));
    assert!(
        matches!(store.commit(commit(&new, "late", 0)).await.unwrap(), Committed::Fenced),
        "given back is given back"
    );
}

async fn a_dead_holder_is_replaced_when_its_lease_ends(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    assert!(matches!(store.claim(claim("a", "early", T0 + LEASE - MOMENT)).await.unwrap(), Claimed::Taken));
    let due = store.due(T0, 10).await.unwrap();
    assert_eq!((due.conversations.len(), due.next), (0, Some(T0 + LEASE)));
    let late = T0 + LEASE;
    assert_eq!(store.due(late, 10).await.unwrap().conversations, [conversation("a")]);
    let Claimed::Held(next) = store.claim(claim("a", "late", late)).await.unwrap() else {
        panic!("the lease has run out");
    };
    assert_eq!((next.inbox, next.conversation), (held.inbox, held.conversation));
    // An event that comes after the lease ended takes over as well, without a claim.
    let Ingested::Held(third) = store.ingest(Ingest { now: late + LEASE, ..ingest("a", 2, "two") }).await.unwrap()
    else {
        panic!("the second lease has run out too");
    };
    assert!(third.fence > next.fence);
    assert_eq!(third.inbox, [event(1), event(2)]);
}

async fn fences_grow_and_never_fall_behind_the_clock(store: &dyn Store) {
    let mut last = Fence(0);
    let mut now = T0;
    for round in 0..5 {
        let Ingested::Held(held) =
            store.ingest(Ingest { now, ..ingest("a", round, &format!("n{round}")) }).await.unwrap()
        else {
            panic!("released before");
        };
        assert!(held.fence > last && held.fence.0 >= now.as_millis(), "{:?} after {last:?}", held.fence);
        last = held.fence;
        let release = Commit { release: true, now, ..commit(&held, &format!("r{round}"), 1) };
        assert!(matches!(store.commit(release).await.unwrap(), Committed::Released));
        // A clock that stands still or goes back must not stop fences from growing.
        now = if round == 2 { now - Duration::from_secs(60) } else { now };
    }
}

async fn a_claim_carried_out_twice_is_one(store: &dyn Store) {
    take(store, "a", 1).await;
    let late = T0 + LEASE;
    let Claimed::Held(first) = store.claim(claim("a", "late", late)).await.unwrap() else { panic!("due") };
    let Claimed::Held(again) = store.claim(claim("a", "late", late)).await.unwrap() else { panic!("a repeat") };
    assert_eq!(first.fence, again.fence);
    assert!(matches!(store.claim(claim("a", "other", late)).await.unwrap(), Claimed::Taken));
    assert!(matches!(store.claim(claim("nobody", "x", late)).await.unwrap(), Claimed::NotDue));
}

async fn a_released_conversation_is_due_at_its_deadline(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    let deadline = T0 + Duration::from_secs(1800);
    let release = Commit { release: true, deadline: Some(deadline), ..commit(&held, "c1", 1) };
    assert!(matches!(store.commit(release).await.unwrap(), Committed::Released));
    let before = deadline - MOMENT;
    assert_eq!(store.due(before, 10).await.unwrap().next, Some(deadline));
    assert!(matches!(store.claim(claim("a", "early", before)).await.unwrap(), Claimed::NotDue));
    assert_eq!(store.due(deadline, 10).await.unwrap().conversations, [conversation("a")]);
    assert!(matches!(store.claim(claim("a", "one", deadline)).await.unwrap(), Claimed::Held(_)));
    assert!(matches!(store.claim(claim("a", "two", deadline)).await.unwrap(), Claimed::Taken), "once");
    // Without a deadline nothing is due.
    let held = take(store, "b", 2).await;
    store.commit(Commit { release: true, ..commit(&held, "b1", 1) }).await.unwrap();
    let century = T0 + Duration::from_secs(100 * 365 * 24 * 3600);
    assert!(!store.due(century, 10).await.unwrap().conversations.contains(&conversation("b")));
}

async fn two_conversations_do_not_meet(store: &dyn Store) {
    let a = take(store, "a", 1).await;
    let b = take(store, "b", 2).await;
    still_held(store.commit(Commit { effects: vec![say(1, "for a")], ..commit(&a, "c1", 1) }).await.unwrap());
    assert_eq!(b.inbox, [event(2)]);
    let due = store.due(T0 + LEASE, 1).await.unwrap();
    assert_eq!(due.conversations.len(), 1, "the limit is kept");
    let Claimed::Held(b) = store.claim(claim("b", "late", T0 + LEASE)).await.unwrap() else { panic!("due") };
    assert!(b.outbox.is_empty());
    assert_eq!(b.inbox, [event(2)]);
    assert_eq!(store.stats(T0 + LEASE).await.unwrap().conversations, 2);
}

async fn dead_letters_can_be_seen_and_redriven_once(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    let effect = say(1, "undeliverable").effect;
    let dead = Dead { effect: effect.clone(), reason: "no such number".into() };
    let release = Commit { dead: vec![dead], release: true, ..commit(&held, "c1", 1) };
    assert!(matches!(store.commit(release).await.unwrap(), Committed::Released));
    let letters = store.dead_letters(10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0].effect, letters[0].reason.as_str(), letters[0].at), (&effect, "no such number", T0));
    assert!(store.redrive(letters[0].letter, T0).await.unwrap());
    assert!(!store.redrive(letters[0].letter, T0).await.unwrap(), "once");
    assert!(store.dead_letters(10).await.unwrap().is_empty());
    assert_eq!(store.due(T0, 10).await.unwrap().conversations, [conversation("a")]);
    let Claimed::Held(next) = store.claim(claim("a", "redriven", T0)).await.unwrap() else { panic!("due at once") };
    assert_eq!(next.inbox, [Event::Redriven { effect }]);
}

async fn blobs_expire(store: &dyn Store) {
    let id = BlobId::parse("picture-1").unwrap();
    let blob = Blob { content_type: "image/png".into(), bytes: vec![0, 255, 7] };
    store.put_blob(&id, blob.clone(), T0 + LEASE).await.unwrap();
    assert_eq!(store.blob(&id, T0).await.unwrap(), Some(blob));
    assert_eq!(store.blob(&id, T0 + LEASE).await.unwrap(), None);
    store.sweep(T0 + LEASE).await.unwrap();
    assert_eq!(store.blob(&id, T0).await.unwrap(), None, "swept");
    assert_eq!(store.blob(&BlobId::parse("other").unwrap(), T0).await.unwrap(), None);
}

async fn feeds_are_ordered_deduplicated_and_bounded(store: &dyn Store) {
    let (a, b) = (conversation("a"), conversation("b"));
    store.append_feed(&a, "1", "one").await.unwrap();
    store.append_feed(&b, "1", "other").await.unwrap();
    store.append_feed(&a, "2", "two").await.unwrap();
    store.append_feed(&a, "1", "one again").await.unwrap();
    let all = store.feed(&a, 0, 10).await.unwrap();
    assert_eq!(all.iter().map(|entry| entry.entry.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    let after = store.feed(&a, all[0].cursor, 10).await.unwrap();
    assert_eq!(after, all[1..]);
    // Whoever has seen the end of a feed that was erased sees the next one from its beginning.
    assert!(!store.forget(&a, &[], &[]).await.unwrap());
    assert_eq!(store.feed(&a, 0, 10).await.unwrap(), []);
    for text in ["anew", "and on"] {
        store.append_feed(&a, text, text).await.unwrap();
    }
    let anew = store.feed(&a, all[1].cursor, 10).await.unwrap();
    assert_eq!(anew.iter().map(|entry| entry.entry.as_str()).collect::<Vec<_>>(), ["anew", "and on"]);
    assert!(anew[0].cursor < anew[1].cursor);
    for number in 0..FEED_MAX {
        store.append_feed(&a, &format!("more{number}"), "more").await.unwrap();
    }
    let kept = store.feed(&a, 0, FEED_MAX * 2).await.unwrap();
    assert_eq!(kept.len(), FEED_MAX);
    assert!(kept.iter().all(|entry| entry.entry == "more"), "the oldest make way");
}

async fn event_ids_are_forgotten_only_after_their_time(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    store.commit(Commit { release: true, ..commit(&held, "c1", 1) }).await.unwrap();
    store.sweep(T0 + DEDUPE_KEEP - MOMENT).await.unwrap();
    assert!(matches!(store.ingest(ingest("a", 1, "two")).await.unwrap(), Ingested::Duplicate));
    store.sweep(T0 + DEDUPE_KEEP).await.unwrap();
    assert!(matches!(store.ingest(ingest("a", 1, "three")).await.unwrap(), Ingested::Held(_)));
}

async fn a_conversation_that_was_not_given_back_is_known_as_abandoned(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    assert!(!held.abandoned);
    let late = T0 + LEASE + MOMENT;
    let Claimed::Held(taken_over) = store.claim(claim("a", "after", late)).await.unwrap() else { panic!("it is due") };
    assert!(taken_over.abandoned);
    let release = Commit { release: true, now: late, ..commit(&taken_over, "c1", 1) };
    assert!(matches!(store.commit(release).await.unwrap(), Committed::Released));
    let again = Ingest { now: late, ..ingest("a", 2, "two") };
    let Ingested::Held(given_back) = store.ingest(again).await.unwrap() else { panic!("nobody holds it") };
    assert!(!given_back.abandoned);
    let much_later = Ingest { now: late + LEASE + MOMENT, ..ingest("a", 3, "three") };
    let Ingested::Held(taken_over) = store.ingest(much_later).await.unwrap() else { panic!("its lease has run out") };
    assert!(taken_over.abandoned);
}

async fn what_is_asked_for_again_has_its_old_place(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    let first = Commit { effects: vec![say(1, "one"), say(2, "two")], ..commit(&held, "c1", 1) };
    still_held(store.commit(first).await.unwrap());
    let done = Commit { acked: vec![EffectSeq(1)], previous: nonce("c1"), ..commit(&held, "c2", 0) };
    still_held(store.commit(done).await.unwrap());
    let again =
        Commit { effects: vec![say(1, "one"), say(3, "three")], previous: nonce("c2"), ..commit(&held, "c3", 0) };
    still_held(store.commit(again).await.unwrap());
    let Claimed::Held(next) = store.claim(claim("a", "after", T0 + LEASE + MOMENT)).await.unwrap() else {
        panic!("the lease has run out");
    };
    assert_eq!(next.outbox, [say(1, "one"), say(2, "two"), say(3, "three")]);
}

async fn turns_of_a_line_come_one_after_the_other(store: &dyn Store) {
    let interval = Duration::from_micros(12_500);
    let reserve = |line: &str, count, now| {
        let wait_max = Duration::from_millis(100);
        store.reserve(Reserve { line: line.to_owned(), count, interval, wait_max, now })
    };
    assert_eq!(reserve("a", 4, T0).await.unwrap(), Reserved::In(Duration::ZERO));
    assert_eq!(reserve("a", 4, T0).await.unwrap(), Reserved::In(Duration::from_millis(50)));
    assert_eq!(reserve("b", 1, T0).await.unwrap(), Reserved::In(Duration::ZERO), "another line");
    assert_eq!(reserve("a", 1, T0).await.unwrap(), Reserved::In(Duration::from_millis(100)));
    let later = Reserved::Later(Duration::from_micros(112_500));
    assert_eq!(reserve("a", 1, T0).await.unwrap(), later);
    assert_eq!(reserve("a", 1, T0).await.unwrap(), later, "nothing was reserved");
    let now = T0 + Duration::from_secs(60);
    assert_eq!(reserve("a", 1, now).await.unwrap(), Reserved::In(Duration::ZERO), "turns of the past are gone");
}

async fn a_forgotten_conversation_is_gone_with_all_that_belongs_to_it(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    let other = take(store, "b", 2).await;
    let dead = |text: &str| Dead { effect: say(1, text).effect, reason: "lost".into() };
    let with_letter = Commit { effects: vec![say(2, "two")], dead: vec![dead("one")], ..commit(&held, "c1", 0) };
    still_held(store.commit(with_letter).await.unwrap());
    still_held(store.commit(Commit { dead: vec![dead("other")], ..commit(&other, "o1", 0) }).await.unwrap());
    let blob = BlobId::parse("blob-1").unwrap();
    let bytes = Blob { content_type: "image/png".into(), bytes: vec![1] };
    store.put_blob(&blob, bytes, T0 + LEASE).await.unwrap();
    store.append_feed(&conversation("a"), "k", "entry").await.unwrap();
    store.set_note("alias", "a").await.unwrap();
    let forgotten = store.forget(&conversation("a"), std::slice::from_ref(&blob), &["alias".to_owned()]).await;
    assert!(forgotten.unwrap());
    assert_eq!(store.conversation(&conversation("a")).await.unwrap(), None);
    assert_eq!(store.overview(&conversation("a")).await.unwrap(), None);
    assert_eq!(store.blob(&blob, T0).await.unwrap(), None);
    assert_eq!(store.note("alias").await.unwrap(), None);
    assert!(store.feed(&conversation("a"), 0, 10).await.unwrap().is_empty());
    let letters = store.dead_letters(10).await.unwrap();
    assert!(letters.len() == 1 && letters[0].conversation == conversation("b"), "{letters:?}");
    assert!(
        matches!(store.commit(commit(&held, "c3", 1)).await.unwrap(), Committed::Fenced),
        "whoever held it holds nothing"
    );
    assert!(!store.forget(&conversation("a"), &[], &[]).await.unwrap());
    assert!(matches!(store.ingest(ingest("a", 1, "again")).await.unwrap(), Ingested::Duplicate));
    assert_eq!(store.stats(T0).await.unwrap().conversations, 1, "a repeat brings nothing back");
    let Ingested::Held(anew) = store.ingest(Ingest { now: T0 + MOMENT, ..ingest("a", 9, "new") }).await.unwrap() else {
        panic!("nobody holds it");
    };
    assert!(anew.conversation == Conversation::new(conversation("a")) && anew.outbox.is_empty());
}

fn nonce(name: &str) -> Nonce {
    Nonce::parse(name).unwrap()
}

fn conversation(name: &str) -> ConversationId {
    ConversationId::parse(name).unwrap()
}

fn event(number: usize) -> Event {
    Event::Message(Message::new(
        MessageId::parse(format!("SM{number}")).unwrap(),
        Address { channel: ChannelKind::Twilio, name: "whatsapp:+15550000000".into() },
        Content::Text { text: format!("text {number} with 😀 and \u{0} and 'quotes'") },
    ))
}

fn say(seq: u64, text: &str) -> Queued {
    Queued::new(EffectSeq(seq), Effect::Say(Say { text: text.into(), ..Say::default() }))
}

fn ingest(name: &str, number: usize, nonce: &str) -> Ingest {
    Ingest {
        conversation: conversation(name),
        id: event(number).id().unwrap(),
        event: event(number),
        node: NodeId::parse("node-a").unwrap(),
        nonce: Nonce::parse(nonce).unwrap(),
        now: T0,
    }
}

fn claim(name: &str, nonce: &str, now: Timestamp) -> Claim {
    Claim {
        conversation: conversation(name),
        node: NodeId::parse("node-b").unwrap(),
        nonce: Nonce::parse(nonce).unwrap(),
        now,
    }
}

/// A commit right after the lease was taken; `c2` comes after `c1`.
fn commit(held: &Held, name: &str, consumed: usize) -> Commit {
    let previous = if name == "c2" { nonce("c1") } else { held.nonce.clone() };
    Commit { previous, consumed, release: false, ..giving_back(held, nonce(name), T0) }
}

async fn take(store: &dyn Store, name: &str, number: usize) -> Held {
    let nonce = if number == 1 { "one".to_owned() } else { format!("take{number}") };
    match store.ingest(ingest(name, number, &nonce)).await.unwrap() {
        Ingested::Held(held) => *held,
        other => panic!("nobody holds {name}, yet {other:?}"),
    }
}

fn still_held(answer: Committed) -> Vec<Event> {
    match answer {
        Committed::Held { inbox } => inbox,
        other => panic!("expected to hold on, got {other:?}"),
    }
}
