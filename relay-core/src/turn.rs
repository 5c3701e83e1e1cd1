//! A lease holder's turn: what to do next with a conversation, as data. The relay's loop and the simulation both drive
//! it, so that what is simulated is what runs. It does no I/O and knows no clock: it is told `now` at each move.
//!
//! The order of a turn: apply all events of the inbox and all passed deadlines, commit; carry out the first effect
//! that is ready, apply its outcome, commit; and so on, until nothing is ready and the store has taken the lease back.

use std::collections::VecDeque;

use crate::id::{EffectSeq, Fence, Nonce};
use crate::machine::{
    self, Conversation, Dead, Effect, Event, Lane, LogEntry, Outcome, Phase, Queued, Rules, Transition,
};
use crate::store::{Activity, Commit, Committed, Held};
use crate::time::Timestamp;

/// One holder's work on one conversation, from taking the lease to giving it back.
#[derive(Debug)]
pub struct Turn {
    rules: Rules,
    fence: Fence,
    /// Names the latest call under this lease.
    nonce: Nonce,
    conversation: Conversation,
    /// What is marked as going on, where that is known: not where a holder has died, or a program was the holder that marks nothing.
    marked: Option<Activity>,
    inbox: Vec<Event>,
    outbox: VecDeque<Queued>,
    /// Present when something was applied that is not committed yet.
    unsaved: Option<Unsaved>,
    /// Present while the outcome of showing a diff is held back.
    shown: Option<Shown>,
    draining: bool,
    over: bool,
}

/// A diff was handed over. Events that came while it was on its way are applied before that is taken in; otherwise an
/// answer to something earlier would count for a diff that nobody had seen.
#[derive(Debug)]
struct Shown {
    effect: Queued,
    outcome: Outcome,
    /// Whether the inbox was read since.
    looked: bool,
}

/// What was decided since the last commit.
#[derive(Debug, Default)]
struct Unsaved {
    consumed: usize,
    acked: Vec<EffectSeq>,
    effects: Vec<Queued>,
    dead: Vec<Dead>,
    log: Vec<LogEntry>,
}

/// What the holder has to do next.
#[derive(Debug)]
pub enum Move {
    /// Commit this, then tell [`Turn::committed`].
    Commit(Box<Commit>),
    /// Carry this out, then tell [`Turn::performed`].
    Perform(Box<Performance>),
    /// Nothing: the lease is no longer ours.
    Over,
}

/// An effect to carry out.
#[derive(Clone, Debug)]
pub struct Performance {
    /// The effect and its place.
    pub queued: Queued,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// The fence that a VM is to check.
    pub fence: Fence,
    /// The conversation as it is now: its name and address.
    pub conversation: Conversation,
}

impl Turn {
    /// Begin with what the store handed over.
    pub fn begin(rules: Rules, held: Held) -> Self {
        let (mut conversation, outbox) = (held.conversation, VecDeque::from(held.outbox));
        if held.abandoned {
            let next = outbox.iter().find_map(|queued| match &queued.effect {
                Effect::Say(say) => Some((queued.seq, say)),
                _ => None,
            });
            conversation.delivery.taken_over(next);
        }
        Self {
            rules,
            fence: held.fence,
            nonce: held.nonce,
            marked: (conversation.format == Conversation::FORMAT && !held.abandoned)
                .then(|| Activity::of(&conversation.phase)),
            conversation,
            inbox: held.inbox,
            outbox,
            unsaved: None,
            shown: None,
            draining: false,
            over: false,
        }
    }

    /// What to do at `now`. `nonce` names the commit, if it is one.
    pub fn next(&mut self, now: Timestamp, nonce: Nonce) -> Move {
        if self.over {
            return Move::Over;
        }
        // A receipt of the very message whose outcome is held back says nothing before that.
        let held_back = self.shown.as_ref().map(|shown| shown.effect.seq);
        let is_late = |event: &Event| match event {
            Event::Receipt { effect, .. } => held_back.is_some() && (effect.is_none() || *effect == held_back),
            _ => false,
        };
        let (late, inbox): (Vec<Event>, Vec<Event>) = std::mem::take(&mut self.inbox).into_iter().partition(is_late);
        if !late.is_empty() {
            self.unsaved.get_or_insert_default().consumed += late.len();
        }
        for event in inbox {
            self.apply(event, now);
            self.unsaved.get_or_insert_default().consumed += 1;
        }
        match self.shown.take() {
            None => {}
            Some(Shown { effect, outcome, looked: true }) => self.apply(Event::Performed { effect, outcome }, now),
            // Nothing was read from the inbox since it was handed over, so nothing is late yet.
            Some(shown) => {
                self.shown = Some(Shown { looked: true, ..shown });
                let unsaved = self.unsaved.take().unwrap_or_default();
                return Move::Commit(Box::new(self.commit(unsaved, false, now, nonce)));
            }
        }
        for receipt in late {
            self.apply(receipt, now);
        }
        if self.conversation.is_due(now) {
            self.apply(Event::Due, now);
        }
        let ready = if self.draining { None } else { self.ready(now) };
        match (self.unsaved.take(), ready) {
            (None, Some(at)) => Move::Perform(Box::new(self.performance(at))),
            (unsaved, ready) => {
                Move::Commit(Box::new(self.commit(unsaved.unwrap_or_default(), ready.is_none(), now, nonce)))
            }
        }
    }

    /// Take in the store's answer to the commit.
    pub fn committed(&mut self, answer: Committed) {
        match answer {
            Committed::Held { inbox } => self.inbox = inbox,
            Committed::Released | Committed::Fenced => self.over = true,
        }
    }

    /// Take in what came of the effect that was to be carried out.
    pub fn performed(&mut self, effect: Queued, outcome: Outcome, now: Timestamp) {
        let untaken = match (&self.conversation.phase, &self.conversation.inquiry) {
            (Phase::AwaitingApproval(pending), _) => pending.untaken.as_slice(),
            (_, Some(inquiry)) => inquiry.untaken.as_slice(),
            _ => &[],
        };
        let is_last = untaken == [effect.seq];
        match (&effect.effect, &outcome) {
            (Effect::Say(say), Outcome::Done | Outcome::Sent { .. }) if say.choice.is_some() || is_last => {
                self.shown = Some(Shown { effect, outcome, looked: false });
            }
            _ => self.apply(Event::Performed { effect, outcome }, now),
        }
    }

    /// Carry nothing more out: what is left goes to another holder, which finds the conversation due at once.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    fn apply(&mut self, event: Event, now: Timestamp) {
        let empty = Conversation::new(self.conversation.id.clone());
        let conversation = std::mem::replace(&mut self.conversation, empty);
        let Transition { conversation, effects, acked, dead, log } =
            machine::step(&self.rules, conversation, event, now);
        self.conversation = conversation;
        let unsaved = self.unsaved.get_or_insert_default();
        // An effect that was asked for and withdrawn since the last commit was never in the outbox. One that is asked for
        // again has its old place.
        self.outbox.extend(effects.iter().cloned());
        self.outbox.retain(|queued| !acked.contains(&queued.seq));
        self.outbox.make_contiguous().sort_by_key(|queued| queued.seq);
        unsaved.effects.extend(effects);
        unsaved.effects.retain(|queued| !acked.contains(&queued.seq));
        unsaved.acked.extend(acked);
        unsaved.dead.extend(dead);
        unsaved.log.extend(log);
    }

    /// The place in the outbox of the first effect whose lane does not wait for a retry.
    fn ready(&self, now: Timestamp) -> Option<usize> {
        let is_ready = |lane| self.conversation.ready_at(lane, &self.rules).is_some_and(|at| at <= now);
        self.outbox.iter().position(|queued| is_ready(queued.effect.lane()))
    }

    /// The next instant at which something has to happen without an event from outside.
    fn deadline(&self) -> Option<Timestamp> {
        let says = self.outbox.iter().any(|queued| queued.effect.lane() == Lane::Chat);
        let chat = says.then(|| self.conversation.ready_at(Lane::Chat, &self.rules)).flatten();
        self.conversation.deadline().into_iter().chain(chat).min()
    }

    fn performance(&self, at: usize) -> Performance {
        let queued = self.outbox[at].clone();
        let tried = self.conversation.retries.get(&queued.effect.lane()).filter(|retry| retry.effect == queued.seq);
        Performance {
            attempt: tried.map_or(0, |retry| retry.attempts) + 1,
            fence: self.fence,
            conversation: self.conversation.clone(),
            queued,
        }
    }

    fn commit(&mut self, unsaved: Unsaved, release: bool, now: Timestamp, nonce: Nonce) -> Commit {
        let activity = Activity::of(&self.conversation.phase);
        // What is left and begun again under one lease goes on since then, and not since before.
        if self.marked != Some(activity) {
            self.marked = None;
        }
        Commit {
            fence: self.fence,
            previous: std::mem::replace(&mut self.nonce, nonce.clone()),
            nonce,
            now,
            consumed: unsaved.consumed,
            acked: unsaved.acked,
            effects: unsaved.effects,
            dead: unsaved.dead,
            log: unsaved.log,
            conversation: self.conversation.clone(),
            activity: (release && self.marked != Some(activity)).then_some(activity),
            deadline: if release && self.ready(now).is_some() { Some(now) } else { self.deadline() },
            release,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Address, ChannelKind, ConversationId, MessageId, RunId, TreeHash};
    use crate::machine::{Choice, Content, Failure, Message, Receipt, Say};
    use crate::protocol::VmEvent;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn commit(turn: &mut Turn) -> Commit {
        match turn.next(NOW, Nonce::parse("nonce-1").unwrap()) {
            Move::Commit(commit) => *commit,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reports_that_wait_together_become_one_commit_with_one_message() {
        let id = ConversationId::parse("c0ffee").unwrap();
        let from = Address { channel: ChannelKind::Twilio, name: "someone".into() };
        let content = Content::Text { text: "fix the bug".into() };
        let inbox = vec![Event::Message(Message::new(MessageId::parse("M1").unwrap(), from, content))];
        let conversation = Conversation::new(id.clone());
        let nonce = Nonce::parse("ingest").unwrap();
        let held = Held { conversation, fence: Fence(1), nonce, inbox, outbox: Vec::new(), abandoned: false };
        let mut turn = Turn::begin(Rules::default(), held);
        commit(&mut turn);

        let run = RunId::of(&id, NOW, 1);
        let report = |seq| {
            let event = VmEvent::Progress { text: format!("step {seq}") };
            Event::Report { run: run.clone(), seq, event }
        };
        turn.committed(Committed::Held { inbox: (1..=3).map(report).collect() });
        let commit = commit(&mut turn);
        assert_eq!(commit.consumed, 3);
        let [Queued { effect: Effect::Say(say), .. }] = &commit.effects[..] else { panic!("{:?}", commit.effects) };
        assert_eq!(say.text, "step 1\nstep 2\nstep 3");
        assert!(commit.conversation.progress.lines.is_empty());
    }

    #[test]
    fn what_goes_on_is_told_when_the_lease_is_given_back_and_anew_when_a_holder_has_died() {
        let id = ConversationId::parse("c0ffee").unwrap();
        let turn = |abandoned| {
            let (conversation, nonce) = (Conversation::new(id.clone()), Nonce::parse("claim").unwrap());
            let held = Held { conversation, fence: Fence(1), nonce, inbox: Vec::new(), outbox: Vec::new(), abandoned };
            Turn::begin(Rules::default(), held)
        };
        assert_eq!(commit(&mut turn(false)).activity, None, "as before");
        assert_eq!(commit(&mut turn(true)).activity, Some(Activity::Idle), "who knows what the dead one had told");
        let mut begun = turn(false);
        let from = Address { channel: ChannelKind::Twilio, name: "someone".into() };
        let content = Content::Text { text: "fix the bug".into() };
        begun.inbox = vec![Event::Message(Message::new(MessageId::parse("M1").unwrap(), from, content))];
        let first = commit(&mut begun);
        assert!(!first.release && first.activity.is_none(), "{first:?}");
        begun.committed(Committed::Held { inbox: Vec::new() });
        begun.drain();
        let last = commit(&mut begun);
        assert!(last.release && last.activity == Some(Activity::Starting), "{last:?}");
    }

    #[test]
    fn what_ended_and_began_again_under_one_lease_goes_on_since_then() {
        let id = ConversationId::parse("c0ffee").unwrap();
        let (conversation, nonce) = (Conversation::new(id.clone()), Nonce::parse("claim").unwrap());
        let held =
            Held { conversation, fence: Fence(1), nonce, inbox: Vec::new(), outbox: Vec::new(), abandoned: false };
        let mut turn = Turn::begin(Rules::default(), held);
        let task = crate::protocol::Task::Clone { url: "https://example.com/one".into() };
        turn.conversation.phase = Phase::Stalled { run: RunId::of(&id, NOW, 1), task };
        let nonce = Nonce::parse("nonce-1").unwrap();
        assert_eq!(turn.commit(Unsaved::default(), false, NOW, nonce).activity, None);
        turn.conversation.phase = Phase::Idle;
        assert_eq!(commit(&mut turn).activity, Some(Activity::Idle), "it was something else meanwhile");
    }

    #[test]
    fn a_receipt_that_overtakes_the_outcome_of_its_message_is_not_lost() {
        let id = ConversationId::parse("c0ffee").unwrap();
        let mut conversation = Conversation::new(id.clone());
        conversation.address = Some(Address { channel: ChannelKind::Twilio, name: "someone".into() });
        let choice = Choice { run: RunId::of(&id, NOW, 1), tree: TreeHash::parse("aa11").unwrap() };
        let say = Say { text: "the diff".into(), choice: Some(choice), ..Say::default() };
        let queued = Queued::new(EffectSeq(1), Effect::Say(say));
        let (nonce, outbox) = (Nonce::parse("claim").unwrap(), vec![queued.clone()]);
        let held = Held { conversation, fence: Fence(1), nonce, inbox: Vec::new(), outbox, abandoned: false };
        let mut turn = Turn::begin(Rules::default(), held);
        let message = MessageId::parse("SM1").unwrap();
        turn.performed(queued, Outcome::Sent { message: message.clone() }, NOW);
        commit(&mut turn);
        let receipt = Receipt::Failed { failure: Failure::Closed };
        turn.committed(Committed::Held {
            inbox: vec![Event::Receipt { effect: Some(EffectSeq(1)), message, receipt }],
        });
        let commit = commit(&mut turn);
        assert_eq!(commit.consumed, 1);
        assert!(commit.conversation.delivery.closed);
        assert_eq!(turn.outbox.len(), 1, "it waits to be sent again");
        assert!(
            !commit.acked.contains(&EffectSeq(1)) || commit.effects.iter().any(|queued| queued.seq == EffectSeq(1))
        );
    }
}
