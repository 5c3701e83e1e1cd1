//! The chat provider, and the people behind it.

use std::time::Duration;

use super::flight::Flight;
use super::history::Heard;
use super::world::{Happening, Origin, World};
use crate::id::{Address, ChannelKind, ConversationId, EffectSeq, MessageId};
use crate::machine::words::Pressed;
use crate::machine::{Asked, Choice, Content, Effect, Event, Failure, Message, Outcome, Receipt};

/// How whatever people ask for by themselves begins.
pub(super) const PROMPT: &str = "please do thing";

/// Somebody who has work done.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) id: ConversationId,
    address: Address,
    /// Diffs seen, so that a repeat of the message is not answered anew.
    seen: Vec<Choice>,
    /// Inquiries seen, likewise.
    asked: Vec<Asked>,
}

impl Person {
    pub(super) fn new(address: Address) -> Self {
        Self { id: address.conversation(b"simulation"), address, seen: Vec::new(), asked: Vec::new() }
    }
}

/// A message on its way to a relay.
#[derive(Debug)]
pub(super) struct Delivery {
    who: usize,
    message: Message,
    accepted: bool,
}

impl World {
    /// Draw what a person will write by herself.
    pub(super) fn plan_messages(&mut self, who: usize) {
        let span = self.plan.busy * 3 / 4;
        for number in 0..self.plan.prompts {
            let content = Content::Text { text: format!("{PROMPT} {number} for me") };
            self.some_time(span, Happening::Writes { who, content });
        }
        for _ in 0..self.index(5) {
            let words = ["status", "queue", "diff", "approve", "reject", "help", "resume 1"];
            let text = words[self.index(words.len())].to_owned();
            self.some_time(self.plan.busy, Happening::Writes { who, content: Content::Text { text } });
        }
        if self.plan.people_cancel {
            for _ in 0..self.index(3) {
                let text = ["cancel", "drop 1"][self.index(2)].to_owned();
                self.some_time(span, Happening::Writes { who, content: Content::Text { text } });
            }
        }
    }

    pub(super) fn writes(&mut self, who: usize, content: Content) {
        self.totals.messages += 1;
        let delivery = self.deliveries.len();
        self.note(|_| format!("person {who} writes M{delivery}: {content:?}"));
        let id = MessageId::parse(format!("M{delivery}")).expect("short and plain");
        let mut message = Message::new(id, self.people[who].address.clone(), content);
        let is_missed = self.plan.channel == ChannelKind::Twilio && self.mishap(self.plan.loss_percent);
        if is_missed {
            // No relay gets it before it is found in the provider's list, which knows no payloads.
            message = Message { content: listed(message.content), sent_at: Some(self.now), ..message };
        }
        self.deliveries.push(Delivery { who, message, accepted: false });
        let (least_ms, most_ms) = if is_missed { (10_000, 60_000) } else { (20, 2_000) };
        self.after_some(least_ms, most_ms, Happening::Webhook { delivery, insist: true });
        if !is_missed && self.mishap(self.plan.loss_percent) {
            self.after_some(20, 20_000, Happening::Webhook { delivery, insist: false });
        }
    }

    pub(super) fn webhook(&mut self, delivery: usize, insist: bool) {
        let Delivery { who, message, accepted } = &self.deliveries[delivery];
        if insist && *accepted {
            return;
        }
        let (who, event) = (*who, Event::Message(message.clone()));
        self.request(who, event, Origin::Delivery(delivery));
        if insist {
            self.after_some(3_000, 8_000, Happening::Webhook { delivery, insist });
        }
    }

    pub(super) fn accepted(&mut self, origin: Origin) {
        match origin {
            Origin::Delivery(delivery) => self.deliveries[delivery].accepted = true,
            Origin::Report { who, run, seq } => self.report_accepted(who, run, seq),
            Origin::Nobody => {}
        }
    }

    /// The provider's answer to a message from a relay; `None` when it gives none.
    pub(super) fn provider_takes(&mut self, flight: &Flight) -> Option<Outcome> {
        let Effect::Say(say) = &flight.performance.queued.effect else { return None };
        let conversation = flight.performance.conversation.id.clone();
        let (seq, delivery) = (flight.performance.queued.seq, &flight.performance.conversation.delivery);
        let is_same =
            |heard: &&Heard| heard.conversation == conversation && heard.seq == seq && heard.failure.is_none();
        if delivery.doubts(seq)
            && let Some(found) =
                self.history.chat.iter().find(|heard| is_same(heard) && !delivery.knows(&heard.message))
        {
            return Some(Outcome::Sent { message: found.message.clone() });
        }
        if self.mishap(self.plan.loss_percent) {
            let retry_after_ms = self.percent(50).then_some(2_000);
            return Some(Outcome::busy(retry_after_ms));
        }
        if self.mishap(self.plan.refusal_percent) {
            return Some(Outcome::Refused { reason: None, message: "not deliverable".into() });
        }
        if self.history.chat.iter().any(|heard| is_same(&heard)) {
            self.totals.repeats_in_chat += 1;
        }
        let (choice, at) = (say.choice.clone(), self.now);
        let message = MessageId::parse(format!("T{}", self.history.chat.len())).expect("short and plain");
        let tells = self.plan.channel == ChannelKind::Twilio;
        let failure = if tells { self.draws_failure() } else { None };
        if tells {
            self.tells(flight.who, seq, &message, failure.clone());
        }
        if let Some(choice) =
            choice.clone().filter(|choice| failure.is_none() && !self.people[flight.who].seen.contains(choice))
        {
            self.people[flight.who].seen.push(choice.clone());
            self.sees(flight.who, &choice);
            if say.review.is_some() && self.percent(40) {
                self.opens_page(flight.who, &choice);
            }
        }
        let asked = say.asked.clone();
        if let Some(asked) =
            asked.as_ref().filter(|asked| failure.is_none() && !self.people[flight.who].asked.contains(asked))
        {
            self.people[flight.who].asked.push(asked.clone());
            self.is_asked(flight.who, asked);
        }
        self.history.chat.push(Heard { conversation, seq, message: message.clone(), choice, asked, failure, at });
        Some(if tells { Outcome::Sent { message } } else { Outcome::Done })
    }

    /// Whether the provider will fail to deliver what it takes.
    fn draws_failure(&mut self) -> Option<Failure> {
        if !self.mishap(self.plan.failure_percent) {
            return None;
        }
        Some(match self.index(4) {
            0 => Failure::Closed,
            1 => Failure::Passing,
            2 => Failure::UsedUp,
            _ => Failure::Final { reason: "lost".into(), reachable: self.percent(50) },
        })
    }

    /// What the provider tells of a message: in any order, twice, or not at all; of a failure always, and soon.
    fn tells(&mut self, who: usize, effect: EffectSeq, message: &MessageId, failure: Option<Failure>) {
        let receipts = match failure {
            Some(failure) => vec![Receipt::Sent, Receipt::Failed { failure }],
            None => vec![Receipt::Sent, Receipt::Delivered, Receipt::Read],
        };
        for receipt in receipts {
            let failed = matches!(receipt, Receipt::Failed { .. });
            let times = if failed { 1 } else { 1 + usize::from(self.percent(5)) };
            for _ in 0..times {
                if failed || !self.mishap(self.plan.loss_percent) {
                    // What is found in the provider's list does not name its effect.
                    let effect = (!self.mishap(10)).then_some(effect);
                    let event = Event::Receipt { effect, message: message.clone(), receipt: receipt.clone() };
                    self.after_some(20, 4_000, Happening::Receipt { who, event: Box::new(event) });
                }
            }
        }
    }

    /// A person sees a diff for the first time, and will answer it, or not.
    fn sees(&mut self, who: usize, choice: &Choice) {
        let word = match self.index(20) {
            0..10 => "approve",
            10..15 => "reject",
            15 if self.plan.people_cancel => "cancel",
            _ => return,
        };
        let late = if self.percent(8) { self.plan.rules.approval_timeout } else { Duration::ZERO };
        let delay = late + self.between(Duration::from_millis(300), Duration::from_secs(30));
        let answer = self.answer(choice, word);
        self.after(delay, Happening::Writes { who, content: answer });
        if self.percent(25) {
            let word = if self.percent(70) { word } else { "reject" };
            let again = self.answer(choice, word);
            let more = self.between(Duration::from_millis(100), Duration::from_secs(40));
            self.after(delay + more, Happening::Writes { who, content: again });
        }
    }

    /// A person sees for the first time what the agent asks, and will reply, in time or late, once or twice, or not.
    fn is_asked(&mut self, who: usize, asked: &Asked) {
        let times = [0, 1, 1, 1, 2][self.index(5)];
        for _ in 0..times {
            let late = if self.percent(15) { Duration::from_secs(60) } else { Duration::ZERO };
            let delay = late + self.between(Duration::from_millis(300), Duration::from_secs(20));
            let content = self.replies(asked);
            self.after(delay, Happening::Writes { who, content });
        }
    }

    /// A button, a number that stands for an option or for none, or one's own words.
    fn replies(&mut self, asked: &Asked) -> Content {
        let option = 1 + self.index(asked.labels.len() + 1);
        match self.index(10) {
            0..4 => Content::Button { payload: asked.payload(option) },
            4..8 => Content::Text { text: option.to_string() },
            _ => Content::Text { text: format!("as you like it in {} of {}", asked.number, asked.run) },
        }
    }

    /// The word as typed, or as the button that came with the diff.
    fn answer(&mut self, choice: &Choice, word: &str) -> Content {
        if word == "cancel" || self.percent(60) {
            Content::Text { text: word.to_owned() }
        } else {
            Content::Button { payload: choice.payload(word) }
        }
    }
}

/// A message as the provider lists it: of a button only what it says.
fn listed(content: Content) -> Content {
    let Content::Button { payload } = content else { return content };
    let text = match Pressed::parse(&payload) {
        Some(Pressed::Reply { option, .. }) => option.to_string(),
        _ => payload.split(':').next().unwrap_or_default().to_owned(),
    };
    Content::Text { text }
}
