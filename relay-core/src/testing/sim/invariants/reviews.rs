//! What must be true of what people answer on the page of a diff.

use std::collections::BTreeMap;

use super::{Verdict as Judged, messages, word};
use crate::id::{ConversationId, RunId};
use crate::machine::words::Word;
use crate::machine::{Event, Verdict};
use crate::protocol::{Decision, Task};
use crate::testing::sim::history::Decided;
use crate::testing::sim::recorder::Records;
use crate::testing::sim::world::World;
use crate::time::Timestamp;

/// Whether the page said so, between these two instants.
pub(super) fn says(records: &Records, decided: &Decided, shown_at: Timestamp) -> bool {
    records.accepted.iter().any(|accepted| match &accepted.event {
        Event::Reviewed { run, tree, verdict, .. } => {
            let same = (run, tree) == (&decided.run, &decided.tree);
            let means = match verdict {
                Verdict::Approve => Decision::Approve,
                Verdict::Reject => Decision::Reject,
                Verdict::Changes { .. } => Decision::Park,
            };
            same && means == decided.decision && (shown_at..=decided.at).contains(&accepted.at)
        }
        _ => false,
    })
}

/// Whatever a person asks for on a page, the agent goes on with once, upon the parked work; or the person is told that it does not.
/// Who cancels may have cancelled that.
pub(super) fn revisions_are_asked_for(world: &World) -> Judged {
    let records = world.store.inner().records();
    let mut begun: BTreeMap<&RunId, &str> = BTreeMap::new();
    for run in &world.history.begun {
        let Task::Revise { parked, text } = &run.task else { continue };
        if begun.insert(parked, text).is_some() {
            return Err(format!("{parked} was revised twice"));
        }
        let is_parked = |decided: &&Decided| decided.run == *parked && decided.decision == Decision::Park;
        if !world.history.decided.iter().any(|decided| is_parked(&decided) && decided.succeeded) {
            return Err(format!("{parked} was revised and never parked"));
        }
    }
    for person in &world.people {
        let asked: BTreeMap<&RunId, &str> = asked_for(&records, &person.id).collect();
        let mut own = begun.iter().filter(|(run, _)| run.as_str().starts_with(person.id.as_str()));
        if let Some((run, text)) = own.find(|(run, text)| asked.get(**run) != Some(*text)) {
            return Err(format!("{run} was revised with {text:?}, which nobody asked for"));
        }
        let missing = asked.keys().filter(|run| !begun.contains_key(**run)).count();
        let told = records.commits.iter().filter(|kept| kept.conversation == person.id).flat_map(|kept| &kept.said);
        let told: usize = told
            .map(|said| said.matches("came too late").count() + said.matches("did not reach the agent").count())
            .sum();
        let cancels = messages(&records, &person.id).any(|(message, _)| matches!(word(message), Some(Word::Cancel)));
        if !cancels && missing > told {
            return Err(format!("{}: {missing} revisions never came, {told} were told", person.id));
        }
    }
    Ok(())
}

fn asked_for<'a>(records: &'a Records, id: &'a ConversationId) -> impl Iterator<Item = (&'a RunId, &'a str)> {
    let accepted = records.accepted.iter().filter(move |accepted| accepted.conversation == *id);
    accepted.filter_map(|accepted| match &accepted.event {
        Event::Reviewed { run, verdict: Verdict::Changes { text }, .. } => Some((run, text.as_str())),
        _ => None,
    })
}
