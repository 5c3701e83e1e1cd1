//! The deadlines that this relay has set itself: it acts on them exactly, at no cost, while others are content to find them
//! in the store a little later.

use std::collections::{BTreeSet, HashMap};

use relay_core::id::ConversationId;
use relay_core::time::Timestamp;

/// What a conversation was released with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    pub(super) conversation: ConversationId,
    /// When it is due; `None` when nothing is to happen by itself.
    pub(super) at: Option<Timestamp>,
}

/// The latest deadline of each conversation that was released here.
#[derive(Debug, Default)]
pub(super) struct Timers {
    of: HashMap<ConversationId, Timestamp>,
    ordered: BTreeSet<(Timestamp, ConversationId)>,
}

/// Deadlines kept at most; those beyond are found in the store.
const TIMERS_MAX: usize = 20_000;

impl Timers {
    /// Take this in instead of what was said of the conversation before.
    pub(super) fn set(&mut self, deadline: Deadline) {
        let Deadline { conversation, at } = deadline;
        if let Some(before) = self.of.remove(&conversation) {
            self.ordered.remove(&(before, conversation.clone()));
        }
        if let Some(at) = at.filter(|_| self.of.len() < TIMERS_MAX) {
            self.of.insert(conversation.clone(), at);
            self.ordered.insert((at, conversation));
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.ordered.first().map(|(at, _)| *at)
    }

    /// The conversations that are due at `now`, the longest overdue first. They are forgotten here.
    pub(super) fn take_due(&mut self, now: Timestamp, limit: usize) -> Vec<ConversationId> {
        let mut due = Vec::new();
        while due.len() < limit && self.next().is_some_and(|at| at <= now) {
            let Some((_, conversation)) = self.ordered.pop_first() else { break };
            self.of.remove(&conversation);
            due.push(conversation);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(conversation: &str, at: Option<u64>) -> Deadline {
        Deadline { conversation: ConversationId::parse(conversation).unwrap(), at: at.map(Timestamp) }
    }

    #[test]
    fn the_latest_word_on_a_conversation_counts() {
        let mut timers = Timers::default();
        for (conversation, at) in [("a", Some(10)), ("b", Some(20)), ("c", Some(30)), ("a", Some(25)), ("b", None)] {
            timers.set(deadline(conversation, at));
        }
        assert_eq!(timers.next(), Some(Timestamp(25)));
        assert!(timers.take_due(Timestamp(24), 9).is_empty());
        let due: Vec<_> = timers.take_due(Timestamp(30), 9).iter().map(|id| id.as_str().to_owned()).collect();
        assert_eq!(due, ["a", "c"]);
        assert_eq!(timers.next(), None);
        assert!(timers.of.is_empty() && timers.ordered.is_empty());
    }

    #[test]
    fn a_batch_leaves_the_rest_for_the_next() {
        let mut timers = Timers::default();
        (0..5).for_each(|n| timers.set(deadline(&format!("c{n}"), Some(n))));
        assert_eq!(timers.take_due(Timestamp(9), 3).len(), 3);
        assert_eq!(timers.take_due(Timestamp(9), 3).len(), 2);
    }
}
