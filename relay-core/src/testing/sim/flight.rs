//! Effects on their way: each leaves a node, may be lost, arrives at its receiver, and its answer may be lost in turn.

use std::time::Duration;

use super::node::NodeWork;
use super::story;
use super::world::{Happening, World};
use crate::machine::effect::Lane;
use crate::machine::{Effect, Outcome, Phase};
use crate::time::Timestamp;
use crate::turn::Performance;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) node: usize,
    pub(super) life: u64,
    pub(super) turn: u64,
    pub(super) who: usize,
    pub(super) performance: Performance,
    /// When the node stops to wait.
    pub(super) until: Timestamp,
    /// Whether the answer will be lost.
    pub(super) reply_is_lost: bool,
}

impl World {
    pub(super) fn depart(&mut self, node: usize, turn: u64, performance: Performance) {
        self.totals.effects += 1;
        if let Effect::Decide { run, decision, .. } = &performance.queued.effect
            && !matches!(
                &performance.conversation.phase,
                Phase::Deciding { pending, decision: current, .. } if pending.run == *run && current == decision
            )
        {
            let phase = story::phase(&performance.conversation.phase);
            self.history.stray.push(format!("{decision:?} of {run} left while the conversation was {phase}"));
        }
        self.note(|_| {
            let Performance { queued, attempt, fence, .. } = &performance;
            format!(
                "node {node}: sends {} {} attempt {attempt} fence {}",
                queued.seq.0,
                story::brief(&queued.effect),
                fence.0
            )
        });
        let timeout = performance.queued.effect.timeout(performance.attempt);
        let until = self.now + timeout;
        let (life, loss) = (self.nodes[node].life, self.plan.loss_percent);
        let who = self.who(&performance.conversation.id);
        if self.mishap(loss) {
            // Lost on the way, or refused by a machine that is not there.
            let waited = if self.percent(20) { Duration::ZERO } else { timeout };
            let outcome = no_answer(waited);
            let work = NodeWork::Reply { turn, queued: performance.queued, outcome };
            return self.node_at(self.now + waited, (node, life), work);
        }
        let reply_is_lost = self.mishap(loss);
        let slow = self.mishap(10);
        let most = if slow { timeout } else { timeout / 20 };
        let delay = self.between(Duration::from_millis(1), most);
        let flight = Flight { node, life, turn, who, performance, until, reply_is_lost };
        self.after(delay, Happening::Arrives(Box::new(flight)));
    }

    pub(super) fn arrives(&mut self, flight: Flight) {
        let queued = flight.performance.queued.clone();
        let outcome = match queued.effect.lane() {
            Lane::Chat => self.provider_takes(&flight),
            Lane::Vm | Lane::Stop => self.vm_takes(&flight),
            Lane::Files => Some(Outcome::Done),
        };
        let Flight { node, life, turn, until, reply_is_lost, performance, .. } = flight;
        self.note(|_| format!("{} arrived: {outcome:?}", queued.seq.0));
        let delay = self.between(Duration::from_millis(1), Duration::from_millis(400));
        let back_at = self.now + delay;
        let (at, outcome) = match outcome {
            Some(outcome) if !reply_is_lost && back_at <= until => (back_at, outcome),
            _ => (until, no_answer(queued.effect.timeout(performance.attempt))),
        };
        self.node_at(at, (node, life), NodeWork::Reply { turn, queued, outcome });
    }
}

fn no_answer(waited: Duration) -> Outcome {
    Outcome::no_answer(waited)
}
