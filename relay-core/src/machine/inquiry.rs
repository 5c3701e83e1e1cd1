//! What the agent asks the person while it works, and what they say to it.

use std::time::Duration;

use crate::machine::conversation::Inquiry;
use crate::machine::effect::Effect;
use crate::machine::words::Word;
use crate::machine::{Phase, Step, text};
use crate::protocol::{InquiryOption, REPLY_CHARS_MAX};

/// What a text says to an inquiry.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    /// This.
    Says(String),
    /// A number that stands for nothing.
    NoSuchOption,
}

impl Inquiry {
    /// Whether these words are one of its options, and not a word of the chat that happens to be said alike. *cancel* always
    /// cancels.
    pub(super) fn has_option(&self, text: &str) -> bool {
        Word::parse(text) != Some(Word::Cancel) && self.label(text).is_some()
    }

    fn label(&self, text: &str) -> Option<&str> {
        let text = text.trim().to_lowercase();
        self.labels.iter().map(String::as_str).find(|label| label.to_lowercase() == text)
    }

    fn numbered(&self, text: &str) -> Option<Result<&str, ()>> {
        let number: usize = text.trim().trim_end_matches('.').parse().ok()?;
        Some(number.checked_sub(1).and_then(|at| self.labels.get(at)).map(String::as_str).ok_or(()))
    }

    fn read(&self, text: &str) -> Reply {
        let own_words = || Reply::Says(text.trim().chars().take(REPLY_CHARS_MAX).collect());
        if self.labels.is_empty() {
            return own_words();
        }
        if let Some(label) = self.label(text) {
            return Reply::Says(label.to_owned());
        }
        let parts: Vec<&str> = if self.several {
            text.split([',', ';', ' ', '\n']).filter(|part| !part.is_empty()).collect()
        } else {
            vec![text]
        };
        match parts.into_iter().map(|part| self.numbered(part)).collect::<Option<Vec<_>>>() {
            None => own_words(),
            Some(chosen) => match chosen.into_iter().collect::<Result<Vec<_>, ()>>() {
                Ok(labels) => Reply::Says(labels.join(", ")),
                Err(()) => Reply::NoSuchOption,
            },
        }
    }
}

impl Step<'_> {
    /// The agent asks. Also a person who wants to hear little hears this: nothing goes on before they have replied.
    pub(super) fn inquire(
        &mut self,
        number: u32,
        question: &str,
        options: &[InquiryOption],
        several: bool,
        timeout: Duration,
    ) {
        if !matches!(self.conversation.phase, Phase::Working { .. }) {
            return;
        }
        let labels = options.iter().map(|option| option.label.clone()).collect();
        self.conversation.inquiry = Some(Inquiry { number, labels, several });
        self.say(text::inquiry(question, options, several, timeout));
    }

    /// The agent goes on without.
    pub(super) fn inquiry_over(&mut self, number: u32) {
        if self.conversation.inquiry.take_if(|inquiry| inquiry.number == number).is_some() {
            self.say(text::INQUIRY_OVER);
        }
    }

    /// The person says something while the agent waits for it.
    pub(super) fn reply(&mut self, inquiry: &Inquiry, said: &str) {
        let Some(run) = self.conversation.run().cloned() else { return };
        match inquiry.read(said) {
            Reply::NoSuchOption => self.say(text::no_such_option(inquiry.labels.len())),
            Reply::Says(reply) => {
                self.conversation.inquiry = None;
                self.emit(Effect::Reply { run, number: inquiry.number, reply });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_a_number_a_label_or_ones_own_words() {
        let inquiry = |several| Inquiry { number: 1, labels: vec!["Red".into(), "Dark blue".into()], several };
        let says = |text: &str| Reply::Says(text.to_owned());
        for (text, one, more) in [
            ("1", says("Red"), says("Red")),
            (" 2. ", says("Dark blue"), says("Dark blue")),
            ("dark BLUE", says("Dark blue"), says("Dark blue")),
            ("1, 2", says("1, 2"), says("Red, Dark blue")),
            ("3", Reply::NoSuchOption, Reply::NoSuchOption),
            ("0", Reply::NoSuchOption, Reply::NoSuchOption),
            ("neither of them", says("neither of them"), says("neither of them")),
        ] {
            assert_eq!((inquiry(false).read(text), inquiry(true).read(text)), (one, more), "{text:?}");
        }
        let open = Inquiry { number: 1, labels: Vec::new(), several: false };
        assert_eq!(open.read("42"), says("42"));
    }

    #[test]
    fn a_word_of_the_chat_may_be_an_option_but_for_cancel() {
        let inquiry = Inquiry { number: 1, labels: vec!["Reject".into(), "Cancel".into()], several: false };
        assert!(inquiry.has_option("reject") && !inquiry.has_option("cancel") && !inquiry.has_option("status"));
    }
}
