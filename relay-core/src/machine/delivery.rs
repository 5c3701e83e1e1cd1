//! The way of a chat message from the outbox to the person: one at a time, at a pace that the channel stands, and known to
//! have arrived where the channel tells.
//!
//! [`Delivery`] is what a conversation remembers of it. The next message waits while the latest one is on its way, while the
//! pace is used up, or while the channel is closed to us; [`Delivery::ready_at`] says until when. A message whose fate is not
//! known is *in doubt*: whoever tries it again looks first whether it was sent.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{EffectSeq, MessageId};
use crate::machine::conversation::Retry;
use crate::machine::effect::{Effect, Lane, Queued, Say};
use crate::machine::event::{Failure, Outcome, Receipt};
use crate::machine::rules::Pace;
use crate::machine::{Phase, Step, shape, text};
use crate::time::Timestamp;

/// Messages handed over lately that are remembered, so that receipts find them and a search knows them.
const SENT_MAX: usize = 8;
/// Of those, the latest whose words are kept until they are known to have arrived, so that they can be sent again.
const KEPT_MAX: usize = 4;
/// Once the day's messages are used up, it is tried this often whether a new day has begun.
const USED_UP_PAUSE: Duration = Duration::from_secs(3600);
/// A message that the channel took and then failed to deliver is sent so often in all.
const DELIVERIES_MAX: u32 = 4;

/// What is remembered of the way to the person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Messages that the channel took lately, the latest last; bounded.
    pub sent: VecDeque<Sent>,
    /// The latest of them is on its way; the next waits for its arrival, until then at the latest.
    pub awaited_until: Option<Timestamp>,
    /// When the pace would be fully recovered: every message moves it on by one interval.
    pub paced_until: Timestamp,
    /// The channel asked for a pause until then.
    pub paused_until: Timestamp,
    /// The channel takes nothing before the person writes again.
    pub closed: bool,
    /// Messages that wait and whose sending may or may not have happened: the one that was about to go, and those before it
    /// that are sent again.
    #[serde(default)]
    pub doubts: BTreeMap<EffectSeq, Doubt>,
    /// The latest message asked for, if more lines may join it: nobody has tried to send it yet.
    pub tail: Option<Waiting>,
}

/// A message that waits in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The effect that asks for it.
    pub effect: EffectSeq,
    /// What it says.
    pub say: Say,
    /// What the message that it answers was taken in at, if it answers one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
}

/// A message that may have been sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// What it says.
    pub say: Say,
    /// It was not sent before then: the latest message before it went then. Zero when none did.
    pub since: Timestamp,
}

/// A message that the channel took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The effect that asked for it.
    pub effect: EffectSeq,
    /// The provider's name for it.
    pub message: MessageId,
    /// When the channel took it.
    pub at: Timestamp,
    /// The furthest that it is known to have come.
    pub arrival: Arrival,
    /// How often it was sent.
    pub deliveries: u32,
    /// What it says, as long as it may have to be sent again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub say: Option<Say>,
}

/// How far a message has come; never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// The channel has it.
    Taken,
    /// It failed, or it is on the person's phone.
    Settled,
    /// The person has seen it.
    Read,
}

impl Delivery {
    /// When the next chat message may go; `None` when that is not before the person writes.
    pub fn ready_at(&self, pace: Option<Pace>) -> Option<Timestamp> {
        let paced = pace.map_or(Timestamp::default(), |pace| {
            self.paced_until - pace.interval.saturating_mul(pace.burst.saturating_sub(1))
        });
        (!self.closed).then(|| paced.max(self.paused_until).max(self.awaited_until.unwrap_or_default()))
    }

    /// Whether a search that finds this message finds one that is known.
    pub fn knows(&self, message: &MessageId) -> bool {
        self.sent.iter().any(|sent| sent.message == *message)
    }

    /// Whether it is not known if this message was sent.
    pub fn doubts(&self, effect: EffectSeq) -> bool {
        self.doubts.contains_key(&effect)
    }

    /// The holder before us died or was cut off: what it was about to send, `next`, it may have sent.
    pub fn taken_over(&mut self, next: Option<(EffectSeq, &Say)>) {
        self.tail = None;
        if let Some((effect, say)) = next {
            self.doubt(effect, say);
        }
    }

    /// Nobody knows whether this message was sent.
    fn doubt(&mut self, effect: EffectSeq, say: &Say) {
        let since = self.sent.back().map_or(Timestamp::default(), |sent| sent.at);
        self.doubts.entry(effect).or_insert_with(|| Doubt { say: say.clone(), since });
    }

    /// Nothing has to be known of this message any more but that it was dealt with.
    pub(super) fn forget(&mut self, effect: EffectSeq) {
        self.doubts.remove(&effect);
        self.tail.take_if(|waiting| waiting.effect == effect);
    }
}

impl Step<'_> {
    /// The channel took a message.
    pub(super) fn taken(&mut self, seq: EffectSeq, say: Say, message: MessageId) {
        let Some(channel) = self.capabilities().copied() else { return };
        let delivery = &mut self.conversation.delivery;
        let before = delivery.sent.iter().filter(|sent| sent.effect == seq).map(|sent| sent.deliveries).max();
        let deliveries = 1 + before.unwrap_or(0);
        let (at, arrival) = (self.now, Arrival::Taken);
        delivery.sent.push_back(Sent { effect: seq, message, at, arrival, deliveries, say: Some(say) });
        while delivery.sent.len() > SENT_MAX {
            delivery.sent.pop_front();
        }
        let old = delivery.sent.len().saturating_sub(KEPT_MAX);
        for sent in delivery.sent.iter_mut().take(old) {
            sent.say = None;
        }
        delivery.forget(seq);
        delivery.awaited_until = channel.receipt_timeout.map(|timeout| self.now + timeout);
        if let Some(pace) = channel.pace {
            delivery.paced_until = delivery.paced_until.max(self.now) + pace.interval;
        }
        self.shown(seq);
    }

    /// A message was tried, with whatever outcome: nothing joins it any more. Where nobody knows whether the channel took it,
    /// the next try looks first.
    pub(super) fn tried(&mut self, effect: EffectSeq, say: &Say, outcome: &Outcome) {
        let delivery = &mut self.conversation.delivery;
        delivery.tail.take_if(|waiting| waiting.effect == effect);
        if matches!(outcome, Outcome::NoAnswer { .. }) {
            delivery.doubt(effect, say);
        }
    }

    /// The channel takes nothing before the person writes again.
    pub(super) fn closed(&mut self) {
        self.conversation.delivery.closed = true;
    }

    /// The channel takes nothing before that instant.
    pub(super) fn paused(&mut self, pause: Duration) {
        let delivery = &mut self.conversation.delivery;
        delivery.paused_until = delivery.paused_until.max(self.now + pause);
    }

    /// The provider tells what became of a message.
    pub(super) fn receipt(&mut self, effect: Option<EffectSeq>, message: &MessageId, receipt: Receipt) {
        if !self.conversation.delivery.knows(message)
            && let Some(effect) = effect.filter(|effect| self.conversation.delivery.doubts(*effect))
        {
            match receipt {
                // It was sent after all.
                Receipt::Sent | Receipt::Delivered | Receipt::Read => self.found(effect, message),
                // It still waits in the outbox, and nothing was delivered.
                Receipt::Failed { failure } => {
                    self.conversation.delivery.doubts.remove(&effect);
                    return self.closed_by(&failure);
                }
            }
        }
        let delivery = &mut self.conversation.delivery;
        let Some(at) = delivery.sent.iter().position(|sent| sent.message == *message) else { return };
        let arrival = match receipt {
            Receipt::Sent => Arrival::Taken,
            Receipt::Delivered | Receipt::Failed { .. } => Arrival::Settled,
            Receipt::Read => Arrival::Read,
        };
        let is_latest = at + 1 == delivery.sent.len();
        let sent = &mut delivery.sent[at];
        let was_settled = sent.arrival >= Arrival::Settled;
        sent.arrival = sent.arrival.max(arrival);
        if arrival < Arrival::Settled || was_settled {
            return;
        }
        let (effect, say, deliveries, sent_at) = (sent.effect, sent.say.take(), sent.deliveries, sent.at);
        if is_latest {
            delivery.awaited_until = None;
        }
        // Whoever has written since has opened the channel again; what failed before that says nothing of now.
        let is_open = sent_at < self.conversation.heard_at;
        match (receipt, say) {
            (Receipt::Failed { failure: Failure::Closed }, Some(say)) if is_open => {
                self.misses(effect);
                self.again(effect, say);
            }
            (Receipt::Failed { failure }, Some(say)) => self.undelivered(effect, say, deliveries, failure),
            (Receipt::Failed { failure }, None) => self.undelivered_long_ago(effect, &failure, is_open),
            _ => {}
        }
    }

    fn found(&mut self, effect: EffectSeq, message: &MessageId) {
        if let Some(Doubt { say, .. }) = self.conversation.delivery.doubts.remove(&effect) {
            self.withdraw(effect);
            self.taken(effect, say, message.clone());
        }
    }

    /// The channel is closed to us, or its day's messages are used up, if that is why a message failed.
    fn closed_by(&mut self, failure: &Failure) {
        match failure {
            Failure::Closed => self.closed(),
            Failure::UsedUp => self.used_up(),
            Failure::Passing | Failure::Final { .. } => {}
        }
    }

    /// The channel takes no more messages of ours today. When its day ends is not told, so it is asked again at times.
    pub(super) fn used_up(&mut self) {
        self.paused(USED_UP_PAUSE);
    }

    /// A message failed of which the words are no longer known. It can't be sent again, but it is said that there was one.
    fn undelivered_long_ago(&mut self, effect: EffectSeq, failure: &Failure, is_open: bool) {
        self.lose(effect);
        if !is_open {
            self.closed_by(failure);
        }
        match failure {
            Failure::Final { reachable: false, .. } => {}
            Failure::Final { reason, .. } => self.say_notice(text::undelivered(reason)),
            Failure::Passing | Failure::Closed | Failure::UsedUp => {
                self.say_notice(text::undelivered("too late to try again"))
            }
        }
    }

    /// The channel took a message and could not deliver it.
    fn undelivered(&mut self, effect: EffectSeq, say: Say, deliveries: u32, failure: Failure) {
        self.misses(effect);
        match failure {
            Failure::Closed | Failure::UsedUp => {
                self.closed_by(&failure);
                self.again(effect, say);
            }
            Failure::Passing if deliveries < DELIVERIES_MAX => {
                let pause = super::retry::resend_delay(deliveries);
                let retry = Retry { effect, attempts: deliveries, first_at: self.now, next_at: self.now + pause };
                self.conversation.retries.entry(Lane::Chat).or_insert(retry);
                self.again(effect, say);
            }
            Failure::Passing => {
                self.give_up_say(effect, say, "the channel failed to deliver it every time", true);
            }
            // Its buttons may be at fault, and are not needed: what they stand for can be typed.
            Failure::Final { reachable: true, .. } if self.has_buttons(&say) => {
                self.again(effect, Say { typed: true, ..say });
            }
            Failure::Final { reason, reachable } => self.give_up_say(effect, say, &reason, reachable),
        }
    }

    fn has_buttons(&self, say: &Say) -> bool {
        !say.typed && self.capabilities().is_some_and(|channel| shape::has_buttons(say, channel))
    }

    /// The person does not have a message that was handed over: what it shows or asks can't be answered before they do.
    fn misses(&mut self, effect: EffectSeq) {
        if let Phase::AwaitingApproval(pending) = &mut self.conversation.phase {
            pending.undelivered(effect);
        }
        self.inquiry_misses(effect);
    }

    /// Send a message again, at its old place: before all that was asked for after it.
    fn again(&mut self, seq: EffectSeq, say: Say) {
        let effect = Effect::Say(say);
        let cause = self.cause(&effect);
        self.effects.push(Queued { seq, effect, cause });
    }

    fn lose(&mut self, seq: EffectSeq) {
        if let Phase::AwaitingApproval(pending) = &mut self.conversation.phase {
            pending.lost(seq);
        }
        self.inquiry_loses(seq);
    }

    /// A message will not arrive: an operator finds it among the dead letters, and the person is told if that can be.
    pub(super) fn give_up_say(&mut self, seq: EffectSeq, say: Say, reason: &str, reachable: bool) {
        self.conversation.delivery.forget(seq);
        self.lose(seq);
        let tell = reachable && !say.passing;
        self.bury(Effect::Say(say), reason);
        if tell {
            self.say_notice(text::undelivered(reason));
        }
    }

    /// Ask for a chat message. Where each costs money, one that is text alone joins the one before it, if that is text alone
    /// and still waits: nobody has tried to send it.
    pub(super) fn emit_say(&mut self, say: Say) -> EffectSeq {
        let paid = self.capabilities().copied().filter(|channel| channel.paid);
        let mergeable = paid.filter(|_| say.is_plain());
        let before = self.conversation.delivery.tail.take();
        let joined = mergeable
            .zip(before)
            .and_then(|(channel, before)| Some((before.say.joined(&say, channel.text_units_max)?, before)));
        let say = match joined {
            Some((joined, before)) => {
                self.withdraw(before.effect);
                // What answers two messages has been waited for since the first.
                self.conversation.asked_at = before.asked_at.or(self.conversation.asked_at);
                joined
            }
            None => say,
        };
        let effect = self.emit(Effect::Say(say.clone()));
        let asked_at = self.effects.last().and_then(|queued| queued.cause.as_ref()?.asked_at);
        self.conversation.delivery.tail = mergeable.map(|_| Waiting { effect, say, asked_at });
        effect
    }
}
