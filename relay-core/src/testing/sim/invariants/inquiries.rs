//! What must be true of what agents ask and people reply.

use std::collections::BTreeMap;

use super::{Verdict, messages};
use crate::id::{ConversationId, RunId};
use crate::machine::words::Pressed;
use crate::machine::{Asked, Content, Effect, Event, Message, Receipt};
use crate::testing::sim::history::Heard;
use crate::testing::sim::recorder::Records;
use crate::testing::sim::world::World;
use crate::time::Timestamp;

/// A reply that was asked for.
pub(super) struct Reply<'a> {
    run: &'a RunId,
    number: u32,
    pub(super) reply: &'a str,
    at: Timestamp,
}

/// All replies of a person, in the order of the commits that asked for them.
pub(super) fn replies<'a>(records: &'a Records, id: &'a ConversationId) -> impl Iterator<Item = Reply<'a>> {
    let commits = records.commits.iter().filter(move |kept| kept.conversation == *id);
    commits.flat_map(|kept| {
        kept.effects.iter().filter_map(|queued| match &queued.effect {
            Effect::Reply { run, number, reply } => Some(Reply { run, number: *number, reply, at: kept.at }),
            _ => None,
        })
    })
}

/// Of those that a relay asks for, and of those that reach an agent.
pub(super) fn replies_count_once(world: &World) -> Verdict {
    let records = world.store.inner().records();
    let asked_for = world.people.iter().flat_map(|person| replies(&records, &person.id));
    in_order(asked_for.map(|reply| (reply.run, reply.number)))?;
    in_order(world.history.replied.iter().map(|replied| (&replied.run, replied.number)))?;
    for replied in &world.history.replied {
        let is_it = |reply: Reply<'_>| {
            (reply.run, reply.number, reply.reply) == (&replied.run, replied.number, replied.reply.as_str())
        };
        if !world.people.iter().any(|person| replies(&records, &person.id).any(is_it)) {
            return Err(format!("nobody asked for {replied:?}"));
        }
    }
    Ok(())
}

fn in_order<'a>(replies: impl Iterator<Item = (&'a RunId, u32)>) -> Verdict {
    let mut latest = BTreeMap::new();
    for (run, number) in replies {
        let before = latest.insert(run, number).unwrap_or_default();
        if number <= before {
            return Err(format!("inquiry {number} of {run} was replied to after {before}"));
        }
    }
    Ok(())
}

/// What an agent is handed was said by the person while its inquiry was with them: by the button of that inquiry, or typed. A
/// webhook does not tell when a message was written, so that what counts is when it was accepted. A message that failed counts as
/// being with them until its failure was accepted, too.
pub(super) fn replies_mean_what_was_asked(world: &World) -> Verdict {
    let records = world.store.inner().records();
    for person in &world.people {
        for Reply { run, number, reply, at } in replies(&records, &person.id) {
            let is_said = world.history.chat.iter().filter(|heard| heard.conversation == person.id).any(|heard| {
                let Some(asked) = heard.asked.as_ref().filter(|asked| asked.run == *run && asked.number == number)
                else {
                    return false;
                };
                let until = failed_at(&records, heard).map_or(at, |failed_at| failed_at.min(at));
                messages(&records, &person.id)
                    .any(|(message, said_at)| heard.at <= said_at && said_at <= until && says(message, asked, reply))
            });
            if !is_said {
                return Err(format!("{reply:?} to {number} of {run} at {at}: nobody said so while it was with them"));
            }
        }
    }
    Ok(())
}

/// When a relay accepted that a message has failed.
fn failed_at(records: &Records, heard: &Heard) -> Option<Timestamp> {
    records.accepted.iter().find_map(|accepted| match &accepted.event {
        Event::Receipt { message, receipt: Receipt::Failed { .. }, .. } if *message == heard.message => {
            Some(accepted.at)
        }
        _ => None,
    })
}

fn says(message: &Message, asked: &Asked, reply: &str) -> bool {
    let is_label =
        |number: usize| number.checked_sub(1).and_then(|at| asked.labels.get(at)).is_some_and(|l| l == reply);
    match &message.content {
        Content::Button { payload } => matches!(
            Pressed::parse(payload),
            Some(Pressed::Reply { run, number, option })
                if run == asked.run && number == asked.number && is_label(option)
        ),
        Content::Text { text } if message.sent_at.is_none() => {
            text.eq_ignore_ascii_case(reply) || text.parse().is_ok_and(is_label)
        }
        _ => false,
    }
}
