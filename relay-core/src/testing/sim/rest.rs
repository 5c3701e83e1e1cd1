//! From the moment when nothing breaks any more until nothing is left to do.

use std::time::Duration;

use futures::executor::block_on;

use super::node::NodeWork;
use super::vm::Vm;
use super::world::{Happening, World};
use crate::id::ConversationId;
use crate::machine::{Content, Conversation, Effect, Phase};
use crate::store::Store;

/// Once nothing breaks any more, this often somebody looks whether the world is at rest.
const TICK: Duration = Duration::from_secs(10);

impl World {
    pub(super) fn peace(&mut self) {
        self.note(|_| "peace".to_owned());
        self.peace = true;
        self.store.heal();
        for vm in &mut self.vms {
            vm.away_until = self.now;
        }
        // What the provider refused is put back, once, by an operator.
        for letter in block_on(self.store.dead_letters(1_000)).expect("healed") {
            // A warning would be out of date by now.
            if matches!(&letter.effect, Effect::Say(say) if say.text.contains('⏰')) {
                continue;
            }
            block_on(self.store.redrive(letter.letter, self.now)).expect("healed");
        }
        self.after(TICK, Happening::Tick);
    }

    pub(super) fn tick(&mut self) {
        for who in 0..self.people.len() {
            let waits = matches!(
                self.conversation(&self.people[who].id)
                    .map(|conversation| (conversation.phase, conversation.delivery.closed)),
                Some((Phase::Stalled { .. } | Phase::Cancelling { unreachable: true, .. }, _) | (_, true))
            );
            // A person who waits in vain writes again.
            if waits {
                self.writes(who, Content::Text { text: "status".into() });
            }
        }
        let routine = |happening: &Happening| match happening {
            Happening::Node { work, .. } => matches!(**work, NodeWork::Sweep | NodeWork::Timer(_)),
            _ => false,
        };
        if self.queue.values().all(routine) && self.leftovers().is_none() {
            self.at_rest = true;
        } else {
            self.after(TICK, Happening::Tick);
        }
    }

    /// What is not as it should be in a world at rest.
    pub(super) fn leftovers(&self) -> Option<String> {
        let stats = block_on(self.store.inner().stats(self.now)).expect("the store below the faults is well");
        if stats.inbox + stats.outbox + stats.held + stats.due > 0 {
            return Some(format!("{stats:?}"));
        }
        let busy = self.people.iter().filter_map(|person| {
            let Conversation { phase, inquiry, .. } = self.conversation(&person.id)?;
            (phase != Phase::Idle || inquiry.is_some()).then(|| format!("{} is in {phase:?}, {inquiry:?}", person.id))
        });
        let turns = self.nodes.iter().filter(|node| !node.turns.is_empty()).map(|_| "a turn goes on".to_owned());
        let vms = self.vms.iter().filter_map(Vm::unfinished);
        busy.chain(turns).chain(vms).next()
    }

    pub(super) fn is_at_rest(&self) -> bool {
        self.at_rest
    }

    fn conversation(&self, id: &ConversationId) -> Option<Conversation> {
        block_on(self.store.conversation(id)).expect("reading does not fail")
    }
}
