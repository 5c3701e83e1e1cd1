//! What must be true of what whoever looks on is told.

use std::collections::BTreeSet;

use futures::executor::block_on;

use super::Verdict as Judged;
use crate::id::{ConversationId, RunId};
use crate::machine::Verdict::{Approve, Changes, Reject};
use crate::machine::{Content, Event, LogEntry, LogWhat, Message};
use crate::store::{LOG_MAX, Store};
use crate::testing::sim::recorder::Records;
use crate::testing::sim::world::World;

fn told<'a>(records: &'a Records, id: &'a ConversationId) -> impl Iterator<Item = &'a LogEntry> {
    records.commits.iter().filter(move |kept| kept.conversation == *id).flat_map(|kept| &kept.log)
}

/// What a person wrote or pressed, in the chat or on the page of a diff.
fn asked_for<'a>(records: &'a Records, id: &'a ConversationId) -> impl Iterator<Item = &'a Event> {
    let accepted = records.accepted.iter().filter(move |accepted| accepted.conversation == *id);
    accepted.map(|accepted| &accepted.event).filter(|event| matches!(event, Event::Message(_) | Event::Reviewed { .. }))
}

/// Each run that was begun is told of from its beginning to its one end, and one after the other.
pub(super) fn runs_are_told_whole(world: &World) -> Judged {
    let records = world.store.inner().records();
    for person in &world.people {
        let (mut begun, mut current): (BTreeSet<&RunId>, Option<&RunId>) = (BTreeSet::new(), None);
        for entry in told(&records, &person.id) {
            let is_in_order = match &entry.what {
                LogWhat::Begun { .. } => {
                    let run = entry.run.as_ref();
                    current.is_none()
                        && std::mem::replace(&mut current, run).is_none()
                        && run.is_some_and(|run| begun.insert(run))
                }
                LogWhat::Ended { .. } => current.is_some() && current.take() == entry.run.as_ref(),
                _ => entry.run.is_none() || entry.run.as_ref() == current,
            };
            if !is_in_order {
                return Err(format!("{}: {entry:?} was told after {current:?}", person.id));
            }
        }
        let missing = world.history.begun.iter().find(|run| run.conversation == person.id && !begun.contains(&run.run));
        match (missing, current) {
            (None, None) => {}
            (Some(run), _) => return Err(format!("{} was begun, and nobody was told", run.run)),
            (_, Some(run)) => return Err(format!("{run} has not ended, as far as was told")),
        }
    }
    Ok(())
}

/// However often relays die and calls are carried out again, whatever people ask for, and each committed entry, is told once.
pub(super) fn everything_is_told_once(world: &World) -> Judged {
    let records = world.store.inner().records();
    for person in &world.people {
        let asked: Vec<&String> = told(&records, &person.id)
            .filter_map(|entry| match &entry.what {
                LogWhat::Asked { text } => Some(text),
                _ => None,
            })
            .collect();
        let accepted: Vec<&Event> = asked_for(&records, &person.id).collect();
        let is_told = |(text, event): (&&String, &&Event)| match event {
            Event::Message(Message { content: Content::Text { text: accepted }, .. })
            | Event::Reviewed { verdict: Changes { text: accepted }, .. } => *text == accepted,
            Event::Reviewed { verdict: Approve, .. } => *text == "approve",
            Event::Reviewed { verdict: Reject, .. } => *text == "reject",
            _ => true,
        };
        if asked.len() != accepted.len() || !asked.iter().zip(&accepted).all(is_told) {
            return Err(format!("{}: accepted {accepted:?}, told {asked:?}", person.id));
        }
        let stored =
            block_on(world.store.inner().log(&person.id, 0, LOG_MAX)).expect("the store below the faults is well");
        let committed: Vec<&LogEntry> = told(&records, &person.id).collect();
        let kept = &committed[committed.len() - stored.len().min(committed.len())..];
        if stored.len() < committed.len().min(LOG_MAX)
            || !stored.iter().map(|logged| &logged.entry).eq(kept.iter().copied())
        {
            return Err(format!(
                "{}: {} entries were committed, {} are stored",
                person.id,
                committed.len(),
                stored.len()
            ));
        }
    }
    Ok(())
}
