//! What the agent asks the person while it works, and what they say to it.

use std::time::Duration;

use crate::id::{EffectSeq, RunId};
use crate::machine::conversation::Inquiry;
use crate::machine::effect::{Asked, Effect, Say};
use crate::machine::log::LogWhat;
use crate::machine::words::Word;
use crate::machine::{Phase, Step, text};
use crate::protocol::{InquiryOption, REPLY_CHARS_MAX};

/// What a text says to an inquiry.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    /// One option or several.
    Chooses(String),
    /// The person's own words.
    Says(String),
    /// A number that stands for nothing.
    NoSuchOption,
}

impl Inquiry {
    /// Whether all of it has reached the person: what they wrote before cannot mean it.
    fn is_shown(&self) -> bool {
        self.untaken.is_empty()
    }

    /// Whether only the message with the buttons may be missing: whoever presses one has that.
    fn shows_but_for_buttons(&self) -> bool {
        self.untaken.iter().all(|part| Some(part) == self.parts.last())
    }

    /// Whether these words are one of its options, and not a word of the chat that happens to be said alike. *cancel* always
    /// cancels.
    fn has_option(&self, text: &str) -> bool {
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
            return Reply::Chooses(label.to_owned());
        }
        let parts: Vec<&str> = if self.several {
            text.split([',', ';', ' ', '\n']).filter(|part| !part.is_empty()).collect()
        } else {
            vec![text]
        };
        let chosen = |part| self.label(part).map(Ok).or_else(|| self.numbered(part));
        match parts.into_iter().map(chosen).collect::<Option<Vec<_>>>() {
            None => own_words(),
            Some(chosen) => match chosen.into_iter().collect::<Result<Vec<_>, ()>>() {
                Ok(labels) => Reply::Chooses(labels.join(", ")),
                Err(()) => Reply::NoSuchOption,
            },
        }
    }
}

impl Step<'_> {
    /// The agent asks. Also a person who wants to hear little hears this: nothing goes on before they have replied.
    pub(super) fn inquire(
        &mut self,
        run: &RunId,
        number: u32,
        question: &str,
        options: &[InquiryOption],
        several: bool,
        timeout: Duration,
    ) {
        if !matches!(self.conversation.phase, Phase::Working { .. }) {
            return;
        }
        let labels: Vec<String> = options.iter().map(|option| option.label.clone()).collect();
        let (text, until) = (text::inquiry(question, options, several), self.now + timeout);
        let (parts, untaken) = (Vec::new(), Vec::new());
        self.log(LogWhat::Inquiry { text: text.clone() });
        self.ask_person(run, Inquiry { number, text, until, labels, several, parts, untaken, lost: false });
    }

    /// Say all of an inquiry; it waits for a reply from now on.
    fn ask_person(&mut self, run: &RunId, inquiry: Inquiry) {
        let labels = if inquiry.several { Vec::new() } else { inquiry.labels.clone() };
        let parts = self.say_all(Say {
            text: format!("{}{}", inquiry.text, text::goes_on(inquiry.until.since(self.now))),
            asked: Some(Asked { run: run.clone(), number: inquiry.number, labels }),
            ..Say::default()
        });
        self.conversation.inquiry = Some(Inquiry { untaken: parts.clone(), parts, lost: false, ..inquiry });
    }

    /// An inquiry that was lost on its way to the person is asked again: they have just written.
    pub(super) fn ask_lost_again(&mut self) {
        let Phase::Working { run, .. } = &self.conversation.phase else { return };
        let run = run.clone();
        // One that an older relay asked is known by its options alone.
        let is_lost = |inquiry: &Inquiry| inquiry.lost && !inquiry.text.is_empty();
        if let Some(inquiry) = self.conversation.inquiry.clone().filter(is_lost) {
            // Its buttons come again below the text. The other parts may have joined what has to be said.
            if let Some(&buttons) = inquiry.parts.last().filter(|part| inquiry.untaken.contains(part)) {
                self.withdraw(buttons);
                self.conversation.delivery.forget(buttons);
            }
            self.ask_person(&run, inquiry);
        }
    }

    /// The agent goes on without.
    pub(super) fn inquiry_over(&mut self, number: u32) {
        if self.conversation.inquiry.take_if(|inquiry| inquiry.number == number).is_some() {
            self.say(text::INQUIRY_OVER);
        }
    }

    /// Take a text for a reply, if the agent waits for one; whether it was. Words of the chat are none, but for its options.
    /// What came late, or before all of the inquiry did, was not written to it: who means an option there is told so, and any
    /// other words are what they would be without an inquiry.
    pub(super) fn take_as_reply(&mut self, text: &str, is_late: bool) -> bool {
        let (Phase::Working { .. }, Some(inquiry)) = (&self.conversation.phase, &self.conversation.inquiry) else {
            return false;
        };
        if Word::parse(text).is_some() && !inquiry.has_option(text) {
            return false;
        }
        let (count, is_shown) = (inquiry.labels.len(), inquiry.is_shown());
        match inquiry.read(text) {
            Reply::Says(_) if is_late || !is_shown => return false,
            Reply::Chooses(_) | Reply::NoSuchOption if is_late => self.say(text::REPLY_TOO_LATE),
            Reply::Chooses(_) | Reply::NoSuchOption if !is_shown => self.say(text::INQUIRY_NOT_SHOWN),
            Reply::NoSuchOption => self.say(text::no_such_option(count)),
            Reply::Chooses(reply) | Reply::Says(reply) => self.reply(reply),
        }
        true
    }

    /// A button means the inquiry that it came with.
    pub(super) fn pressed_reply(&mut self, run: &RunId, number: u32, option: usize) {
        let is_of_run = self.conversation.run() == Some(run);
        let open = self.conversation.inquiry.as_ref().filter(|inquiry| is_of_run && inquiry.number == number);
        let is_shown = open.is_some_and(Inquiry::shows_but_for_buttons);
        match open.and_then(|inquiry| inquiry.labels.get(option.checked_sub(1)?)).cloned() {
            Some(label) if is_shown => self.reply(label),
            Some(_) => self.say(text::INQUIRY_NOT_SHOWN),
            None => self.say(text::OLD_INQUIRY),
        }
    }

    /// Hand the reply to the open inquiry to the agent. It is the only one: whatever comes next is for nobody or for another.
    fn reply(&mut self, reply: String) {
        let Some(run) = self.conversation.run().cloned() else { return };
        if let Some(Inquiry { number, .. }) = self.conversation.inquiry.take() {
            self.emit(Effect::Reply { run, number, reply });
        }
    }

    /// A message did not arrive. If it is one of those that ask, no text is a reply before it has.
    pub(super) fn inquiry_misses(&mut self, part: EffectSeq) {
        if let Some(inquiry) = &mut self.conversation.inquiry
            && inquiry.parts.contains(&part)
            && !inquiry.untaken.contains(&part)
        {
            inquiry.untaken.push(part);
        }
    }

    /// A message will not arrive.
    pub(super) fn inquiry_loses(&mut self, part: EffectSeq) {
        self.inquiry_misses(part);
        if let Some(inquiry) = &mut self.conversation.inquiry {
            inquiry.lost |= inquiry.parts.contains(&part);
        }
    }

    /// An inquiry that had not arrived is asked anew, by the message in this place.
    pub(super) fn asked_again(&mut self, asked: &Asked, seq: EffectSeq) {
        let is_of_run = self.conversation.run() == Some(&asked.run);
        if let Some(inquiry) = &mut self.conversation.inquiry
            && is_of_run
            && inquiry.number == asked.number
            && inquiry.parts.len() == 1
        {
            (inquiry.parts, inquiry.untaken, inquiry.lost) = (vec![seq], vec![seq], false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn inquiry(several: bool, labels: &[&str]) -> Inquiry {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let (text, until, parts, untaken) = (String::new(), Timestamp::default(), Vec::new(), Vec::new());
        Inquiry { number: 1, text, until, labels, several, parts, untaken, lost: false }
    }

    #[test]
    fn a_reply_is_a_number_a_label_or_ones_own_words() {
        let colours = |several| inquiry(several, &["Red", "Dark blue"]);
        let (chooses, says) = (|text: &str| Reply::Chooses(text.to_owned()), |text: &str| Reply::Says(text.to_owned()));
        for (text, one, more) in [
            ("1", chooses("Red"), chooses("Red")),
            (" 2. ", chooses("Dark blue"), chooses("Dark blue")),
            ("dark BLUE", chooses("Dark blue"), chooses("Dark blue")),
            ("1, 2", says("1, 2"), chooses("Red, Dark blue")),
            ("3", Reply::NoSuchOption, Reply::NoSuchOption),
            ("0", Reply::NoSuchOption, Reply::NoSuchOption),
            ("neither of them", says("neither of them"), says("neither of them")),
        ] {
            assert_eq!((colours(false).read(text), colours(true).read(text)), (one, more), "{text:?}");
        }
        assert_eq!(inquiry(false, &[]).read("42"), says("42"));
    }

    #[test]
    fn a_number_means_the_option_of_that_name_before_the_one_in_that_place() {
        let sizes = |several| inquiry(several, &["2", "4", "8"]);
        let chooses = |text: &str| Reply::Chooses(text.to_owned());
        for (text, one) in [("2", "2"), ("4", "4"), ("8", "8"), ("1", "2"), ("3", "8")] {
            assert_eq!((sizes(false).read(text), sizes(true).read(text)), (chooses(one), chooses(one)), "{text}");
        }
        assert_eq!(sizes(true).read("2, 8"), chooses("2, 8"));
    }

    #[test]
    fn a_word_of_the_chat_may_be_an_option_but_for_cancel() {
        let words = inquiry(false, &["Reject", "Cancel"]);
        assert!(words.has_option("reject") && !words.has_option("cancel") && !words.has_option("status"));
    }
}
