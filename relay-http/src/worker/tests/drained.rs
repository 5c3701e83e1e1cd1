//! What a relay that an operator has drained does with what it had taken on, and with what nobody else takes.

use super::*;

impl Loop {
    /// As an operator does.
    async fn turn_to(&self, drain: bool) {
        crate::presence::beat(&self.app).await.unwrap();
        assert!(self.store.inner.operators().drain(&self.app.node, drain).await.unwrap());
        crate::presence::beat(&self.app).await.unwrap();
    }
}

#[tokio::test]
async fn a_drained_relay_takes_nothing_until_it_is_let_again() {
    let mut found = start_idle(8).await;
    found.turn_to(true).await;
    let rung = found.store.released("rung", clock::now()).await;
    found.hint(Hint::Due(rung)).await;
    found.hint(Hint::Fed).await;
    until(|| found.hints.capacity() == found.hints.max_capacity()).await;
    until(|| found.store.looks().len() == 2).await;
    assert!(found.store.claims().is_empty() && found.store.handed_on().is_empty(), "every relay hears an alarm");
    found.turn_to(false).await;
    assert_eq!(found.next_held().await.to_string(), "rung", "whatever is due by then");
}

#[tokio::test]
async fn a_drained_relay_hands_on_at_once_what_nobody_else_is_told_of() {
    let found = start_idle(8).await;
    found.turn_to(true).await;
    let woken = found.store.released("woken", clock::now()).await;
    found.hint(Hint::Woken(woken.clone())).await;
    until(|| found.store.handed_on().len() == 1).await;
    let at = clock::now() + Duration::from_millis(100);
    let set_here = found.store.released("sethere", at).await;
    found.deadlines.send(Deadline { conversation: set_here.clone(), at: Some(at) }).await.unwrap();
    until(|| found.store.handed_on().len() == 2).await;
    assert!(clock::now() >= at, "others would find it not due");
    assert_eq!((found.store.handed_on(), found.store.claims().len()), (vec![woken, set_here], 0));
}

#[tokio::test]
async fn what_a_drained_relay_can_not_hand_on_it_hands_on_later() {
    let found = start_idle(8).await;
    found.turn_to(true).await;
    until(|| found.store.looks().len() == 2).await;
    found.store.is_away.store(true, Ordering::Relaxed);
    let woken = found.store.released("woken", clock::now()).await;
    found.hint(Hint::Woken(woken.clone())).await;
    until(|| found.store.looks().len() > 2).await;
    assert!(found.store.handed_on().is_empty());
    found.store.is_away.store(false, Ordering::Relaxed);
    until(|| !found.store.handed_on().is_empty()).await;
    assert_eq!(found.store.handed_on(), [woken]);
}

/// Were all drained, deadlines would never be met.
#[tokio::test]
async fn a_drained_relay_takes_what_all_others_have_left_lying() {
    let mut found = start_idle(8).await;
    let just_due = found.store.released("justdue", clock::now() - Duration::from_secs(30)).await;
    let left_lying = found.store.released("leftlying", clock::now() - Duration::from_secs(70)).await;
    found.turn_to(true).await;
    assert_eq!(found.next_held().await, left_lying);
    until(|| found.store.looks().len() == 2).await;
    found.turn_to(false).await;
    assert_eq!(found.next_held().await, just_due, "another relay would have taken it meanwhile");
}
