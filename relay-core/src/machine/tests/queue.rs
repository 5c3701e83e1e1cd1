//! Tasks that wait, and cancelling.

use super::*;

#[test]
fn tasks_wait_in_order_with_their_position() {
    let mut talk = Talk::working();
    for position in 1..=3 {
        talk.hear(&format!("task {position}"));
        assert_eq!(talk.text(), text::queued(position, talk.phase()));
    }
    talk.hear("queue");
    assert_eq!(talk.text(), "Waiting:\n1. task 1\n2. task 2\n3. task 3");
    for number in 1..=3 {
        talk.report(answered("Done."));
        talk.reported = 0;
        assert_eq!(talk.calls(), [start(number + 1, &format!("task {number}"))]);
        talk.settle(Outcome::Done);
    }
    talk.report(answered("Done."));
    assert_eq!(talk.phase(), &Phase::Idle);
}

#[test]
fn a_task_behind_a_diff_says_what_it_waits_for() {
    let mut talk = Talk::awaiting();
    talk.hear("another");
    assert_eq!(talk.text(), "📥 Queued at position 1. It starts once you *approve* or *reject* run 1.");
}

#[test]
fn a_full_queue_keeps_nothing_and_says_so() {
    let mut talk = Talk::working();
    talk.rules.queue_max = 2;
    for text in ["one", "two"] {
        talk.hear(text);
    }
    talk.forget();
    talk.hear("three");
    assert_eq!(talk.text(), text::queue_full(2));
    assert_eq!(talk.conversation.queue, [prompt("one"), prompt("two")]);
}

#[test]
fn drop_takes_out_one_position() {
    let cases = [
        ("drop 1", "Taken out of the queue: 1. one", vec!["two"]),
        ("drop 2", "Taken out of the queue: 2. two", vec!["one"]),
        ("drop 3", "There is no position 3; 2 waiting. See *queue*.", vec!["one", "two"]),
        ("drop 0", "There is no position 0; 2 waiting. See *queue*.", vec!["one", "two"]),
    ];
    for (word, answer, left) in cases {
        let mut talk = Talk::working();
        talk.hear("one");
        talk.hear("two");
        talk.forget();
        talk.hear(word);
        assert_eq!(talk.text(), answer);
        let left: Vec<Task> = left.into_iter().map(prompt).collect();
        assert_eq!(talk.conversation.queue, left, "{word}");
    }
    let mut talk = Talk::new();
    talk.hear("drop 1");
    assert_eq!(talk.text(), text::QUEUE_EMPTY);
}

#[test]
fn cancel_with_nothing_to_cancel_says_so() {
    let mut talk = Talk::new();
    talk.hear("cancel");
    assert_eq!(talk.text(), text::NOTHING_TO_CANCEL);
    assert!(talk.calls().is_empty());
}

#[test]
fn cancel_while_starting_withdraws_the_start() {
    let mut talk = Talk::new();
    talk.hear("fix the bug");
    talk.settle(no_answer());
    talk.forget();
    talk.hear("cancel");
    assert_eq!(talk.calls(), [Effect::CancelRun { run: run(1) }]);
    let waiting: Vec<&Effect> =
        talk.outbox.iter().map(|queued| &queued.effect).filter(|e| e.lane() != Lane::Chat).collect();
    assert_eq!(waiting, [&Effect::CancelRun { run: run(1) }], "the start never goes out again");
    assert!(talk.conversation.retries.is_empty(), "nothing waits for the withdrawn start");
}

#[test]
fn cancel_stops_the_run_in_every_phase_where_it_can_and_forgets_what_waits() {
    for talk in [Talk::working(), Talk::awaiting()] {
        let mut talk = talk;
        talk.hear("waits");
        talk.forget();
        talk.hear("c");
        assert_eq!(talk.calls(), [Effect::CancelRun { run: run(1) }]);
        assert_eq!(talk.text(), text::cancelling(&run(1), 1));
        assert!(!talk.has(Timer::Approval) && !talk.has(Timer::ApprovalWarning));
        talk.settle(Outcome::Done);
        assert!(matches!(talk.phase(), Phase::Cancelling { .. }), "confirmed only by the VM's report");
        talk.report(finished(RunOutcome::Cancelled));
        assert_eq!(talk.text(), text::cancelled(&run(1)));
        assert_eq!(talk.phase(), &Phase::Idle);
        assert!(talk.conversation.queue.is_empty());
    }
}

#[test]
fn a_decision_under_way_cannot_be_cancelled() {
    let mut talk = Talk::awaiting();
    talk.hear("approve");
    talk.forget();
    talk.hear("cancel");
    assert!(talk.text().ends_with("That can't be stopped any more."));
    assert!(talk.calls().is_empty());
}

#[test]
fn a_second_cancel_gets_one_line() {
    let mut talk = Talk::working();
    talk.hear("cancel");
    talk.forget();
    talk.hear("cancel");
    assert_eq!(talk.text(), "Run 1 is being stopped.");
    assert!(talk.calls().is_empty());
}

#[test]
fn a_run_that_ended_before_its_cancel_says_both() {
    let mut talk = Talk::working();
    talk.hear("cancel");
    talk.forget();
    talk.report(answered("Done."));
    assert_eq!(talk.texts(), [text::ended_before_cancel(&run(1)), "Done.".to_owned()]);
    assert_eq!(talk.phase(), &Phase::Idle);
}

#[test]
fn a_diff_that_crosses_a_cancel_is_not_shown() {
    let mut talk = Talk::working();
    talk.hear("cancel");
    talk.forget();
    talk.report(changes("aa11"));
    assert!(talk.texts().is_empty());
    talk.report(finished(RunOutcome::Cancelled));
    assert_eq!(talk.text(), text::cancelled(&run(1)));
}

#[test]
fn a_cancel_that_the_vm_does_not_answer_is_asked_again_when_the_person_writes() {
    let mut talk = Talk::working();
    talk.hear("cancel");
    talk.call_in_vain(talk.rules.vm_patience * 2);
    assert!(talk.texts().contains(&text::cancel_unconfirmed(&run(1))));
    assert_eq!(talk.conversation.deadline(), None, "nobody is called for ever");
    talk.forget();
    talk.hear("status");
    assert_eq!(talk.calls(), [Effect::CancelRun { run: run(1) }]);
    talk.settle(Outcome::Done);
    talk.wait(talk.rules.silence_timeout);
    assert_eq!(talk.calls(), [Effect::CancelRun { run: run(1) }], "and again until it reports");
}

#[test]
fn a_cancel_without_a_report_is_repeated() {
    let mut talk = Talk::working();
    talk.hear("cancel");
    talk.settle(Outcome::Done);
    talk.forget();
    talk.wait(talk.rules.silence_timeout);
    assert_eq!(talk.calls(), [Effect::CancelRun { run: run(1) }]);
}
