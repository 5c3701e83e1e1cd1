//! What is known from outside of what agents ask: which inquiry is open, whether it is with the person, and what was replied.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use relay_core::id::{MessageId, RunId};
use relay_core::machine::delivery::Arrival;
use relay_core::machine::words::{Pressed, Word};
use relay_core::machine::{
    Content, Conversation, Effect, Event, Message, Outcome, Phase, Queued, Receipt, Say, Transition, text,
};
use relay_core::protocol::{InquiryOption, RunOutcome, VmEvent};

/// What can be chosen; one of them is a word of the chat as well.
pub(super) const LABELS: [&str; 2] = ["Red", "Approve"];

/// What an agent reports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asks {
    /// Its next inquiry.
    Next { several: bool },
    /// That the inquiry so many ago is over.
    Over { ago: u32 },
}

pub(super) fn asks() -> impl Strategy<Value = Asks> {
    prop_oneof![
        3 => any::<bool>().prop_map(|several| Asks::Next { several }),
        1 => (0u32..2).prop_map(|ago| Asks::Over { ago }),
    ]
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Inquiries {
    /// How many each run has asked.
    asked: BTreeMap<RunId, u32>,
    open: Option<Open>,
    replied: BTreeSet<(RunId, u32)>,
}

/// The inquiry that waits for a reply.
#[derive(Clone, Debug)]
struct Open {
    run: RunId,
    number: u32,
    several: bool,
    /// Whether its buttons come with its text.
    asks_at_once: bool,
    /// Whether its text was handed over, and did not fail since.
    text_is_shown: bool,
    /// The same of its buttons, which come with the text or after it.
    buttons_are_shown: bool,
    /// Messages that asked it before it was asked again: what becomes of them tells nothing any more.
    superseded: BTreeSet<MessageId>,
}

impl Open {
    fn is_shown(&self) -> bool {
        self.text_is_shown && self.buttons_are_shown
    }

    /// Note what became of a message, if it is one of those that ask this.
    fn has(&mut self, say: &Say, is_shown: bool) {
        if say.text.contains(&question(&self.run, self.number)) {
            self.text_is_shown = is_shown;
        }
        if say.asked.as_ref().is_some_and(|asked| (&asked.run, asked.number) == (&self.run, self.number)) {
            self.buttons_are_shown = is_shown;
        }
    }

    /// The option, or options, that a text names, if it names nothing else; `None` in it where a number stands for nothing.
    fn chosen(&self, text: &str) -> Option<Option<String>> {
        if let Some(label) = LABELS.iter().find(|label| label.eq_ignore_ascii_case(text.trim())) {
            return Some(Some((*label).to_owned()));
        }
        let parts: Vec<&str> =
            if self.several { text.split([',', ' ']).filter(|part| !part.is_empty()).collect() } else { vec![text] };
        let numbers: Vec<usize> = parts.iter().map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let labels = numbers.iter().map(|number| LABELS.get(number.checked_sub(1)?)).collect::<Option<Vec<_>>>();
        Some(labels.map(|labels| labels.into_iter().copied().collect::<Vec<_>>().join(", ")))
    }

    fn is_word(text: &str) -> bool {
        Word::parse(text).is_some() && !LABELS.iter().any(|label| label.eq_ignore_ascii_case(text.trim()))
    }

    /// What a message replies to it.
    fn reply(&self, message: &Message) -> Option<String> {
        match &message.content {
            Content::Button { payload } => match Pressed::parse(payload)? {
                Pressed::Reply { run, number, option }
                    if run == self.run && number == self.number && (self.text_is_shown || self.asks_at_once) =>
                {
                    LABELS.get(option.checked_sub(1)?).map(|label| (*label).to_owned())
                }
                _ => None,
            },
            Content::Text { text } if !self.is_shown() || message.sent_at.is_some() || Self::is_word(text) => None,
            Content::Text { text } if text.trim().is_empty() => None,
            Content::Text { text } => self.chosen(text).unwrap_or_else(|| Some(text.trim().to_owned())),
            Content::Files { .. } | Content::Unsupported { .. } => None,
        }
    }
}

impl Inquiries {
    /// A report of `run`.
    pub(super) fn report(&mut self, run: &RunId, asks: Asks) -> Option<VmEvent> {
        let several = match asks {
            Asks::Next { several } => several,
            Asks::Over { ago } => return Some(VmEvent::InquiryOver { number: self.number(run, ago)? }),
        };
        let number = self.asked.entry(run.clone()).or_default();
        *number += 1;
        let option = |label: &&str| InquiryOption { label: (*label).to_owned(), description: String::new() };
        let options = LABELS.iter().map(option).collect();
        Some(VmEvent::Inquiry { number: *number, text: question(run, *number), options, several, timeout_ms: 60_000 })
    }

    /// The number of the inquiry of `run` so many ago.
    pub(super) fn number(&self, run: &RunId, ago: u32) -> Option<u32> {
        self.asked.get(run)?.checked_sub(ago).filter(|&number| number > 0)
    }

    /// Whether a text is for the agent, or would be had it come in time, and so is no task.
    pub(super) fn takes(&self, text: &str, is_late: bool) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| !Open::is_word(text) && (open.chosen(text).is_some() || (open.is_shown() && !is_late)))
    }

    /// Hold a step against what is known, and keep up with it.
    pub(super) fn judge(
        &mut self,
        event: &Event,
        before: &Conversation,
        transition: &Transition,
    ) -> Result<(), TestCaseError> {
        let expected = match (event, &self.open) {
            (Event::Message(message), Some(open)) => {
                open.reply(message).map(|reply| (open.run.clone(), open.number, reply))
            }
            _ => None,
        };
        let replies: Vec<(RunId, u32, String)> = transition.effects.iter().filter_map(reply).collect();
        prop_assert_eq!(&replies, &expected.into_iter().collect::<Vec<_>>(), "after {:?}", event);
        for (run, number, _) in replies {
            let is_first = self.replied.range((run.clone(), number)..=(run.clone(), u32::MAX)).next().is_none();
            prop_assert!(is_first, "{} of {} was replied to, or a later one", number, run);
            self.replied.insert((run, number));
            self.open = None;
        }
        self.hear(event, before, transition)?;
        self.judge_state(&transition.conversation)
    }

    fn hear(&mut self, event: &Event, before: &Conversation, transition: &Transition) -> Result<(), TestCaseError> {
        let says = |line: &str| transition.effects.iter().any(|queued| said(queued).contains(line));
        match event {
            Event::Report { run, event: VmEvent::Inquiry { number, several, .. }, .. } => {
                let works =
                    matches!(before.phase, Phase::Starting { .. } | Phase::Stalled { .. } | Phase::Working { .. });
                if works && before.run() == Some(run) {
                    prop_assert!(says(&question(run, *number)), "whoever is asked hears it");
                    let (run, number, several) = (run.clone(), *number, *several);
                    let asks_at_once = transition.effects.iter().any(|queued| {
                        said(queued).contains(&question(&run, number))
                            && matches!(&queued.effect, Effect::Say(Say { asked: Some(_), .. }))
                    });
                    self.open = Some(Open {
                        run,
                        number,
                        several,
                        asks_at_once,
                        text_is_shown: false,
                        buttons_are_shown: false,
                        superseded: BTreeSet::new(),
                    });
                }
            }
            // Also while its diff waits for drawings.
            Event::Report { run, event: VmEvent::Finished { outcome: RunOutcome::Changes { .. }, .. }, .. }
                if !matches!(before.phase, Phase::Cancelling { .. }) =>
            {
                self.open.take_if(|open| open.run == *run);
            }
            Event::Report { run, event: VmEvent::InquiryOver { number }, .. } => {
                let over = self.open.take_if(|open| open.run == *run && open.number == *number).is_some();
                prop_assert_eq!(over, says(text::INQUIRY_OVER));
            }
            Event::Performed { effect, outcome: Outcome::Done | Outcome::Sent { .. } } => self.shown(effect),
            // Asked again, because it was lost.
            Event::Message(_) => {
                if let Some(open) = self.open.as_mut().filter(|open| says(&question(&open.run, open.number))) {
                    (open.text_is_shown, open.buttons_are_shown) = (false, false);
                    open.superseded = before.delivery.sent.iter().map(|sent| sent.message.clone()).collect();
                }
            }
            Event::Receipt { effect, message, receipt } => {
                let known = before.delivery.sent.iter().find(|sent| sent.message == *message);
                let say = known.and_then(|sent| sent.say.clone());
                match (known, effect, receipt) {
                    (Some(sent), _, Receipt::Failed { .. }) if sent.arrival < Arrival::Settled => {
                        let open = self.open.as_mut().filter(|open| !open.superseded.contains(message));
                        if let (Some(say), Some(open)) = (say, open) {
                            open.has(&say, false);
                        }
                    }
                    (None, Some(effect), Receipt::Sent | Receipt::Delivered | Receipt::Read) => {
                        if let Some(doubt) = before.delivery.doubts.get(effect) {
                            self.shown(&Queued::new(*effect, Effect::Say(doubt.say.clone())));
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        // Whatever ends the run's work ends its inquiry: the VM is gone, it was cancelled, it is done.
        self.open.take_if(|open| {
            let is_at_work = matches!(&transition.conversation.phase, Phase::Working { run, .. } if *run == open.run);
            !is_at_work
        });
        Ok(())
    }

    fn shown(&mut self, queued: &Queued) {
        if let (Effect::Say(say), Some(open)) = (&queued.effect, &mut self.open) {
            open.has(say, true);
        }
    }

    fn judge_state(&self, state: &Conversation) -> Result<(), TestCaseError> {
        let open = state.inquiry.as_ref().map(|inquiry| inquiry.number);
        prop_assert_eq!(open, self.open.as_ref().map(|open| open.number), "in {:?}", state.phase);
        let is_shown = state.inquiry.as_ref().map(|inquiry| inquiry.untaken.is_empty());
        prop_assert_eq!(is_shown, self.open.as_ref().map(|open| open.is_shown()));
        // While the VM is silent it is asked whether it still has the run: no inquiry outlives that.
        prop_assert!(open.is_none() || state.timers.contains_key(&relay_core::machine::Timer::Silence));
        Ok(())
    }
}

/// What is asked: of each inquiry something else.
fn question(run: &RunId, number: u32) -> String {
    format!("Which of {run}, at {number}?")
}

fn reply(queued: &Queued) -> Option<(RunId, u32, String)> {
    match &queued.effect {
        Effect::Reply { run, number, reply } => Some((run.clone(), *number, reply.clone())),
        _ => None,
    }
}

fn said(queued: &Queued) -> &str {
    match &queued.effect {
        Effect::Say(say) => &say.text,
        _ => "",
    }
}
