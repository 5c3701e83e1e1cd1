//! An operator steps in.

use super::*;
use crate::id::Nonce;

fn cancel(id: &str) -> Event {
    Event::Operator { id: Nonce::parse(id).unwrap(), action: OperatorAction::Cancel }
}

#[test]
fn a_run_that_an_operator_cancels_is_stopped_and_its_person_is_told_who_did_it() {
    let mut talk = Talk::working();
    talk.hear("another task");
    talk.forget();
    talk.log.clear();
    talk.feed(cancel("1"));
    let logged = LogEntry::new(Some(run(1)), LogWhat::Operator { action: "cancel".into() });
    assert_eq!(talk.log.first(), Some(&logged));
    assert_eq!(talk.calls(), [Effect::CancelRun { run: talk.conversation.run_id(1) }]);
    let told = talk.text();
    assert!(told.contains("Whoever runs this service is stopping run 1") && told.contains("dropped"), "{told}");
    assert!(talk.conversation.queue.is_empty());
    assert!(matches!(talk.phase(), Phase::Cancelling { unreachable: false, .. }));
    talk.forget();
    talk.report(VmEvent::Finished { outcome: RunOutcome::Cancelled, spent: None });
    assert_eq!(talk.phase(), &Phase::Idle);
    assert_eq!(talk.conversation.past.back().map(|past| &past.ending), Some(&Ending::Cancelled));
}

#[test]
fn a_quiet_person_is_told_as_well() {
    let mut talk = Talk::working();
    talk.conversation.verbosity = Verbosity::Quiet;
    talk.feed(cancel("1"));
    assert!(talk.text().contains("is stopping run 1"));
}

#[test]
fn a_diff_that_waits_is_rolled_back_and_can_no_longer_be_approved() {
    let mut talk = Talk::awaiting();
    talk.feed(cancel("1"));
    assert_eq!(talk.calls(), [Effect::CancelRun { run: talk.conversation.run_id(1) }]);
    assert!(!talk.conversation.timers.contains_key(&Timer::Approval));
    talk.forget();
    talk.hear("approve");
    assert!(talk.calls().is_empty(), "{:?}", talk.calls());
}

#[test]
fn where_nothing_can_be_stopped_nothing_is_said() {
    let mut idle = Talk::new();
    idle.feed(cancel("1"));
    assert_eq!(idle.conversation, Talk::new().conversation);

    let mut deciding = Talk::awaiting();
    deciding.hear("approve");
    deciding.forget();
    let before = deciding.conversation.clone();
    deciding.feed(cancel("1"));
    assert_eq!(deciding.conversation, before, "what was approved is not taken back");
}

#[test]
fn a_vm_that_was_given_up_is_asked_once_more() {
    let mut talk = Talk::working();
    talk.feed(cancel("1"));
    let run = talk.conversation.run_id(1);
    talk.conversation.phase = Phase::Cancelling { run: run.clone(), unreachable: true };
    talk.forget();
    talk.feed(cancel("2"));
    assert_eq!(talk.calls(), [Effect::CancelRun { run }]);
    assert!(matches!(talk.phase(), Phase::Cancelling { unreachable: false, .. }));
}

#[test]
fn what_an_operator_does_is_known_by_its_own_name() {
    assert_eq!(cancel("a1").id().map(|id| id.to_string()).as_deref(), Some("operator:a1"));
    assert_ne!(cancel("a1").id(), cancel("a2").id());
}
