//! The page of a diff: its link comes with the diff, and what is answered there counts once, for that diff, and before the queue.

use super::*;
use crate::machine::conversation::Past;
use crate::machine::review;
use crate::protocol::RefusalReason;

const REVISION: &str = "make it blue";

fn with_review() -> VmEvent {
    let mut event = changes("aa11");
    if let VmEvent::Finished { outcome: RunOutcome::Changes { review, .. }, .. } = &mut event {
        *review = Some(Review { parts: 3 });
    }
    event
}

fn reviewed(number: u64, hash: &str, verdict: Verdict) -> Event {
    Event::Reviewed { run: run(number), tree: tree(hash), verdict, cause: None }
}

fn revision() -> Verdict {
    Verdict::Changes { text: REVISION.into() }
}

fn revise(parked: u64) -> Task {
    Task::Revise { parked: run(parked), text: REVISION.into() }
}

/// At work, and then the report of a diff that was laid out.
fn reported(mut talk: Talk) -> Talk {
    talk.hear("fix the bug");
    talk.settle(Outcome::Done);
    talk.forget();
    talk.report(with_review());
    talk
}

#[test]
fn the_link_comes_with_the_diff_once_the_review_is_in_the_store() {
    let mut talk = reported(Talk::new());
    assert_eq!(talk.calls(), [Effect::KeepReview { run: run(1), tree: tree("aa11"), parts: 3 }]);
    assert!(talk.says().is_empty(), "not before");
    talk.settle(Outcome::ReviewKept);
    let [say] = &talk.says()[..] else { panic!("one message") };
    let expires_at = talk.now + review::kept_for(&talk.rules);
    assert_eq!(say.review, Some(ReviewLink { run: run(1), tree: tree("aa11"), expires_at }));
    assert!(say.choice.is_some() && say.code.is_some(), "beside the diff and its buttons");
    assert_eq!(talk.conversation.reviews.len(), 1, "to be erased with the person");
}

#[test]
fn a_review_that_does_not_come_is_not_waited_for_without_end() {
    let mut late = reported(Talk::new());
    late.wait(late.rules.silence_timeout);
    let mut refused = reported(Talk::new());
    refused.settle(Outcome::Refused { reason: Some(RefusalReason::NotFound), message: "gone".into() });
    let mut away = reported(Talk::new());
    away.call_in_vain(Duration::from_secs(60));
    for mut talk in [late, refused, away] {
        let says = talk.says();
        assert!(says.iter().any(|say| say.choice.is_some()) && says.iter().all(|say| say.review.is_none()), "{says:?}");
        assert!(talk.for_vm().is_none_or(|queued| !matches!(queued.effect, Effect::KeepReview { .. })));
    }
}

#[test]
fn a_review_of_impossible_size_is_not_asked_for() {
    for parts in [0, crate::protocol::review::REVIEW_PARTS_MAX + 1] {
        let mut talk = Talk::working();
        let mut event = with_review();
        if let VmEvent::Finished { outcome: RunOutcome::Changes { review, .. }, .. } = &mut event {
            *review = Some(Review { parts });
        }
        talk.report(event);
        assert!(talk.calls().is_empty() && talk.says()[0].review.is_none());
    }
}

#[test]
fn where_messages_are_short_the_link_has_its_room() {
    for length in [10, 600, 1_100, 1_300, 1_500, 1_700, 3_000, 9_000] {
        let mut talk = Talk::on(ChannelKind::Twilio);
        talk.hear("fix the bug");
        talk.settle(Outcome::Done);
        talk.forget();
        let mut event = with_review();
        if let VmEvent::Finished { outcome: RunOutcome::Changes { summary, .. }, .. } = &mut event {
            *summary = "word ".repeat(length / 5);
        }
        talk.report(event);
        talk.settle(Outcome::ReviewKept);
        let says = talk.says();
        let links: Vec<&Say> = says.iter().filter(|say| say.review.is_some()).collect();
        assert_eq!(links.len(), 1, "{length}");
        for say in &says {
            let code = say.code.as_deref().map_or(0, |code| split::units(code) + 10);
            let room = if say.review.is_some() { shape::LINK_UNITS_MAX } else { 0 };
            assert!(split::units(&say.text) + code + room <= talk.rules.twilio.text_units_max, "{length}: {say:?}");
        }
        assert!(links[0].text.contains("*approve* opens"), "it stands at the end of the text: {length}");
    }
}

#[test]
fn a_verdict_decides_also_before_the_chat_has_the_diff() {
    for (verdict, decision) in [(Verdict::Approve, Decision::Approve), (Verdict::Reject, Decision::Reject)] {
        let mut talk = reported(Talk::new());
        talk.settle(Outcome::ReviewKept);
        talk.forget();
        talk.feed(reviewed(1, "aa11", verdict));
        assert_eq!(talk.calls(), [decide(1, "aa11", decision)]);
        assert_eq!(talk.text(), text::decision_taken(&run(1), decision));
        talk.deliver();
        assert!(matches!(talk.phase(), Phase::Deciding { .. }), "the diff that comes after it asks for nothing");
    }
}

#[test]
fn a_verdict_that_cannot_be_carried_out_leaves_the_diff_to_be_answered_in_the_chat() {
    let mut talk = reported(Talk::new());
    talk.settle(Outcome::ReviewKept);
    talk.feed(reviewed(1, "aa11", Verdict::Approve));
    // The diff reaches them while their answer is being carried out.
    talk.deliver();
    talk.settle(Outcome::Refused { reason: None, message: "no room".into() });
    let Phase::AwaitingApproval(pending) = talk.phase() else { panic!("{:?}", talk.phase()) };
    assert!(pending.shown && pending.page_used);
    talk.forget();
    talk.hear("approve");
    assert_eq!(talk.calls(), [decide(1, "aa11", Decision::Approve)]);
}

#[test]
fn a_verdict_says_nothing_of_the_chat() {
    let mut talk = Talk::awaiting();
    talk.conversation.delivery.closed = true;
    let heard = (talk.conversation.heard.clone(), talk.conversation.heard_at);
    talk.wait_s(60);
    talk.feed(reviewed(1, "aa11", Verdict::Approve));
    assert!(talk.conversation.delivery.closed, "who presses on a page has not written");
    assert_eq!((talk.conversation.heard.clone(), talk.conversation.heard_at), heard);
}

#[test]
fn what_is_to_be_different_is_done_upon_the_parked_work_before_what_waits() {
    let mut talk = Talk::awaiting();
    talk.hear("another task");
    talk.forget();
    talk.feed(reviewed(1, "aa11", revision()));
    assert_eq!(talk.calls(), [decide(1, "aa11", Decision::Park)]);
    assert_eq!(talk.text(), text::review::revising(&run(1)));
    talk.hear("status");
    assert!(talk.text().contains("is being handed back to the agent"));
    talk.settle(Outcome::Done);
    talk.report(decided(Decision::Park, parked()));
    assert_eq!(talk.calls(), [Effect::StartRun { run: run(2), task: revise(1) }]);
    assert_eq!(talk.texts(), Vec::<String>::new(), "that it is parked meanwhile is nothing to be told");
    assert_eq!(
        talk.conversation.past.back(),
        Some(&Past { run: run(1), ending: Ending::Parked { branch: "parked/c0ffee-1".into() } })
    );
    talk.settle(Outcome::Done);
    talk.hear("status");
    assert!(talk.text().contains("revise 1: make it blue"));
    talk.report(changes("bb22"));
    talk.deliver();
    talk.forget();
    talk.hear("approve");
    assert_eq!(talk.calls(), [decide(2, "bb22", Decision::Approve)]);
    talk.settle(Outcome::Done);
    talk.report(decided(Decision::Approve, pull_request()));
    assert_eq!(talk.calls(), [start(3, "another task")]);
}

#[test]
fn silence_asks_again_and_forgets_nothing() {
    let mut talk = Talk::awaiting();
    talk.feed(reviewed(1, "aa11", revision()));
    talk.settle(Outcome::Done);
    talk.wait(talk.rules.silence_timeout);
    talk.settle(Outcome::Done);
    talk.forget();
    talk.report(decided(Decision::Park, parked()));
    assert_eq!(talk.calls(), [Effect::StartRun { run: run(2), task: revise(1) }]);
}

#[test]
fn what_did_not_reach_the_agent_is_said() {
    let fails: [fn(&mut Talk); 4] = [
        |talk| talk.call_in_vain(talk.rules.vm_patience * 2),
        |talk| talk.settle(Outcome::Refused { reason: Some(RefusalReason::StaleTree), message: "no".into() }),
        |talk| talk.settle(Outcome::Refused { reason: Some(RefusalReason::NotFound), message: "no".into() }),
        |talk| {
            talk.settle(Outcome::Done);
            talk.report(decided(Decision::Park, DecisionResult::Failed { reason: "the disk is full".into() }));
        },
    ];
    for fail in fails {
        let mut talk = Talk::awaiting();
        talk.feed(reviewed(1, "aa11", revision()));
        talk.forget();
        fail(&mut talk);
        let told = talk.texts();
        assert_eq!(told.iter().filter(|text| text.contains("did not reach the agent")).count(), 1, "{told:?}");
        assert!(matches!(talk.phase(), Phase::AwaitingApproval(_) | Phase::Idle), "{:?}", talk.phase());
        talk.deliver();
        talk.forget();
        if let Phase::AwaitingApproval(_) = talk.phase() {
            talk.wait(talk.rules.approval_timeout);
            talk.settle(Outcome::Done);
            talk.report(decided(Decision::Park, parked()));
            assert!(talk.calls().iter().all(|call| !matches!(call, Effect::StartRun { .. })), "and not done later");
        }
    }
}

#[test]
fn a_verdict_for_what_no_longer_waits_gets_one_line_and_does_nothing() {
    let deciding = || {
        let mut talk = Talk::awaiting();
        talk.hear("reject");
        talk
    };
    let over = || {
        let mut talk = deciding();
        talk.settle(Outcome::Done);
        talk.report(decided(Decision::Reject, DecisionResult::RolledBack));
        talk
    };
    let next = || {
        let mut talk = over();
        talk.hear("another task");
        talk.settle(Outcome::Done);
        talk.report(changes("bb22"));
        talk.deliver();
        talk
    };
    let cases: [(Talk, u64, &str, &str); 6] = [
        (deciding(), 1, "aa11", "is being rolled back"),
        (over(), 1, "aa11", "was rolled back"),
        (next(), 1, "aa11", "was rolled back"),
        (next(), 2, "aa11", "waits for your"),
        (next(), 1, "bb22", "was rolled back"),
        (next(), 7, "aa11", "no longer waits"),
    ];
    for (mut talk, number, hash, why) in cases {
        for verdict in [Verdict::Approve, Verdict::Reject, revision()] {
            talk.forget();
            let phase = talk.phase().clone();
            talk.feed(reviewed(number, hash, verdict));
            let told = talk.text();
            assert!(told.contains("came too late") && told.contains(why), "{why}: {told}");
            assert_eq!((talk.calls(), talk.phase()), (vec![], &phase));
        }
    }
}

#[test]
fn a_page_is_answered_once_whatever_is_pressed() {
    let ids = [Verdict::Approve, Verdict::Reject, revision()].map(|verdict| reviewed(1, "aa11", verdict).id());
    assert!(ids[0].is_some() && ids.iter().all(|id| *id == ids[0]));
    assert_ne!(reviewed(1, "bb22", Verdict::Approve).id(), ids[0]);
}

#[test]
fn no_review_is_forgotten_before_it_is_gone() {
    let mut talk = Talk::awaiting();
    let kept = |number: u64| {
        let expires_at = T0 + Duration::from_secs(number);
        review::Kept { run: run(number), tree: tree("aa11"), parts: 2, expires_at }
    };
    let taken = (1..=500).take_while(|number| talk.conversation.keeps_review(kept(*number), T0)).count();
    assert_eq!(talk.conversation.reviews.len(), taken);
    assert!(taken < 500, "bounded");
    assert_eq!(talk.conversation.reviews.front(), Some(&kept(1)), "also the oldest is to be erased with the person");
    assert!(talk.conversation.keeps_review(kept(900), T0 + Duration::from_secs(1)), "one of them is gone");
    assert!(talk.conversation.keeps_review(kept(901), T0 + Duration::from_secs(600)));
    assert_eq!(talk.conversation.reviews.len(), 2, "so are all the others");
}

#[test]
fn a_diff_beyond_the_reviews_that_can_be_remembered_is_shown_without_a_page() {
    let mut talk = Talk::working();
    let expires_at = talk.now + Duration::from_secs(3600);
    let mut kept =
        (100..1_000).map(|number| review::Kept { run: run(number), tree: tree("aa11"), parts: 2, expires_at });
    assert!(kept.any(|kept| !talk.conversation.keeps_review(kept, talk.now)), "bounded");
    talk.report(with_review());
    let says = talk.says();
    assert!(talk.calls().is_empty() && says[0].choice.is_some() && says[0].review.is_none(), "{says:?}");
}

#[test]
fn what_an_older_relay_left_can_be_read() {
    let mut talk = Talk::awaiting();
    talk.hear("reject");
    let mut left = serde_json::to_value(&talk.conversation).unwrap();
    left["format"] = 4.into();
    assert!(left.get("reviews").is_none() && left["phase"].get("revision").is_none(), "as it was");
    let read: Conversation = serde_json::from_value(left).unwrap();
    assert_eq!(read, Conversation { format: 4, ..talk.conversation });
}
