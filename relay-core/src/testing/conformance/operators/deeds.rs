//! What operators have done.

use super::super::{T0, conversation};
use crate::store::Store;
use crate::store::operators::{DEEDS_MAX, Deed, DeedKind, DeedOutcome};

pub(super) async fn all<S: Store, F: Future<Output = S>>(fresh: impl Fn() -> F) {
    deeds_are_remembered_up_to_a_number(&fresh().await).await;
    a_deed_says_what_came_of_it(&fresh().await).await;
}

fn deed(number: u64) -> Deed {
    Deed { at: T0, who: "5e55 <b>".into(), what: DeedKind::Redrive { letter: number }, outcome: None }
}

async fn deeds_are_remembered_up_to_a_number(store: &dyn Store) {
    let operators = store.operators();
    for number in 0..DEEDS_MAX as u64 + 3 {
        operators.remember(&deed(number)).await.unwrap();
    }
    let last = DEEDS_MAX as u64 + 2;
    assert_eq!(operators.deeds(0, 2).await.unwrap(), [deed(last), deed(last - 1)], "the latest first");
    assert_eq!(operators.deeds(2, 1).await.unwrap(), [deed(last - 2)]);
    assert_eq!(operators.deeds(0, DEEDS_MAX * 2).await.unwrap().len(), DEEDS_MAX);
    let forget = Deed { what: DeedKind::Forget { conversation: conversation("a") }, ..deed(0) };
    operators.remember(&forget).await.unwrap();
    store.forget(&conversation("a"), &[], &[]).await.unwrap();
    assert_eq!(operators.deeds(0, 1).await.unwrap(), [forget], "that somebody was forgotten is not");
}

async fn a_deed_says_what_came_of_it(store: &dyn Store) {
    let operators = store.operators();
    let failed = DeedOutcome::Failed("it \"was\" not there".into());
    let with = |number, outcome: &DeedOutcome| Deed { outcome: Some(outcome.clone()), ..deed(number) };
    for number in [1, 2, 3, 2] {
        operators.remember(&deed(number)).await.unwrap();
    }
    operators.conclude(&deed(1), &failed).await.unwrap();
    operators.conclude(&deed(2), &DeedOutcome::Done).await.unwrap();
    let told = [with(2, &DeedOutcome::Done), deed(3), deed(2), with(1, &failed)];
    assert_eq!(operators.deeds(0, 10).await.unwrap(), told, "each in its place, and one at a time");
    operators.conclude(&deed(2), &failed).await.unwrap();
    operators.conclude(&deed(2), &failed).await.unwrap();
    operators.conclude(&deed(7), &failed).await.unwrap();
    let told = [with(2, &DeedOutcome::Done), deed(3), with(2, &failed), with(1, &failed)];
    assert_eq!(operators.deeds(0, 10).await.unwrap(), told, "what is not remembered is left");
    for number in 0..DEEDS_MAX as u64 {
        operators.remember(&deed(100 + number)).await.unwrap();
    }
    operators.conclude(&deed(3), &DeedOutcome::Done).await.unwrap();
    assert_eq!(operators.deeds(0, DEEDS_MAX * 2).await.unwrap().len(), DEEDS_MAX, "or has made way");
}
