//! What operators see and do.

use std::time::Duration;

use super::{T0, commit, conversation, say, still_held, take};
use crate::machine::Dead;
use crate::store::operators::Active;
use crate::store::survey::Busy;
use crate::store::{Activity, Commit, Committed, LEASE, Store, Survey};

mod deeds;
mod relays;

pub(super) async fn all<S: Store, F: Future<Output = S>>(fresh: impl Fn() -> F) {
    a_survey_tells_what_goes_on_and_since_when(&fresh().await).await;
    what_goes_on_is_listed_in_pages(&fresh().await).await;
    dead_letters_are_listed_in_pages(&fresh().await).await;
    no_turn_of_a_line_can_be_asked_for(&fresh().await).await;
    relays::all(&fresh).await;
    deeds::all(&fresh).await;
}

async fn a_survey_tells_what_goes_on_and_since_when(store: &dyn Store) {
    assert_eq!(store.survey(T0).await.unwrap(), Survey::default());
    let later = |seconds| T0 + Duration::from_secs(seconds);
    for (at, name, number) in [(0, "a", 1), (5, "b", 2)] {
        let held = take(store, name, number).await;
        let activity = Some(Activity::Working);
        let begun = Commit { now: later(at), activity, release: true, ..commit(&held, "c1", 1) };
        let begun = Commit { deadline: Some(later(20 + at)), ..begun };
        assert!(matches!(store.commit(begun).await.unwrap(), Committed::Released));
    }
    let survey = store.survey(later(22) + LEASE).await.unwrap();
    assert_eq!((survey.conversations, survey.due, survey.oldest_due_at), (2, 1, Some(later(20))));
    assert_eq!(survey.activities, [(Activity::Working, Busy { count: 2, oldest_at: T0 })].into());
    store.forget(&conversation("a"), &[], &[]).await.unwrap();
    let held = take(store, "b", 3).await;
    let over = Commit { activity: Some(Activity::Idle), release: true, ..commit(&held, "c3", 1) };
    assert!(matches!(store.commit(over).await.unwrap(), Committed::Released));
    assert!(store.survey(later(22)).await.unwrap().activities.is_empty());
}

async fn what_goes_on_is_listed_in_pages(store: &dyn Store) {
    for number in 1..=3 {
        let held = take(store, &format!("a{number}"), number).await;
        let now = T0 + Duration::from_secs(number as u64);
        let begun = Commit { now, activity: Some(Activity::Working), release: true, ..commit(&held, "c1", 1) };
        assert!(matches!(store.commit(begun).await.unwrap(), Committed::Released));
    }
    let held = take(store, "b", 4).await;
    let begun = Commit { activity: Some(Activity::Starting), release: true, ..commit(&held, "c1", 1) };
    assert!(matches!(store.commit(begun).await.unwrap(), Committed::Released));
    let active = async |skip, limit| store.operators().active(Activity::Working, skip, limit).await.unwrap();
    let one = |number: u64| Active {
        conversation: conversation(&format!("a{number}")),
        since: T0 + Duration::from_secs(number),
    };
    assert_eq!(active(0, 10).await, [one(1), one(2), one(3)], "the longest first, and nothing else");
    assert_eq!(active(1, 1).await, [one(2)]);
    assert!(active(3, 10).await.is_empty());
    assert!(store.operators().active(Activity::Idle, 0, 10).await.unwrap().is_empty());
    let mut all = store.operators().list(0, 10).await.unwrap();
    assert_eq!(
        [store.operators().list(0, 2).await.unwrap(), store.operators().list(2, 2).await.unwrap()].concat(),
        all
    );
    all.sort();
    assert_eq!(all, ["a1", "a2", "a3", "b"].map(conversation));
}

async fn dead_letters_are_listed_in_pages(store: &dyn Store) {
    let held = take(store, "a", 1).await;
    let dead = (1..=3).map(|number| Dead { effect: say(number, "lost").effect, reason: format!("reason {number}") });
    still_held(store.commit(Commit { dead: dead.collect(), ..commit(&held, "c1", 1) }).await.unwrap());
    let all = store.operators().letters(0, 10).await.unwrap();
    assert_eq!(all, store.dead_letters(10).await.unwrap());
    assert_eq!(all.len(), 3);
    assert_eq!(store.operators().letters(all[0].letter, 1).await.unwrap(), all[1..2]);
    assert!(store.operators().letters(all[2].letter, 10).await.unwrap().is_empty());
}

/// As whoever looks whether a line is free does.
async fn no_turn_of_a_line_can_be_asked_for(store: &dyn Store) {
    use crate::store::{Reserve, Reserved};
    let reserve = |count| {
        let (interval, wait_max) = (Duration::from_secs(2), Duration::from_secs(10));
        store.reserve(Reserve { line: "a".into(), count, interval, wait_max, now: T0 })
    };
    for _ in 0..3 {
        assert_eq!(reserve(0).await.unwrap(), Reserved::In(Duration::ZERO), "nothing is taken");
    }
    reserve(3).await.unwrap();
    assert_eq!(reserve(0).await.unwrap(), Reserved::In(Duration::from_secs(6)));
    reserve(3).await.unwrap();
    assert_eq!(reserve(0).await.unwrap(), Reserved::Later(Duration::from_secs(12)));
}
