//! A long answer, message by message.

use super::*;

const ANSWER: &str = include_str!("../../../tests/fixtures/long_answer.md");
/// Exactly what the person reads; between two messages stands a line of its own.
const MESSAGES: &str = include_str!("../../../tests/fixtures/long_answer.messages.txt");
const BORDER: &str = "\n======\n";

fn answer_as_messages(length: usize) -> Vec<Say> {
    let mut talk = Talk::on(ChannelKind::Twilio);
    talk.hear("explain");
    talk.settle(Outcome::Done);
    talk.forget();
    let end = ANSWER.floor_char_boundary(length);
    talk.report(answered(&ANSWER[..end]));
    talk.says()
}

#[test]
fn an_answer_of_forty_kilobytes_is_its_start_its_end_and_a_page() {
    let says = answer_as_messages(ANSWER.len());
    let texts: Vec<&str> = says.iter().map(|say| say.text.as_str()).collect();
    assert_eq!(texts.join(BORDER), MESSAGES.trim_end(), "compare with tests/fixtures/long_answer.messages.txt");
    assert_eq!(says[0].page.as_deref(), Some(markup::from_markdown(ANSWER).as_str()), "the page has all of it");
}

#[test]
fn an_answer_that_is_not_that_long_comes_whole_in_numbered_messages() {
    let says = answer_as_messages(4_500);
    assert!(says.len() > 1 && says.iter().all(|say| say.page.is_none()), "{says:?}");
    for (say, number) in says.iter().zip(1..) {
        assert!(say.text.ends_with(&format!("({number}/{})", says.len())), "{}", say.text);
        assert!(split::units(&say.text) <= 1_600 && say.text.matches("```").count() % 2 == 0, "{}", say.text);
    }
}
