//! The agent asks, the person replies.

use super::*;
use crate::protocol::InquiryOption;

fn asked(number: u32) -> VmEvent {
    let option =
        |label: &str, description: &str| InquiryOption { label: label.into(), description: description.into() };
    let options = vec![option("Red", "warm"), option("Approve", "")];
    VmEvent::Inquiry { number, text: "Which colour?".into(), options, several: false, timeout_ms: 600_000 }
}

impl Talk {
    fn replies(&mut self) -> Vec<String> {
        self.take(|effect| match effect {
            Effect::Reply { run: whose, reply, .. } if *whose == run(1) => Some(reply.clone()),
            _ => None,
        })
    }
}

#[test]
fn what_the_person_says_goes_to_the_agent_that_waits_for_it() {
    let mut talk = Talk::working();
    talk.report(asked(1));
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
    let mut talk = Talk::working();
    talk.report(asked(1));
    talk.forget();
    talk.hear("blue");
    talk.settle(Outcome::Refused { reason: None, message: "The agent no longer waits for an answer.".into() });
    assert!(talk.text().contains("The agent no longer waits for an answer."));
}
