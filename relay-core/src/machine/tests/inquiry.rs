//! The agent asks, the person replies.

use super::*;
use crate::protocol::InquiryOption;

fn asking(number: u32, labels: &[&str], several: bool) -> VmEvent {
    let option = |label: &&str| InquiryOption { label: (*label).to_owned(), description: String::new() };
    let options = labels.iter().map(option).collect();
    VmEvent::Inquiry { number, text: "Which colour?".into(), options, several, timeout_ms: 600_000 }
}

fn asked(number: u32) -> VmEvent {
    asking(number, &["Red", "Approve"], false)
}

impl Talk {
    fn replies(&mut self) -> Vec<String> {
        self.take(|effect| match effect {
            Effect::Reply { run: whose, reply, .. } if *whose == run(1) => Some(reply.clone()),
            _ => None,
        })
    }

    /// The agent asks, and the person has it.
    fn asked(number: u32) -> Self {
        let mut talk = Self::working();
        talk.report(asked(number));
        talk.deliver();
        talk
    }

    /// What came of the first chat message that waits.
    fn deliver_one(&mut self, outcome: Outcome) {
        let effect = self.outbox.iter().find(|queued| queued.effect.lane() == Lane::Chat).expect("one waits").clone();
        self.feed(Event::Performed { effect, outcome });
    }

    fn payload(&mut self, option: usize) -> String {
        let asked = self.says().into_iter().find_map(|say| say.asked).expect("the agent has asked");
        asked.payload(option)
    }
}

#[test]
fn what_the_person_says_goes_to_the_agent_that_waits_for_it() {
    let mut talk = Talk::working();
    let option =
        |label: &str, description: &str| InquiryOption { label: label.into(), description: description.into() };
    let options = vec![option("Red", "warm"), option("Approve", "")];
    let text = "Which colour?".into();
    talk.report(VmEvent::Inquiry { number: 1, text, options, several: false, timeout_ms: 600_000 });
    talk.deliver();
    assert_eq!(
        talk.text(),
        "❓ Which colour?\n1. *Red*: warm\n2. *Approve*\nAnswer with a number, or in your own words. After 10 min the agent \
         goes on without."
    );
    talk.hear("7");
    assert_eq!((talk.text(), talk.replies()), ("There is no such number: 1 to 2, or your own words.".into(), vec![]));
    talk.hear("status");
    assert!(talk.text().contains("The agent waits for your answer."), "a word of the chat is one");
    talk.hear("approve");
    assert_eq!(talk.replies(), ["Approve"], "but for one that is an option");
    talk.settle(Outcome::Done);
    talk.hear("and then the header");
    assert_eq!((talk.replies(), talk.conversation.queue.len()), (vec![], 1), "who is not asked gives a task");
}

#[test]
fn after_its_time_or_its_run_nobody_waits() {
    let mut talk = Talk::working();
    talk.report(asked(1));
    talk.report(asked(2));
    talk.forget();
    talk.report(VmEvent::InquiryOver { number: 1 });
    assert!(talk.texts().is_empty(), "that one is forgotten");
    talk.report(VmEvent::InquiryOver { number: 2 });
    assert_eq!(talk.text(), text::INQUIRY_OVER);
    talk.report(asked(3));
    talk.hear("cancel");
    assert_eq!(talk.conversation.inquiry, None);
    let mut talk = Talk::working();
    talk.report(asked(1));
    talk.report(changes("aa11"));
    assert_eq!(talk.conversation.inquiry, None);
}

#[test]
fn a_reply_that_the_agent_does_not_get_is_told() {
    let mut talk = Talk::asked(1);
    talk.forget();
    talk.hear("blue");
    talk.settle(Outcome::Refused { reason: None, message: "The agent no longer waits for an answer.".into() });
    assert!(talk.text().contains("The agent no longer waits for an answer."));
}

#[test]
fn a_button_replies_as_the_number_does_to_its_own_inquiry_alone() {
    let mut talk = Talk::asked(1);
    let (first, none) = (talk.payload(2), format!("reply:{}:1:3", run(1)));
    talk.press(&none);
    assert_eq!((talk.text(), talk.replies()), (text::OLD_INQUIRY.into(), vec![]), "there is no such option");
    talk.press(&first);
    assert_eq!(talk.replies(), ["Approve"]);
    talk.press(&first);
    assert_eq!((talk.text(), talk.replies()), (text::OLD_INQUIRY.into(), vec![]), "once");
    talk.report(asked(2));
    let second = talk.payload(1);
    talk.press(&first);
    assert_eq!((talk.text(), talk.replies()), (text::OLD_INQUIRY.into(), vec![]), "another waits now");
    talk.press(&second);
    assert_eq!(talk.replies(), ["Red"], "who presses it has it, whatever was told of its message");
    talk.report(answered("Done."));
    talk.forget();
    talk.press(&second);
    assert_eq!(talk.text(), text::OLD_INQUIRY);
}

#[test]
fn where_several_can_be_chosen_or_nothing_there_are_no_buttons() {
    for (labels, several, buttons) in [(&["Red", "Blue"][..], false, 2), (&["Red", "Blue"], true, 0), (&[], false, 0)] {
        let mut talk = Talk::working();
        talk.report(asking(1, labels, several));
        assert_eq!(talk.says()[0].asked.as_ref().unwrap().labels.len(), buttons);
    }
}

#[test]
fn a_text_is_no_reply_to_what_has_not_reached_the_person() {
    let mut talk = Talk::working();
    talk.report(asked(1));
    talk.forget();
    for text in ["1", "red", "7"] {
        talk.hear(text);
        assert_eq!((talk.text(), talk.replies()), (text::INQUIRY_NOT_SHOWN.into(), vec![]), "{text}");
    }
    talk.hear("and the header, too");
    assert_eq!((talk.replies(), talk.conversation.queue.len()), (vec![], 1), "that is a task");
    talk.deliver();
    talk.hear("1");
    assert_eq!(talk.replies(), ["Red"]);
}

#[test]
fn an_inquiry_that_failed_on_the_way_counts_when_it_has_arrived() {
    let mut talk = Talk::working();
    talk.channel = ChannelKind::Twilio;
    talk.hear("status");
    talk.deliver();
    talk.report(asked(1));
    talk.forget();
    let sent = |number: &str| Outcome::Sent { message: MessageId::parse(number).unwrap() };
    talk.deliver_one(sent("T1"));
    let failed = Receipt::Failed { failure: Failure::Closed };
    talk.feed(Event::Receipt { effect: None, message: MessageId::parse("T1").unwrap(), receipt: failed });
    talk.hear("1");
    assert_eq!(talk.replies(), Vec::<String>::new(), "it was not there to be answered");
    talk.deliver_one(sent("T2"));
    talk.hear("1");
    assert_eq!(talk.replies(), ["Red"]);
}

/// It failed before the person wrote, and they opened the channel: it goes again, and counts when it is there.
#[test]
fn what_failed_before_the_person_wrote_can_not_be_answered_before_it_is_there() {
    for report in [asked(1), changes("aa11")] {
        let mut talk = Talk::working();
        talk.channel = ChannelKind::Twilio;
        talk.hear("status");
        talk.deliver();
        talk.report(report);
        let sent = |number: &str| Outcome::Sent { message: MessageId::parse(number).unwrap() };
        while let Some(queued) = talk.outbox.iter().find(|queued| queued.effect.lane() == Lane::Chat).cloned() {
            talk.feed(Event::Performed { outcome: sent(&format!("T{}", queued.seq.0)), effect: queued });
        }
        let last = talk.conversation.delivery.sent.back().expect("it was sent").message.clone();
        talk.wait_s(1);
        talk.hear("status");
        let failed = Receipt::Failed { failure: Failure::Closed };
        talk.feed(Event::Receipt { effect: None, message: last, receipt: failed });
        talk.forget();
        talk.hear("approve");
        assert!(talk.calls().is_empty(), "nobody has seen what that would answer");
        talk.deliver();
        talk.hear("approve");
        assert_eq!(talk.calls().len(), 1);
    }
}

#[test]
fn an_inquiry_that_was_given_up_can_be_put_back() {
    let mut talk = Talk::working();
    talk.report(asked(1));
    talk.deliver_one(Outcome::Refused { reason: None, message: "no".into() });
    talk.hear("1");
    assert_eq!(talk.replies(), Vec::<String>::new());
    let effect = talk.dead.pop().expect("it is kept").effect;
    talk.feed(Event::Redriven { effect });
    talk.deliver();
    talk.hear("1");
    assert_eq!(talk.replies(), ["Red"]);
}

#[test]
fn what_comes_late_replies_to_nothing() {
    let mut talk = Talk::asked(1);
    talk.forget();
    let late = |talk: &Talk, text: &str| match talk.message(Content::Text { text: text.into() }) {
        Event::Message(message) => Event::Message(Message { sent_at: Some(T0), ..message }),
        other => other,
    };
    talk.feed(late(&talk, "1"));
    assert_eq!((talk.text(), talk.replies()), (text::REPLY_TOO_LATE.into(), vec![]));
    talk.feed(late(&talk, "another thing"));
    assert_eq!((talk.replies(), talk.conversation.queue.len()), (vec![], 1));
}
