//! What whoever looks on is told, against what really happened.

use std::collections::BTreeSet;

use proptest::prelude::*;
use relay_core::id::RunId;
use relay_core::machine::log::LOG_TEXT_CHARS_MAX;
use relay_core::machine::shape::LINK_UNITS_MAX;
use relay_core::machine::{Conversation, Event, LogWhat, Rules, Say, Transition, split};
use relay_core::store::LOG_KEEP;
use relay_core::time::Timestamp;

/// What was told so far.
#[derive(Default)]
pub(super) struct Told {
    begun: BTreeSet<RunId>,
    current: Option<RunId>,
}

impl Told {
    /// Runs are told of one after the other, each from its beginning to its one end, and as it is; a message is told once.
    pub(super) fn judge(
        &mut self,
        event: &Event,
        before: &Conversation,
        transition: &Transition,
    ) -> Result<(), TestCaseError> {
        for entry in &transition.log {
            match &entry.what {
                LogWhat::Begun { .. } => {
                    let run = entry.run.clone().expect("a run has a name");
                    prop_assert!(self.current.is_none(), "{} began during {:?}", run, self.current);
                    prop_assert!(self.begun.insert(run.clone()), "{} began twice", run);
                    self.current = Some(run);
                }
                LogWhat::Ended { ending } => {
                    let run = self.current.take();
                    prop_assert_eq!(&entry.run, &run, "only what goes on ends");
                    let ended = run.as_ref().and_then(|run| transition.conversation.ending(run));
                    prop_assert_eq!(ended, Some(ending));
                }
                _ => {
                    prop_assert!(entry.run.is_none() || entry.run == self.current, "{:?} in {:?}", entry, self.current)
                }
            }
            let chars = serde_json::to_string(entry).expect("plain data").chars().count();
            prop_assert!(chars < 2 * LOG_TEXT_CHARS_MAX, "{:?} is too long", entry);
        }
        prop_assert_eq!(self.current.as_ref(), transition.conversation.run(), "what goes on was told");
        let count = |is_it: fn(&LogWhat) -> bool| transition.log.iter().filter(|entry| is_it(&entry.what)).count();
        let is_of_person = matches!(event, Event::Message(_) | Event::Reviewed { .. });
        prop_assert_eq!(count(|what| matches!(what, LogWhat::Asked { .. })), usize::from(is_of_person));
        let begun = transition.conversation.runs - before.runs;
        prop_assert_eq!(count(|what| matches!(what, LogWhat::Begun { .. })) as u64, begun);
        Ok(())
    }

    /// A message leads to a run that was begun, has room for its address, and what that opens is not kept for longer.
    pub(super) fn judge_link(
        &self,
        say: &Say,
        conversation: &Conversation,
        now: Timestamp,
        rules: &Rules,
    ) -> Result<(), TestCaseError> {
        let (Some(link), Some(address)) = (&say.follow, &conversation.address) else { return Ok(()) };
        prop_assert!(self.begun.contains(&link.run), "{:?} leads to nothing", say);
        prop_assert!(link.expires_at <= now + LOG_KEEP, "{:?} is good for too long", say);
        let units_max = rules.capabilities(address.channel).text_units_max;
        prop_assert!(split::units(&say.text) + LINK_UNITS_MAX <= units_max, "no room in {:?}", say);
        prop_assert!(say.choice.is_none() && say.asked.is_none(), "{:?} asks for something else", say);
        Ok(())
    }
}
