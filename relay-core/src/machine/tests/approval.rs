//! From the diff to its end.

use super::*;
use crate::protocol::RefusalReason;

#[test]
fn a_message_becomes_a_pull_request() {
    let mut talk = Talk::new();
    talk.hear("fix the bug");
    assert_eq!(talk.calls(), [start(1, "fix the bug")]);
    talk.settle(Outcome::Done);
    assert!(matches!(talk.phase(), Phase::Working { .. }));
    talk.report(VmEvent::Started { driver: "demo".into() });
    assert_eq!(talk.text(), text::started(&run(1), "demo"));
    talk.report(changes("aa11"));
    let shown = talk.says();
    assert_eq!(shown[0].choice, Some(Choice { run: run(1), tree: tree("aa11") }));
    assert_eq!(shown[0].code.as_deref(), Some("-old\n+new"));
    talk.deliver();
    talk.hear("approve");
    assert_eq!(talk.calls(), [decide(1, "aa11", Decision::Approve)]);
    talk.settle(Outcome::Done);
    talk.forget();
    talk.report(decided(Decision::Approve, pull_request()));
    assert_eq!(talk.text(), text::pull_request(&run(1), "https://example.org/pull/1"));
    assert_eq!((talk.phase(), talk.conversation.deadline()), (&Phase::Idle, None));
}

#[test]
fn a_rejected_diff_is_rolled_back() {
    let mut talk = Talk::awaiting();
    talk.hear("r");
    assert_eq!(talk.calls(), [decide(1, "aa11", Decision::Reject)]);
    talk.settle(Outcome::Done);
    talk.forget();
    talk.report(decided(Decision::Reject, DecisionResult::RolledBack));
    assert_eq!(talk.text(), text::rolled_back(&run(1)));
    assert_eq!(talk.phase(), &Phase::Idle);
}

#[test]
fn a_diff_that_nobody_answers_is_parked_at_its_deadline_after_one_warning() {
    let mut talk = Talk::awaiting();
    let (timeout, warning) = (talk.rules.approval_timeout, talk.rules.approval_warning);
    talk.wait(timeout - warning - Duration::from_millis(1));
    assert!(talk.texts().is_empty());
    talk.wait(Duration::from_millis(1));
    assert_eq!(talk.text(), text::approval_warning(&run(1), warning));
    talk.wait(warning - Duration::from_millis(1));
    assert!(talk.fresh.is_empty());
    talk.wait(Duration::from_millis(1));
    assert_eq!(talk.calls(), [decide(1, "aa11", Decision::Park)]);
    talk.settle(Outcome::Done);
    talk.forget();
    talk.report(decided(Decision::Park, parked()));
    assert_eq!(talk.text(), text::parked(&run(1), "parked/c0ffee-1"));
    talk.wait(timeout * 2);
    assert!(talk.fresh.is_empty(), "a deadline fires once");
}

/// Whoever looks at an older message with buttons has to learn that they count no more, whoever has decided.
#[test]
fn what_becomes_of_a_diff_settles_its_buttons_and_nothing_else_does() {
    let settles = |talk: &mut Talk| talk.says().iter().map(|say| say.settles).collect::<Vec<_>>();
    for decision in [Decision::Approve, Decision::Reject, Decision::Park] {
        for quiet in [false, true] {
            let mut talk = Talk::awaiting();
            if quiet {
                talk.hear("quiet");
            }
            talk.hear("status");
            talk.hear("a task for later");
            assert!(!settles(&mut talk).contains(&true));
            let result = match decision {
                Decision::Approve => DecisionResult::Pushed { branch: "b".into(), note: String::new() },
                Decision::Reject => DecisionResult::RolledBack,
                Decision::Park => parked(),
            };
            match decision {
                Decision::Park => {
                    let (timeout, warning) = (talk.rules.approval_timeout, talk.rules.approval_warning);
                    talk.wait(timeout - warning);
                    assert_eq!(settles(&mut talk), [false], "the warning");
                    talk.wait(warning);
                }
                decision => talk.hear(if decision == Decision::Approve { "approve" } else { "reject" }),
            }
            assert_eq!(settles(&mut talk), if quiet { vec![] } else { vec![true] }, "{decision:?}");
            talk.settle(Outcome::Done);
            talk.forget();
            talk.report(decided(decision, result));
            assert_eq!(settles(&mut talk).first(), Some(&true), "{decision:?}, quiet: {quiet}");
        }
    }
}

#[test]
fn a_park_that_fails_is_said_once_and_tried_again_in_silence() {
    let mut talk = Talk::awaiting();
    talk.wait(talk.rules.approval_timeout);
    talk.settle(Outcome::Done);
    talk.forget();
    let failed = || decided(Decision::Park, DecisionResult::Failed { reason: "the disk is full".into() });
    talk.report(failed());
    assert!(talk.text().contains("could not be parked: the disk is full"));
    for _ in 0..3 {
        talk.wait(talk.rules.approval_timeout);
        assert_eq!(talk.calls(), [decide(1, "aa11", Decision::Park)]);
        talk.settle(Outcome::Done);
        talk.report(failed());
        assert_eq!(talk.texts(), Vec::<String>::new());
    }
    talk.hear("approve");
    assert_eq!(talk.text(), text::decision_taken(&run(1), Decision::Approve), "an answer is heard all the same");
}

#[test]
fn parked_work_is_brought_back_by_its_number() {
    let mut talk = Talk::awaiting();
    talk.wait(talk.rules.approval_timeout);
    talk.settle(Outcome::Done);
    talk.report(decided(Decision::Park, parked()));
    talk.forget();
    talk.hear("resume 1");
    assert_eq!(talk.calls(), [Effect::StartRun { run: run(2), task: Task::Resume { parked: run(1) } }]);
    talk.hear("resume 2");
    assert_eq!(talk.text(), text::not_parked(&talk.conversation, &run(2)), "the current run is not parked");
}

#[test]
fn the_time_for_an_answer_starts_when_the_diff_is_handed_over() {
    let mut talk = Talk::working();
    talk.report(changes("aa11"));
    talk.wait_s(60);
    talk.deliver();
    let due = talk.conversation.timers[&Timer::Approval];
    assert_eq!(due, talk.now + talk.rules.approval_timeout);
}

#[test]
fn an_answer_before_the_diff_was_handed_over_does_not_count() {
    for word in ["approve", "reject"] {
        let mut talk = Talk::working();
        talk.report(changes("aa11"));
        talk.forget();
        talk.hear(word);
        assert_eq!(talk.text(), text::NOT_SHOWN_YET);
        assert!(talk.calls().is_empty());
        talk.deliver();
        talk.hear(word);
        assert_eq!(talk.calls().len(), 1, "{word}");
    }
}

#[test]
fn a_button_counts_for_exactly_the_diff_it_came_with() {
    let cases = [
        ("approve:c0ffee-1a3185c5000-1:aa11", Some(Decision::Approve)),
        ("reject:c0ffee-1a3185c5000-1:aa11", Some(Decision::Reject)),
        ("approve", Some(Decision::Approve)),
        ("approve:c0ffee-1a3185c5000-1:bb22", None),
        ("approve:c0ffee-1a3185c5000-2:aa11", None),
        ("reject:c0ffee-1a3185c5000-0:aa11", None),
        ("merge:c0ffee-1a3185c5000-1:aa11", None),
        ("anything", None),
    ];
    for (payload, decision) in cases {
        let mut talk = Talk::awaiting();
        talk.press(payload);
        let expected: Vec<Effect> = decision.map(|decision| decide(1, "aa11", decision)).into_iter().collect();
        assert_eq!(talk.calls(), expected, "{payload}");
        assert_eq!(talk.texts().len(), 1, "{payload}");
    }
}

#[test]
fn a_button_proves_that_its_diff_was_seen() {
    let mut talk = Talk::working();
    talk.report(changes("aa11"));
    talk.press("approve:c0ffee-1a3185c5000-1:aa11");
    assert_eq!(talk.calls(), [decide(1, "aa11", Decision::Approve)]);
}

#[test]
fn second_late_and_stale_answers_get_one_clear_line() {
    let mut talk = Talk::awaiting();
    talk.hear("approve");
    talk.forget();
    talk.hear("approve");
    assert!(talk.text().contains("being turned into a pull request"), "a second answer");
    talk.settle(Outcome::Done);
    talk.report(decided(Decision::Approve, pull_request()));
    talk.forget();
    talk.hear("reject");
    assert!(talk.text().contains("already a pull request"), "a late answer");
    talk.press("reject:c0ffee-1a3185c5000-1:aa11");
    assert!(talk.text().contains("That button is old. Run 1 is already a pull request"), "an old button");
    talk.hear("next");
    talk.settle(Outcome::Done);
    talk.forget();
    talk.hear("approve");
    assert!(talk.text().contains("Run 2 is at work"), "an answer with nothing to decide");
    assert!(talk.calls().is_empty());
}

#[test]
fn an_answer_to_an_earlier_diff_does_not_count_for_the_next() {
    let mut talk = Talk::awaiting();
    talk.hear("second task");
    talk.hear("reject");
    talk.settle(Outcome::Done);
    talk.report(decided(Decision::Reject, DecisionResult::RolledBack));
    talk.settle(Outcome::Done);
    talk.reported = 0;
    talk.report(changes("bb22"));
    talk.forget();
    talk.press("approve:c0ffee-1a3185c5000-1:aa11");
    talk.hear("approve");
    assert!(talk.calls().is_empty(), "one is old, the other came before the second diff was shown");
    talk.deliver();
    talk.hear("approve");
    assert_eq!(talk.calls(), [decide(2, "bb22", Decision::Approve)]);
}

#[test]
fn a_decision_that_fails_leaves_the_diff_waiting() {
    let mut talk = Talk::awaiting();
    talk.hear("approve");
    talk.settle(Outcome::Done);
    talk.forget();
    talk.report(decided(Decision::Approve, DecisionResult::Failed { reason: "GitHub said 401.".into() }));
    assert!(talk.text().contains("GitHub said 401."));
    assert!(talk.has(Timer::Approval) && talk.has(Timer::ApprovalWarning) && !talk.has(Timer::Silence));
    talk.hear("reject");
    assert_eq!(talk.calls(), [decide(1, "aa11", Decision::Reject)]);
}

#[test]
fn a_decision_that_failed_is_not_tried_again_by_itself() {
    let mut talk = Talk::awaiting();
    talk.hear("approve");
    talk.settle(no_answer());
    talk.report(decided(Decision::Approve, DecisionResult::Failed { reason: "push refused".into() }));
    assert!(matches!(talk.phase(), Phase::AwaitingApproval(_)));
    assert_eq!(talk.for_vm(), None, "the request whose answer was lost must not go out again");
}

#[test]
fn a_refused_decision_leaves_the_diff_waiting_unless_the_vm_has_lost_the_run() {
    for (reason, waits) in [
        (Some(RefusalReason::StaleTree), true),
        (Some(RefusalReason::Invalid), true),
        (None, true),
        (Some(RefusalReason::NotFound), false),
    ] {
        let mut talk = Talk::awaiting();
        talk.hear("approve");
        talk.settle(Outcome::Refused { reason, message: "No.".into() });
        assert_eq!(matches!(talk.phase(), Phase::AwaitingApproval(_)), waits, "{reason:?}");
        assert!(talk.texts().contains(&text::refused("No.")));
    }
}

#[test]
fn a_decision_that_the_vm_never_answers_can_be_given_again() {
    let mut talk = Talk::awaiting();
    talk.hear("approve");
    talk.call_in_vain(talk.rules.vm_patience * 2);
    assert!(talk.texts().contains(&text::decide_unanswered(&run(1))));
    assert!(talk.has(Timer::Approval));
    // It was carried out after all.
    talk.report(decided(Decision::Approve, pull_request()));
    assert_eq!(talk.phase(), &Phase::Idle);
}

#[test]
fn a_decision_without_a_report_is_asked_about_again() {
    let mut talk = Talk::awaiting();
    talk.hear("approve");
    talk.settle(Outcome::Done);
    talk.forget();
    talk.wait(talk.rules.silence_timeout);
    assert_eq!(talk.calls(), [decide(1, "aa11", Decision::Approve)]);
}

#[test]
fn a_diff_redriven_from_the_dead_letters_can_be_answered_in_words() {
    let mut talk = Talk::working();
    talk.report(changes("aa11"));
    let effect = talk.outbox.last().unwrap().clone();
    talk.feed(Event::Performed { effect, outcome: Outcome::Refused { reason: None, message: "63016".into() } });
    let dead = talk.dead.pop().unwrap();
    talk.feed(Event::Redriven { effect: dead.effect });
    talk.deliver();
    talk.hear("approve");
    assert_eq!(talk.for_vm().map(|queued| queued.effect.clone()), Some(decide(1, "aa11", Decision::Approve)));
}
