//! Buttons that need a line of their own, and the questions that come before them.

use super::delivery::{BUTTON_LINE, failed, phone};
use super::*;
use crate::machine::rules::ButtonLine;
use crate::protocol::InquiryOption;

/// A channel that has buttons only on a line.
fn buttons() -> Talk {
    let mut talk = phone();
    talk.rules.twilio.button_line = Some(BUTTON_LINE);
    talk.hear("fix the bug");
    talk.settle(Outcome::Done);
    talk.all_sent();
    talk.forget();
    talk
}

fn asks() -> VmEvent {
    let option = |label: &str| InquiryOption { label: label.into(), description: String::new() };
    let (text, options) = ("Which colour?".into(), vec![option("Red"), option("Dark  blue")]);
    VmEvent::Inquiry { number: 1, text, options, several: false, timeout_ms: 600_000 }
}

#[test]
fn where_buttons_need_a_line_the_text_comes_first_and_the_buttons_on_a_line_of_their_own() {
    let mut talk = buttons();
    talk.report(asks());
    let said = talk.says();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].text.starts_with("❓ Which colour?\n1. *Red*") && said[0].asked.is_none(), "{said:?}");
    assert_eq!(said[1].text, "Your answer? 1. *Red*, 2. *Dark blue*, or your own words.");
    assert!(said[1].asked.is_some());
    talk.sent("SMt");
    talk.hear("1");
    assert!(talk.texts()[0].contains(text::INQUIRY_NOT_SHOWN), "the line is missing");
    talk.all_sent();
    talk.hear("2");
    assert_eq!(talk.calls().len(), 1);

    let mut talk = buttons();
    talk.report(changes("aa11"));
    let said = talk.says();
    assert!(said[0].choice.is_none() && said[0].code.is_some(), "{said:?}");
    assert!(said[1].choice.is_some() && split::is_line(&said[1].text) && said.len() == 2, "{said:?}");
}

#[test]
fn a_line_has_its_buttons_itself_and_what_can_have_none_is_not_cut_up() {
    let mut talk = buttons();
    talk.report(changes("aa11"));
    talk.all_sent();
    talk.forget();
    talk.hear("approve");
    talk.forget();
    talk.settle(Outcome::Refused { reason: None, message: "The disk is full.".into() });
    let said = talk.says();
    assert!(said.len() == 1 && said[0].choice.is_some(), "{said:?}");
    let mut talk = buttons();
    talk.rules.twilio.button_line = Some(ButtonLine { choice: false, options: &[3], ..BUTTON_LINE });
    talk.report(asks());
    assert_eq!(talk.says().len(), 1);
    talk.report(changes("aa11"));
    assert_eq!(talk.says().len(), 1);
}

#[test]
fn a_button_of_an_inquiry_counts_for_nothing_of_which_the_text_is_missing() {
    let mut talk = buttons();
    talk.report(asks());
    let sent = talk.all_sent();
    talk.receipt(sent[0].0, &sent[0].1, failed(Failure::Passing));
    talk.forget();
    let payload = format!("reply:{}:1:1", run(1));
    talk.press(&payload);
    assert_eq!((talk.text(), talk.calls()), (text::INQUIRY_NOT_SHOWN.into(), vec![]));
    talk.all_sent();
    talk.forget();
    talk.press(&payload);
    assert_eq!(talk.calls().len(), 1);
}

#[test]
fn what_fails_for_good_with_its_buttons_is_sent_without_them_once() {
    for report in [asks(), changes("aa11")] {
        let mut talk = buttons();
        talk.report(report);
        let (last, name) = talk.all_sent().pop().unwrap();
        talk.forget();
        let fail = Failure::Final { reason: "Twilio error 21656".into(), reachable: true };
        talk.receipt(last, &name, failed(fail.clone()));
        let again = talk.says();
        assert!(again.len() == 1 && again[0].typed && talk.dead.is_empty(), "{again:?}");
        talk.sent("SMx");
        talk.receipt(last, "SMx", failed(fail));
        assert_eq!(talk.dead.len(), 1, "it was not for the buttons");
    }
}

#[test]
fn a_question_that_is_lost_is_asked_again_when_the_person_writes() {
    let mut talk = buttons();
    talk.report(asks());
    let sent = talk.all_sent();
    talk.receipt(sent[0].0, &sent[0].1, failed(Failure::Final { reason: "gone".into(), reachable: true }));
    talk.all_sent();
    talk.forget();
    talk.wait_s(60);
    talk.hear("1");
    let texts = talk.texts();
    assert!(texts[0].starts_with(text::INQUIRY_NOT_SHOWN), "{texts:?}");
    let asked = texts.iter().find(|text| text.contains("Which colour?")).expect("it is asked again");
    assert!(asked.contains("After 9 min the agent goes on"), "{asked}");
    assert!(talk.calls().is_empty());
    talk.all_sent();
    talk.hear("1");
    assert_eq!(talk.calls().len(), 1);
    talk.forget();
    talk.hear("status");
    assert!(!talk.texts().iter().any(|text| text.contains("Which colour?")), "once");
}

#[test]
fn the_buttons_of_a_question_that_is_asked_again_come_once() {
    let mut talk = buttons();
    talk.report(asks());
    let effect = talk.waiting_says()[0].clone();
    talk.feed(Event::Performed {
        effect,
        outcome: Outcome::Undelivered { failure: Failure::Final { reason: "gone".into(), reachable: true } },
    });
    talk.hear("status");
    let asks = |queued: &&&Queued| matches!(&queued.effect, Effect::Say(say) if say.asked.is_some());
    assert_eq!(talk.waiting_says().iter().filter(asks).count(), 1);
}
