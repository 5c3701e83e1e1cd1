//! What operators have done.

use super::super::{T0, conversation};
use crate::store::Store;
use crate::store::operators::{DEEDS_MAX, Deed, DeedKind};

pub(super) async fn all<S: Store, F: Future<Output = S>>(fresh: impl Fn() -> F) {
    deeds_are_remembered_up_to_a_number(&fresh().await).await;
}

async fn deeds_are_remembered_up_to_a_number(store: &dyn Store) {
    let operators = store.operators();
    let deed = |number: u64| Deed { at: T0, who: "5e55 <b>".into(), what: DeedKind::Redrive { letter: number } };
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
