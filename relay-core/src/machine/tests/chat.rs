//! What goes to the person: texts, pictures, limits, dead letters.

use super::*;
use crate::id::BlobId;
use crate::protocol::{Answer, ChangedFiles, Question, Spent};

#[test]
fn what_cannot_be_used_gets_a_clear_line() {
    let cases = [
        (Content::Text { text: String::new() }, text::EMPTY.to_owned()),
        (Content::Text { text: " \n\t".into() }, text::EMPTY.to_owned()),
        (Content::Button { payload: "nonsense:1:2:3".into() }, text::UNKNOWN_BUTTON.to_owned()),
        (
            Content::Unsupported { what: "A voice note".into() },
            "A voice note can't be used here yet. Please write it as text.".to_owned(),
        ),
        (Content::Text { text: "help".into() }, text::HELP.to_owned()),
        (Content::Text { text: "status".into() }, "Nothing is running.".to_owned()),
        (Content::Text { text: "approve".into() }, "Nothing waits for an answer.".to_owned()),
    ];
    for (content, line) in cases {
        let mut talk = Talk::new();
        talk.hear_content(content);
        assert_eq!(talk.text(), line);
        assert_eq!(talk.phase(), &Phase::Idle);
    }
}

#[test]
fn anything_but_a_whole_word_goes_to_the_agent_unchanged() {
    for text in ["  approve the change\n", "Drop it", "status?", "👍", "cancel the subscription page"] {
        let mut talk = Talk::new();
        talk.hear(text);
        assert_eq!(talk.calls(), [start(1, text)]);
    }
}

#[test]
fn questions_go_to_the_vm_and_its_answer_to_the_person() {
    let mut talk = Talk::new();
    talk.hear("show src/main.rs");
    assert_eq!(talk.calls(), [Effect::Ask { question: Question::Show { file: "src/main.rs".into() } }]);
    talk.settle(Outcome::Answered { answer: Answer { text: "src/main.rs".into(), code: Some("fn main() {}".into()) } });
    let says = talk.says();
    assert_eq!((says[0].text.as_str(), says[0].code.as_deref()), ("src/main.rs", Some("fn main() {}")));
}

#[test]
fn what_needs_the_files_waits_for_the_run_to_end() {
    for word in ["clear", "switch other", "checkout main", "checkout -b new"] {
        let mut talk = Talk::working();
        talk.hear(word);
        assert_eq!(talk.text(), "Run 1 is at work. Finish that first; the repository is in use.");
        assert!(talk.calls().is_empty(), "{word}");
    }
}

#[test]
fn long_texts_are_cut_to_what_the_channel_carries() {
    let mut talk = Talk::on(ChannelKind::Twilio);
    talk.hear("explain");
    talk.settle(Outcome::Done);
    talk.forget();
    talk.report(answered(&"😀 word ".repeat(600)));
    let texts = talk.texts();
    assert!(texts.len() >= 3 && texts.iter().all(|text| split::units(text) <= 1_600));
}

#[test]
fn a_long_diff_comes_in_parts_with_its_choice_on_the_last_and_counts_as_shown_with_that() {
    let mut talk = Talk::on(ChannelKind::Twilio);
    talk.hear("fix the bug");
    talk.settle(Outcome::Done);
    talk.forget();
    let diff = "+a line of code\n".repeat(1_000);
    let outcome = RunOutcome::Changes {
        summary: "Fixed it.".into(),
        tree: tree("aa11"),
        stat: DiffStat::default(),
        diff,
        diff_cut: false,
        files: ChangedFiles::default(),
        drawings: Vec::new(),
        review: None,
    };
    talk.report(finished(outcome));
    let says = talk.says();
    assert!(says.iter().all(|say| split::units(&say.text) + say.code.as_deref().map_or(0, split::units) <= 1_600));
    let choices: Vec<bool> = says.iter().map(|say| say.choice.is_some()).collect();
    assert_eq!(choices, [false, false, false, true]);
    let last = says.last().unwrap();
    assert_eq!(last.text, format!("(4/4) {}", text::CODE_CUT));
    assert!(last.page.as_ref().is_some_and(|page| page.len() > 10_000), "all of it is a page");
    let parts = talk.outbox.clone();
    for part in &parts {
        assert!(matches!(talk.phase(), Phase::AwaitingApproval(pending) if !pending.shown));
        talk.feed(Event::Performed { effect: part.clone(), outcome: Outcome::Done });
    }
    assert!(matches!(talk.phase(), Phase::AwaitingApproval(pending) if pending.shown));
}

#[test]
fn a_picture_is_kept_then_shown() {
    let mut talk = Talk::working();
    talk.report(VmEvent::Image { name: "shot.png".into(), caption: "The page".into() });
    assert_eq!(talk.calls().len(), 1);
    let blob = BlobId::parse("blob-1").unwrap();
    talk.settle(Outcome::ImageKept { blob: blob.clone() });
    let says = talk.says();
    assert_eq!((says[0].picture.as_ref(), says[0].text.as_str()), (Some(&blob), "The page"));
}

#[test]
fn a_picture_that_cannot_be_fetched_is_said_to_be_lost() {
    let mut talk = Talk::working();
    talk.report(VmEvent::Image { name: "shot.png".into(), caption: String::new() });
    talk.call_in_vain(Duration::from_secs(120));
    assert!(talk.texts().contains(&text::PICTURE_LOST.to_owned()));
}

#[test]
fn a_message_that_the_channel_never_takes_becomes_a_dead_letter_and_can_be_redriven() {
    let mut talk = Talk::new();
    talk.hear("help");
    let mut tries = 0;
    while let Some(effect) = talk.outbox.first().cloned() {
        tries += 1;
        talk.feed(Event::Performed { effect, outcome: Outcome::busy(None) });
        if let Some(retry) = talk.conversation.retries.get(&Lane::Chat) {
            talk.wait(retry.next_at.since(talk.now));
        }
        assert!(tries < 100, "given up some day");
    }
    assert!(tries > 10);
    assert_eq!(talk.dead.len(), 1);
    assert_eq!(talk.conversation.deadline(), None);
    let dead = talk.dead.pop().unwrap();
    talk.forget();
    talk.feed(Event::Redriven { effect: dead.effect });
    assert_eq!(talk.text(), text::HELP);
}

#[test]
fn a_refused_message_is_a_dead_letter_at_once_and_the_next_goes_out() {
    let mut talk = Talk::new();
    talk.hear("help");
    talk.hear("status");
    let effect = talk.outbox[0].clone();
    talk.feed(Event::Performed { effect, outcome: Outcome::Refused { reason: None, message: "unreachable".into() } });
    assert_eq!(talk.dead[0].reason, "unreachable");
    assert_eq!(talk.outbox.len(), 1);
}

#[test]
fn a_chat_that_waits_does_not_hold_up_the_vm() {
    let mut talk = Talk::working();
    talk.hear("status");
    let effect = talk.outbox[0].clone();
    talk.feed(Event::Performed { effect, outcome: no_answer() });
    assert!(talk.conversation.retries.contains_key(&Lane::Chat));
    assert_eq!(talk.conversation.waking, None, "a chat provider is no VM");
}

#[test]
fn a_result_says_what_it_took() {
    let took = |duration_ms, cost_microusd| {
        let mut talk = Talk::working();
        let outcome = RunOutcome::Answered { text: "Done.".into() };
        talk.report(VmEvent::Finished { outcome, spent: Some(Spent { duration_ms, cost_microusd }) });
        talk.text()
    };
    assert_eq!(took(184_000, Some(1_231_000)), "Done.\n\n_Run 1: 3 min, $1.23_");
    assert_eq!(took(9_000, Some(900)), "Done.\n\n_Run 1: 9 s, less than $0.01_");
    assert_eq!(took(9_000, None), "Done.\n\n_Run 1: 9 s_");
}
