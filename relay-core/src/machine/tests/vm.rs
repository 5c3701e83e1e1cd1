//! A VM that sleeps, is busy, falls silent or forgets.

use super::*;
use crate::protocol::{RunState, RunStatus};

const TICK: Duration = Duration::from_millis(1);

fn probed(state: RunState) -> Outcome {
    Outcome::Probed { status: Some(RunStatus { run: run(1), state, started_at: T0, last_output_at: T0 }) }
}

#[test]
fn the_person_hears_of_waking_after_two_and_a_half_seconds_and_once() {
    let mut talk = Talk::new();
    talk.hear("fix the bug");
    talk.now = talk.now + Duration::from_millis(2_500);
    talk.settle(no_answer());
    talk.wait(Duration::ZERO);
    assert_eq!(talk.text(), text::WAKING);
    talk.call_in_vain(Duration::from_secs(60));
    assert!(talk.texts().is_empty(), "once per wake");
    talk.settle(Outcome::Done);
    assert_eq!(talk.conversation.waking, None, "the next silence is a new wake");
}

#[test]
fn a_refused_connection_is_no_wake_yet() {
    let mut talk = Talk::new();
    talk.hear("fix the bug");
    talk.settle(Outcome::NO_ANSWER);
    talk.wait(Duration::from_millis(2_499));
    assert!(talk.texts().is_empty());
    talk.wait(TICK);
    assert_eq!(talk.text(), text::WAKING);
}

#[test]
fn a_vm_that_answers_in_time_is_not_said_to_be_waking() {
    let mut talk = Talk::new();
    talk.hear("fix the bug");
    talk.settle(Outcome::NO_ANSWER);
    talk.wait_s(2);
    talk.settle(Outcome::Done);
    talk.wait_s(60);
    assert!(talk.texts().is_empty());
}

#[test]
fn a_start_is_tried_every_three_seconds_then_stalls_and_the_next_message_resumes_the_same_run() {
    let mut talk = Talk::new();
    talk.hear("fix the bug");
    talk.settle(no_answer());
    assert_eq!(talk.conversation.retries[&Lane::Vm].next_at, talk.now + Duration::from_secs(3));
    talk.call_in_vain(talk.rules.vm_patience * 2);
    assert!(matches!(talk.phase(), Phase::Stalled { .. }), "{:?}", talk.phase());
    assert!(talk.now.since(T0) >= talk.rules.vm_patience);
    assert!(talk.texts().last().unwrap().contains("Your message is kept"));
    assert_eq!(talk.conversation.deadline(), None);
    talk.forget();
    talk.hear("are you there?");
    assert_eq!(talk.calls(), [start(1, "fix the bug")], "the same run, so that it is never done twice");
    assert_eq!(talk.conversation.queue, [prompt("are you there?")]);
}

#[test]
fn any_report_proves_a_start_whose_answer_was_lost() {
    let mut starting = Talk::new();
    starting.hear("fix the bug");
    starting.settle(no_answer());
    let mut stalled = Talk::new();
    stalled.hear("fix the bug");
    stalled.call_in_vain(stalled.rules.vm_patience * 2);
    for mut talk in [starting, stalled] {
        talk.report(VmEvent::Started { driver: "demo".into() });
        assert!(matches!(talk.phase(), Phase::Working { .. }));
        assert_eq!(talk.for_vm(), None, "the start is withdrawn");
        assert!(talk.has(Timer::Silence));
    }
}

#[test]
fn a_busy_vm_is_waited_for_longer_than_a_silent_one() {
    let mut talk = Talk::new();
    talk.hear("fix the bug");
    let until = talk.now + talk.rules.vm_patience * 2;
    while talk.now < until {
        talk.settle(in_use("Another run needs the files."));
        assert_eq!(talk.conversation.retries[&Lane::Vm].next_at, talk.now + Duration::from_secs(10));
        talk.wait_s(10);
    }
    assert!(matches!(talk.phase(), Phase::Starting { .. }));
    assert_eq!(talk.texts(), ["⏳ Another run needs the files. I keep trying."], "said once");
    talk.forget();
    talk.hear("repos");
    assert_eq!(talk.texts(), [text::ASK_LATER], "a question does not wait behind the start");
}

fn in_use(message: &str) -> Outcome {
    Outcome::Busy { retry_after_ms: Some(10_000), message: Some(message.into()), in_use: true }
}

#[test]
fn a_vm_that_can_not_take_a_run_says_why_and_the_message_is_kept() {
    let mut talk = Talk::new();
    talk.hear("fix the bug");
    let until = talk.now + talk.rules.vm_patience * 2;
    while talk.now < until && talk.for_vm().is_some() {
        let message = Some("The disk is full.".to_owned());
        talk.settle(Outcome::Busy { retry_after_ms: None, message, in_use: false });
        talk.wait_s(3);
    }
    assert!(matches!(talk.phase(), Phase::Stalled { .. }));
    let texts = talk.texts();
    assert_eq!(texts[0], "⏳ The disk is full. I keep trying.");
    assert!(texts[1].starts_with("⚠️ The disk is full, for 5 min now. Your message is kept"), "{texts:?}");
}

#[test]
fn a_run_whose_end_was_lost_is_asked_for_again() {
    for state in [RunState::Over, RunState::AwaitingApproval] {
        let mut talk = Talk::working();
        talk.wait(talk.rules.silence_timeout);
        talk.forget();
        talk.settle(probed(state));
        assert_eq!(talk.calls(), [start(1, "fix the bug")], "which the VM starts once and answers with its end");
        assert!(talk.texts().is_empty());
    }
}

#[test]
fn stopping_does_not_wait_behind_a_picture() {
    let mut talk = Talk::working();
    talk.report(VmEvent::Image { name: "a.png".into(), caption: String::new() });
    talk.settle(Outcome::no_answer(Duration::from_millis(2_500)));
    talk.hear("cancel");
    let stop = talk.outbox.iter().find(|queued| matches!(queued.effect, Effect::CancelRun { .. }));
    let lane = stop.expect("the run is being stopped").effect.lane();
    assert!(!talk.conversation.retries.contains_key(&lane), "its lane is free");
}

#[test]
fn a_refused_start_ends_the_run_and_the_next_begins() {
    let mut talk = Talk::new();
    talk.hear("fix the bug");
    talk.hear("second");
    talk.forget();
    talk.settle(Outcome::Refused { reason: None, message: "No repository yet.".into() });
    assert_eq!(talk.text(), "⚠️ No repository yet.");
    assert_eq!(talk.calls(), [start(2, "second")]);
}

#[test]
fn a_silent_run_is_asked_about_and_the_person_told_once() {
    let mut talk = Talk::working();
    talk.wait(talk.rules.silence_timeout);
    assert_eq!(talk.calls(), [Effect::Probe { run: run(1) }]);
    talk.settle(probed(RunState::Running));
    assert_eq!(talk.text(), text::quiet(&run(1), talk.rules.silence_timeout));
    talk.wait(talk.rules.silence_timeout);
    talk.settle(probed(RunState::Running));
    assert!(talk.texts().is_empty(), "told once");
    talk.report(VmEvent::Beat);
    talk.forget();
    talk.wait(talk.rules.silence_timeout);
    talk.settle(probed(RunState::Running));
    assert_eq!(talk.texts().len(), 1, "a new silence");
}

#[test]
fn what_a_probe_finds_decides_what_is_said() {
    let cases = [
        (probed(RunState::AwaitingApproval), None),
        (probed(RunState::Over), None),
        (Outcome::Probed { status: None }, Some(text::run_lost(&run(1)))),
    ];
    for (outcome, line) in cases {
        let mut talk = Talk::working();
        talk.wait(talk.rules.silence_timeout);
        talk.settle(outcome);
        assert_eq!(talk.texts().pop(), line);
        assert_eq!(talk.phase() == &Phase::Idle, line.is_some(), "a lost run is over");
    }
}

#[test]
fn a_silent_run_on_a_vm_that_does_not_answer_is_told_once_however_long_it_lasts() {
    let mut talk = Talk::working();
    for _ in 0..3 {
        talk.wait(talk.rules.silence_timeout);
        talk.call_in_vain(talk.rules.silence_timeout);
    }
    assert_eq!(talk.texts(), [text::WAKING.to_owned(), text::unreachable(&run(1))]);
}

#[test]
fn beats_keep_a_run_from_being_silent() {
    let mut talk = Talk::working();
    for _ in 0..10 {
        talk.wait(talk.rules.silence_timeout - TICK);
        talk.report(VmEvent::Beat);
    }
    assert!(talk.fresh.is_empty());
}

#[test]
fn reports_of_other_runs_and_repeats_change_nothing() {
    let mut talk = Talk::working();
    talk.report(VmEvent::Progress { text: "reading".into() });
    let before = talk.conversation.clone();
    talk.report_of(&run(7), answered("not mine"));
    talk.feed(Event::Report { run: run(1), seq: 1, event: VmEvent::Progress { text: "reading".into() } });
    assert_eq!(talk.conversation, before);
}

#[test]
fn every_ending_is_told_and_remembered() {
    let cases = [
        (RunOutcome::Answered { text: "42".into() }, "42", Ending::Answered),
        (RunOutcome::Failed { reason: "No key.".into(), kept: None }, "failed: No key.", Ending::Failed),
        (RunOutcome::Interrupted { kept: None }, "Your VM was restarted", Ending::Failed),
        (
            RunOutcome::Interrupted { kept: Some("kept/1".into()) },
            "*resume 1* brings it back",
            Ending::Parked { branch: "kept/1".into() },
        ),
    ];
    for (outcome, words, ending) in cases {
        let mut talk = Talk::working();
        talk.report(finished(outcome));
        assert!(talk.text().contains(words), "{words}");
        assert_eq!(talk.conversation.ending(&run(1)), Some(&ending));
        assert_eq!((talk.phase(), talk.conversation.deadline()), (&Phase::Idle, None));
    }
}

#[test]
fn a_refusal_that_comes_late_ends_no_other_run_and_no_diff() {
    let refusal = |number| Event::Performed {
        effect: Queued::new(EffectSeq(1), start(number, "old")),
        outcome: Outcome::Refused { reason: None, message: "no".into() },
    };
    let mut talk = Talk::working();
    talk.report(answered("Done."));
    talk.hear("another thing");
    talk.settle(Outcome::Done);
    talk.forget();
    talk.feed(refusal(1));
    assert!(matches!(talk.phase(), Phase::Working { run: working, .. } if *working == run(2)), "{:?}", talk.phase());
    assert!(talk.texts().is_empty());
    let mut talk = Talk::awaiting();
    talk.feed(refusal(1));
    assert!(matches!(talk.phase(), Phase::AwaitingApproval(_)), "{:?}", talk.phase());
    let mut talk = Talk::working();
    talk.hear("cancel");
    talk.forget();
    talk.feed(refusal(1));
    assert!(matches!(talk.phase(), Phase::Cancelling { .. }) && talk.texts().is_empty());
}
