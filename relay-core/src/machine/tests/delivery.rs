//! One message at a time, known to have arrived, found when in doubt, held while the channel is closed.

use super::*;
use crate::machine::conversation::Retry;
use crate::machine::delivery::Arrival;
use crate::machine::rules::ButtonLine;
use crate::protocol::Answer;

/// A person on a channel that tells what becomes of messages.
pub(super) fn phone() -> Talk {
    Talk::on(ChannelKind::Twilio)
}

impl Talk {
    pub(super) fn waiting_says(&self) -> Vec<&Queued> {
        self.outbox.iter().filter(|queued| queued.effect.lane() == Lane::Chat).collect()
    }

    /// The channel takes the first message that waits.
    pub(super) fn sent(&mut self, sid: &str) -> EffectSeq {
        let effect = self.waiting_says().first().copied().expect("a message waits").clone();
        let seq = effect.seq;
        self.feed(Event::Performed { effect, outcome: Outcome::Sent { message: MessageId::parse(sid).unwrap() } });
        seq
    }

    /// The channel takes all that waits; their places and names.
    pub(super) fn all_sent(&mut self) -> Vec<(EffectSeq, String)> {
        let mut sent = Vec::new();
        while !self.waiting_says().is_empty() {
            let name = format!("SM{}", sent.len());
            sent.push((self.sent(&name), name));
        }
        sent
    }

    pub(super) fn receipt(&mut self, effect: EffectSeq, sid: &str, receipt: Receipt) {
        self.feed(Event::Receipt { effect: Some(effect), message: MessageId::parse(sid).unwrap(), receipt });
    }

    fn chat_at(&self) -> Option<Timestamp> {
        self.conversation.ready_at(Lane::Chat, &self.rules)
    }
}

/// Diffs and inquiries of two options have buttons, on a line.
pub(super) const BUTTON_LINE: ButtonLine = ButtonLine { units_max: 255, choice: true, options: &[2] };

pub(super) fn failed(failure: Failure) -> Receipt {
    Receipt::Failed { failure }
}

#[test]
fn lines_that_wait_become_one_message_where_each_costs_money() {
    let mut talk = phone();
    for word in ["status", "queue", "approve"] {
        talk.hear(word);
    }
    assert_eq!(talk.texts(), ["Nothing is running.\nNothing is waiting.\nNothing waits for an answer."]);
    let mut free = Talk::new();
    for word in ["status", "queue"] {
        free.hear(word);
    }
    assert_eq!(free.texts().len(), 2);
}

#[test]
fn a_joined_message_answers_since_the_first_that_it_answers() {
    let mut talk = phone();
    for (word, seconds) in [("status", 1), ("queue", 5)] {
        let asked_at = Some(T0 + Duration::from_secs(seconds));
        let Event::Message(message) = talk.message(Content::Text { text: word.into() }) else { unreachable!() };
        talk.feed(Event::Message(Message { cause: Some(Cause { trace: None, asked_at }), ..message }));
    }
    let answers: Vec<_> = talk.outbox.iter().filter_map(|queued| queued.cause.as_ref()?.asked_at).collect();
    assert_eq!((talk.texts().len(), answers), (1, vec![T0 + Duration::from_secs(1)]));
    // The next answer is not counted from there.
    talk.sent("SM1");
    talk.hear("queue");
    assert!(talk.outbox[0].cause.as_ref().is_none_or(|cause| cause.asked_at.is_none()));
}

#[test]
fn nothing_joins_a_message_that_was_tried() {
    for outcome in [Outcome::busy(None), no_answer(), Outcome::Undelivered { failure: Failure::Passing }] {
        let mut talk = phone();
        talk.hear("status");
        let effect = talk.outbox[0].clone();
        talk.feed(Event::Performed { effect, outcome });
        talk.hear("queue");
        assert_eq!(talk.texts(), ["Nothing is running.", "Nothing is waiting."]);
    }
}

#[test]
fn the_next_message_waits_for_the_arrival_of_the_one_before_but_not_for_ever() {
    let mut talk = phone();
    talk.hear("status");
    let first = talk.sent("SM1");
    let until = T0 + Duration::from_secs(10);
    assert_eq!(talk.chat_at(), Some(until));
    talk.receipt(first, "SM1", Receipt::Sent);
    assert_eq!(talk.chat_at(), Some(until), "on its way is not there");
    talk.receipt(first, "SM1", Receipt::Delivered);
    assert!(talk.chat_at() <= Some(T0));
}

#[test]
fn receipts_never_go_back() {
    let mut talk = phone();
    talk.hear("status");
    let first = talk.sent("SM1");
    for receipt in [Receipt::Read, Receipt::Sent, Receipt::Delivered, failed(Failure::Closed)] {
        talk.receipt(first, "SM1", receipt);
        assert_eq!(talk.conversation.delivery.sent[0].arrival, Arrival::Read);
    }
    assert!(!talk.conversation.delivery.closed && talk.outbox.is_empty());
    talk.receipt(first, "SM-unknown", failed(Failure::Closed));
    assert!(!talk.conversation.delivery.closed, "of a message that was not sent here");
}

#[test]
fn messages_come_in_a_burst_and_then_at_a_pace() {
    let mut talk = phone();
    let mut gaps = Vec::new();
    for number in 0..12 {
        talk.hear("status");
        let at = talk.chat_at().unwrap().max(talk.now);
        gaps.push(at.since(talk.now).as_secs());
        talk.now = at;
        let seq = talk.sent(&format!("SM{number}"));
        talk.receipt(seq, &format!("SM{number}"), Receipt::Delivered);
    }
    assert_eq!(gaps, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 6]);
}

#[test]
fn a_message_in_doubt_is_settled_by_its_receipt() {
    let mut talk = phone();
    talk.hear("status");
    let effect = talk.outbox[0].clone();
    let seq = effect.seq;
    talk.feed(Event::Performed { effect, outcome: no_answer() });
    assert!(talk.conversation.delivery.doubts(seq));
    let Some(Retry { next_at, .. }) = talk.conversation.retries.get(&Lane::Chat) else { panic!("tried again") };
    assert!(next_at.since(talk.now) >= Duration::from_secs(1), "a receipt is given time");
    talk.receipt(seq, "SM1", Receipt::Sent);
    assert!(talk.outbox.is_empty() && talk.conversation.retries.is_empty() && !talk.conversation.delivery.doubts(seq));
    assert!(talk.conversation.delivery.knows(&MessageId::parse("SM1").unwrap()));
    // Its words are still known: should it fail after all, it waits for the person.
    talk.receipt(seq, "SM1", failed(Failure::Closed));
    assert_eq!(talk.outbox.len(), 1);
}

#[test]
fn a_message_in_doubt_that_failed_is_sent_again() {
    let mut talk = phone();
    talk.hear("status");
    let effect = talk.outbox[0].clone();
    let seq = effect.seq;
    talk.feed(Event::Performed { effect, outcome: no_answer() });
    talk.receipt(seq, "SM1", failed(Failure::Closed));
    assert!(talk.conversation.delivery.closed && talk.outbox.len() == 1 && !talk.conversation.delivery.doubts(seq));
}

#[test]
fn outside_of_the_window_everything_waits_in_order_until_the_person_writes() {
    let mut talk = phone();
    talk.hear("status");
    let first = talk.sent("SM1");
    talk.receipt(first, "SM1", failed(Failure::Closed));
    assert_eq!(talk.chat_at(), None, "nothing is tried");
    assert_eq!((talk.outbox.len(), talk.outbox[0].seq), (1, first), "at its old place");
    talk.forget();
    talk.wait_s(100_000);
    talk.hear("queue");
    assert!(talk.chat_at() <= Some(talk.now));
    let order: Vec<EffectSeq> = talk.waiting_says().iter().map(|queued| queued.seq).collect();
    assert!(order[0] == first && order.len() == 2, "{order:?}");
    assert!(talk.dead.is_empty());
}

#[test]
fn the_same_holds_when_the_channel_says_so_at_once() {
    let mut talk = phone();
    talk.hear("status");
    let effect = talk.outbox[0].clone();
    talk.feed(Event::Performed { effect, outcome: Outcome::Undelivered { failure: Failure::Closed } });
    assert_eq!((talk.chat_at(), talk.outbox.len(), talk.dead.len()), (None, 1, 0));
    talk.hear("queue");
    assert!(talk.chat_at() <= Some(talk.now));
}

#[test]
fn an_answer_to_a_diff_that_did_not_arrive_does_not_count() {
    let mut talk = phone();
    talk.hear("fix the bug");
    talk.settle(Outcome::Done);
    talk.report(changes("aa11"));
    let (shown, sid) = talk.all_sent().pop().unwrap();
    assert!(
        matches!(talk.phase(), Phase::AwaitingApproval(pending) if pending.shown && pending.parts.last() == Some(&shown))
    );
    talk.receipt(shown, &sid, failed(Failure::Closed));
    talk.forget();
    talk.hear("approve");
    assert_eq!(talk.texts(), [text::NOT_SHOWN_YET]);
    talk.sent("SM9");
    assert!(matches!(talk.phase(), Phase::AwaitingApproval(pending) if pending.shown), "now it is");
}

#[test]
fn an_answer_that_comes_late_has_to_be_given_again() {
    let late = |sent_at: Timestamp| {
        let mut talk = Talk::awaiting();
        talk.wait_s(60);
        let Event::Message(message) = talk.message(Content::Text { text: "approve".into() }) else { unreachable!() };
        talk.feed(Event::Message(Message { sent_at: Some(sent_at), ..message }));
        talk.text()
    };
    for sent_at in [T0 - Duration::from_secs(5), T0 + Duration::from_secs(5)] {
        assert_eq!(late(sent_at), text::ANSWER_TOO_LATE);
    }
}

#[test]
fn what_passes_is_sent_again_and_what_does_not_is_a_dead_letter_that_the_person_hears_of() {
    let mut talk = phone();
    talk.hear("status");
    for number in 0..4 {
        let seq = talk.sent(&format!("SM{number}"));
        talk.receipt(seq, &format!("SM{number}"), failed(Failure::Passing));
        talk.wait_s(120);
    }
    assert_eq!(talk.dead.len(), 1);
    assert!(talk.texts().last().unwrap().contains("could not be delivered"));

    let mut talk = phone();
    talk.hear("status");
    let seq = talk.sent("SM1");
    talk.receipt(seq, "SM1", failed(Failure::Final { reason: "Twilio error 63024".into(), reachable: false }));
    assert_eq!(
        (talk.dead[0].reason.as_str(), talk.outbox.len()),
        ("Twilio error 63024", 0),
        "nobody is there to be told"
    );
}

#[test]
fn a_line_about_a_lost_message_that_is_lost_too_is_not_told() {
    let mut talk = phone();
    talk.hear("status");
    let fail = Failure::Final { reason: "gone".into(), reachable: true };
    let first = talk.sent("SM1");
    talk.receipt(first, "SM1", failed(fail.clone()));
    let second = talk.sent("SM2");
    talk.receipt(second, "SM2", failed(fail));
    assert_eq!((talk.dead.len(), talk.outbox.len()), (2, 0));
}

#[test]
fn not_being_ones_turn_is_no_failed_try() {
    let mut talk = phone();
    talk.hear("status");
    for _ in 0..100 {
        let effect = talk.outbox[0].clone();
        talk.feed(Event::Performed { effect, outcome: Outcome::Delayed { pause_ms: 30_000 } });
        talk.wait_s(30);
    }
    assert!(talk.dead.is_empty() && talk.conversation.retries.is_empty());
}

#[test]
fn a_failure_from_before_the_person_wrote_does_not_silence_what_comes_after() {
    let mut talk = phone();
    talk.hear("status");
    let first = talk.sent("SM1");
    talk.wait_s(1);
    talk.hear("queue");
    talk.receipt(first, "SM1", failed(Failure::Closed));
    assert!(!talk.conversation.delivery.closed && talk.chat_at() <= Some(talk.now));
    assert_eq!(talk.waiting_says()[0].seq, first, "it is sent again, at its old place");
}

#[test]
fn several_messages_in_doubt_are_all_looked_for_and_each_from_before_it_was_tried() {
    let mut talk = phone();
    talk.hear("status");
    let first = talk.sent("SM1");
    talk.wait_s(20);
    talk.hear("queue");
    let second = talk.waiting_says()[0].clone();
    talk.feed(Event::Performed { effect: second.clone(), outcome: no_answer() });
    talk.receipt(first, "SM1", failed(Failure::Passing));
    let again = talk.waiting_says()[0].clone();
    assert_eq!(again.seq, first);
    talk.wait_s(60);
    talk.feed(Event::Performed { effect: again, outcome: no_answer() });
    let delivery = &talk.conversation.delivery;
    assert!(delivery.doubts(first) && delivery.doubts(second.seq));
    assert_eq!(delivery.doubts[&second.seq].since, T0, "not from when another was tried");
    talk.receipt(second.seq, "SM2", Receipt::Delivered);
    assert!(talk.conversation.delivery.doubts(first) && !talk.conversation.delivery.doubts(second.seq));
    let left: Vec<EffectSeq> = talk.waiting_says().iter().map(|queued| queued.seq).collect();
    assert_eq!(left, [first]);
}

#[test]
fn a_day_that_is_used_up_is_waited_for_without_a_try() {
    let mut talk = phone();
    talk.hear("status");
    for _ in 0..30 {
        let effect = talk.outbox[0].clone();
        talk.feed(Event::Performed { effect, outcome: Outcome::Undelivered { failure: Failure::UsedUp } });
        assert_eq!(talk.chat_at(), Some(talk.now + Duration::from_secs(3600)));
        talk.wait_s(3600);
    }
    let seq = talk.sent("SM1");
    talk.receipt(seq, "SM1", failed(Failure::UsedUp));
    assert_eq!((talk.outbox.len(), talk.dead.len()), (1, 0), "also when it is told later");
    assert!(talk.chat_at() > Some(talk.now + Duration::from_secs(600)));
}

#[test]
fn a_diff_that_is_lost_can_be_asked_for_and_then_answered() {
    let mut talk = phone();
    talk.hear("fix the bug");
    talk.settle(Outcome::Done);
    talk.report(changes("aa11"));
    let (shown, sid) = talk.all_sent().pop().unwrap();
    let fail = Failure::Final { reason: "Twilio error 63005".into(), reachable: true };
    talk.receipt(shown, &sid, failed(fail));
    talk.sent("SM20");
    talk.forget();
    for word in ["approve", "reject"] {
        talk.hear(word);
        assert_eq!(talk.text(), text::DIFF_LOST);
        talk.sent(&format!("SM-{word}"));
        talk.forget();
    }
    talk.hear("diff");
    talk.settle(Outcome::Answered { answer: Answer { text: "Run 1".into(), code: Some("+a".into()) } });
    talk.hear("approve");
    assert!(matches!(talk.phase(), Phase::AwaitingApproval(pending) if !pending.shown), "it is on its way");
    let shows = talk.waiting_says()[0].clone();
    assert!(matches!(&shows.effect, Effect::Say(say) if say.choice.is_some() && say.code.is_some()));
    talk.sent("SM30");
    talk.hear("approve");
    assert!(matches!(talk.phase(), Phase::Deciding { decision: Decision::Approve, .. }));
}

#[test]
fn a_failure_of_a_message_long_gone_is_told() {
    let mut talk = phone();
    talk.hear("status");
    let first = talk.sent("SM0");
    for number in 1..6 {
        talk.wait_s(20);
        talk.hear("status");
        talk.sent(&format!("SM{number}"));
    }
    talk.receipt(first, "SM0", failed(Failure::Passing));
    assert!(talk.texts().last().unwrap().contains("could not be delivered"));
}

/// The words and the code of the diff are messages of their own here, before the one with the buttons.
#[test]
fn a_diff_of_which_a_part_did_not_arrive_is_not_approved_by_word_or_button() {
    for failure in [Failure::Closed, Failure::Final { reason: "Twilio error 63005".into(), reachable: false }] {
        let mut talk = phone();
        talk.rules.twilio.button_line = Some(BUTTON_LINE);
        talk.hear("fix the bug");
        talk.settle(Outcome::Done);
        talk.report(changes("aa11"));
        let sent = talk.all_sent();
        let Phase::AwaitingApproval(pending) = talk.phase().clone() else { panic!("{:?}", talk.phase()) };
        assert!(pending.shown && pending.parts.len() > 1, "{pending:?}");
        let (part, name) = sent.iter().find(|(seq, _)| *seq == pending.parts[0]).unwrap();
        talk.receipt(*part, name, failed(failure.clone()));
        let payload = format!("approve:{}:{}", pending.run, pending.tree);
        for content in [Content::Text { text: "approve".into() }, Content::Button { payload }] {
            let event = talk.message(content);
            talk.feed(event);
            assert!(matches!(talk.phase(), Phase::AwaitingApproval(_)), "{failure:?}");
        }
    }
}

#[test]
fn a_short_pause_ends_no_longer_one() {
    let mut talk = phone();
    talk.hear("status");
    let effect = talk.outbox[0].clone();
    talk.feed(Event::Performed { effect: effect.clone(), outcome: Outcome::Undelivered { failure: Failure::UsedUp } });
    let until = talk.chat_at();
    talk.feed(Event::Performed { effect, outcome: Outcome::Delayed { pause_ms: 1_000 } });
    assert_eq!(talk.chat_at(), until);
}
