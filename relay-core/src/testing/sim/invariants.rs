//! What must be true of every history. Each function judges one promise and says how it was broken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::chat::PROMPT;
use super::plan::PAUSE_MAX;
use super::recorder::{Kept, Records};
use super::world::World;
use crate::id::{ConversationId, RunId};
use crate::machine::words::{Pressed, Word};
use crate::machine::{Content, Effect, Event, Message, Phase};
use crate::protocol::{Decision, Task};
use crate::time::Timestamp;

mod inquiries;
mod log;
mod reviews;

type Verdict = Result<(), String>;
type Invariant = (&'static str, fn(&World) -> Verdict);

const ALL: [Invariant; 16] = [
    ("no run is begun twice", no_run_is_begun_twice),
    ("no run is decided twice", no_run_is_decided_twice),
    ("every accepted prompt is carried out once", every_accepted_prompt_is_carried_out_once),
    ("prompts are carried out in the order of their acceptance", prompts_keep_their_order),
    ("nothing happens under a fence that was overtaken", fences_hold),
    ("a call that is carried out twice has the effect of one", repeats_change_nothing),
    ("the chat keeps the order of the outbox", the_chat_keeps_its_order),
    ("every deadline is acted on once, in time", deadlines_are_kept),
    ("only what was shown and answered is decided", answers_mean_what_was_shown),
    ("an inquiry is replied to once, and later ones later", inquiries::replies_count_once),
    ("only what was asked is replied to, with what was said then", inquiries::replies_mean_what_was_asked),
    ("what is asked for on a page is done once, or is said not to be", reviews::revisions_are_asked_for),
    ("a decision leaves only while it is being decided", decisions_do_not_stray),
    ("runs are told of whole, one after the other", log::runs_are_told_whole),
    ("everything is told once", log::everything_is_told_once),
    ("in the end nothing is left to do", nothing_is_left),
];

/// The first invariant that the world broke, and how.
pub(super) fn broken(world: &World) -> Option<(&'static str, String)> {
    ALL.iter().find_map(|(name, judge)| judge(world).err().map(|how| (*name, how)))
}

fn no_run_is_begun_twice(world: &World) -> Verdict {
    let mut runs = BTreeSet::new();
    let mut prompts = BTreeSet::new();
    for begun in &world.history.begun {
        if !runs.insert(&begun.run) {
            return Err(format!("{} was begun twice", begun.run));
        }
        if let Task::Prompt { text, .. } = &begun.task
            && is_prompt(text)
            && !prompts.insert((&begun.conversation, text))
        {
            return Err(format!("{text:?} of {} was carried out twice", begun.conversation));
        }
    }
    Ok(())
}

fn no_run_is_decided_twice(world: &World) -> Verdict {
    let mut runs = BTreeSet::new();
    let twice = world.history.decided.iter().find(|decided| decided.succeeded && !runs.insert(&decided.run));
    twice.map_or(Ok(()), |decided| Err(format!("{}, the second time {:?}", decided.run, decided.decision)))
}

/// The only excuses: the person cancelled or dropped something, was told that the queue is full, or said it to an agent that had
/// asked.
fn every_accepted_prompt_is_carried_out_once(world: &World) -> Verdict {
    let records = world.store.inner().records();
    for person in &world.people {
        let accepted = accepted_prompts(&records, &person.id);
        let carried_out = carried_out_prompts(world, &person.id);
        if let Some(text) = carried_out.iter().find(|text| !accepted.contains(text)) {
            return Err(format!("{}: {text:?} was carried out and never accepted", person.id));
        }
        let said: Vec<&str> = inquiries::replies(&records, &person.id).map(|reply| reply.reply).collect();
        if let Some(text) = carried_out.iter().find(|text| said.contains(&text.as_str())) {
            return Err(format!("{}: {text:?} was carried out, and was a reply as well", person.id));
        }
        let missing: Vec<&String> =
            accepted.iter().filter(|text| !carried_out.contains(text) && !said.contains(&text.as_str())).collect();
        let cancels = messages(&records, &person.id)
            .any(|(message, _)| matches!(word(message), Some(Word::Cancel | Word::Drop(_))));
        let refused = records
            .commits
            .iter()
            .filter(|kept| kept.conversation == person.id)
            .flat_map(|kept| &kept.said)
            .map(|said| said.matches("*not* kept").count())
            .sum::<usize>();
        if !cancels && missing.len() > refused {
            return Err(format!("{}: never carried out: {missing:?}; {refused} refused", person.id));
        }
    }
    Ok(())
}

fn prompts_keep_their_order(world: &World) -> Verdict {
    let records = world.store.inner().records();
    for person in &world.people {
        let accepted = accepted_prompts(&records, &person.id);
        let places: Vec<Option<usize>> = carried_out_prompts(world, &person.id)
            .iter()
            .map(|text| accepted.iter().position(|accepted| accepted == text))
            .collect();
        if !places.is_sorted() {
            return Err(format!("{}: carried out in the order {places:?} of acceptance", person.id));
        }
    }
    Ok(())
}

fn repeats_change_nothing(world: &World) -> Verdict {
    world.store.inner().records().repeated.first().map_or(Ok(()), |how| Err(how.clone()))
}

fn fences_hold(world: &World) -> Verdict {
    if let Some(how) = world.store.inner().records().overtaken.first() {
        return Err(format!("a commit of {how}"));
    }
    let mut highest = BTreeMap::new();
    for call in &world.history.vm_calls {
        let seen = highest.entry(&call.conversation).or_insert(call.fence);
        if call.fence < *seen {
            return Err(format!(
                "{}: the VM acted on {:?} under {} after {}",
                call.conversation, call.effect, call.fence.0, seen.0
            ));
        }
        *seen = call.fence;
    }
    Ok(())
}

/// Only where no node was ever frozen: a node that is frozen between its commit and its call, for longer than its lease,
/// sends afterwards what its successor has sent long ago. A VM refuses that by its fence; a chat provider knows none.
fn the_chat_keeps_its_order(world: &World) -> Verdict {
    if world.totals.pauses > 0 {
        return Ok(());
    }
    let mut latest = BTreeMap::new();
    for heard in world.history.chat.iter().filter(|heard| heard.failure.is_none()) {
        let before = latest.insert(&heard.conversation, heard.seq).unwrap_or_default();
        if heard.seq < before {
            return Err(format!("{}: message {} came after {}", heard.conversation, heard.seq.0, before.0));
        }
    }
    Ok(())
}

/// An unanswered diff is parked after its deadline and soon after it; its warning comes at most once per deadline set.
fn deadlines_are_kept(world: &World) -> Verdict {
    let records = world.store.inner().records();
    let mut before: BTreeMap<&ConversationId, (Option<Timestamp>, bool)> = BTreeMap::new();
    for kept in &records.commits {
        let id = &kept.conversation;
        let (deadline, awaiting) = before.get(id).copied().unwrap_or_default();
        let is_asked_for = matches!(&kept.phase, Phase::Deciding { revision: Some(_), .. });
        let parks = kept.effects.iter().find_map(|queued| match &queued.effect {
            Effect::Decide { run, decision: Decision::Park, .. } if awaiting && !is_asked_for => Some(run),
            _ => None,
        });
        match (parks, deadline) {
            (Some(run), None) => return Err(format!("{run} was parked without a deadline")),
            (Some(run), Some(deadline)) if kept.at < deadline => {
                return Err(format!("{run} was parked at {}, before {deadline}", kept.at));
            }
            (Some(run), Some(deadline)) if kept.at.since(deadline) > world.plan.lateness_max() => {
                return Err(format!("{run} was parked {:?} late", kept.at.since(deadline)));
            }
            _ => {}
        }
        if let Some(set) = kept.approval.filter(|_| kept.approval != deadline) {
            // A node may be frozen between deciding and committing.
            let latest = kept.at + world.plan.rules.approval_timeout;
            if set > latest || latest.since(set) > PAUSE_MAX + Duration::from_secs(1) {
                return Err(format!("{id}: at {} the deadline was set to {set}", kept.at));
            }
        }
        before.insert(id, (kept.approval, matches!(kept.phase, Phase::AwaitingApproval(_))));
    }
    warnings_come_once(&records.commits)
}

fn warnings_come_once(commits: &[Kept]) -> Verdict {
    let mut armed: BTreeMap<&ConversationId, (Option<Timestamp>, usize)> = BTreeMap::new();
    for kept in commits {
        let state = armed.entry(&kept.conversation).or_default();
        let warnings = kept.said.iter().map(|said| said.matches("still waits for your *approve*").count());
        state.1 += warnings.sum::<usize>();
        if state.1 > 1 {
            return Err(format!("{}: warned {} times of one deadline", kept.conversation, state.1));
        }
        if kept.approval != state.0 {
            *state = (kept.approval, 0);
        }
    }
    Ok(())
}

/// What a VM approved or rolled back was handed to the person before a message that says so was accepted.
fn answers_mean_what_was_shown(world: &World) -> Verdict {
    let records = world.store.inner().records();
    for decided in world.history.decided.iter().filter(|decided| decided.decision != Decision::Park) {
        let shown_at = world.history.chat.iter().find_map(|heard| {
            let choice = heard.choice.as_ref()?;
            (choice.run == decided.run && choice.tree == decided.tree).then_some(heard.at)
        });
        let Some(shown_at) = shown_at else {
            return Err(format!("{:?} of {}, which was never shown", decided.decision, decided.run));
        };
        let answered = messages(&records, &decided.conversation).any(|(message, at)| {
            (shown_at..=decided.at).contains(&at) && says(message, decided.decision, &decided.run)
        });
        if !answered && !reviews::says(&records, decided, shown_at) {
            let (decision, run) = (decided.decision, &decided.run);
            return Err(format!(
                "{decision:?} of {run} was carried out; nobody said so after it was shown at {shown_at}"
            ));
        }
    }
    Ok(())
}

/// What comes late decides nothing.
fn says(message: &Message, decision: Decision, decided: &RunId) -> bool {
    if message.sent_at.is_some() {
        return false;
    }
    let typed = match decision {
        Decision::Approve => Word::Approve,
        Decision::Reject | Decision::Park => Word::Reject,
    };
    match &message.content {
        Content::Button { payload } => matches!(
            Pressed::parse(payload),
            Some(Pressed::Decision { decision: pressed, run, .. }) if pressed == decision && run == *decided
        ),
        _ => word(message) == Some(typed),
    }
}

fn decisions_do_not_stray(world: &World) -> Verdict {
    world.history.stray.first().map_or(Ok(()), |how| Err(how.clone()))
}

fn nothing_is_left(world: &World) -> Verdict {
    if world.is_at_rest() {
        return Ok(());
    }
    Err(world.leftovers().unwrap_or_else(|| "the world never came to rest".to_owned()))
}

/// Messages of a conversation in the order of its inbox, with the instant of their acceptance.
fn messages<'a>(records: &'a Records, id: &'a ConversationId) -> impl Iterator<Item = (&'a Message, Timestamp)> {
    records.accepted.iter().filter(move |accepted| accepted.conversation == *id).filter_map(|accepted| match &accepted
        .event
    {
        Event::Message(message) => Some((message, accepted.at)),
        _ => None,
    })
}

fn word(message: &Message) -> Option<Word> {
    match &message.content {
        Content::Text { text } => Word::parse(text),
        _ => None,
    }
}

/// What people ask for by themselves, each once. A reply for which nobody waits is a task as well, and may be said twice.
fn is_prompt(text: &str) -> bool {
    text.starts_with(PROMPT)
}

fn accepted_prompts(records: &Records, id: &ConversationId) -> Vec<String> {
    let prompt = |message: &Message| match &message.content {
        Content::Text { text } if is_prompt(text) => Some(text.clone()),
        _ => None,
    };
    messages(records, id).filter_map(|(message, _)| prompt(message)).collect()
}

fn carried_out_prompts(world: &World, id: &ConversationId) -> Vec<String> {
    let of_conversation = world.history.begun.iter().filter(|begun| begun.conversation == *id);
    of_conversation
        .filter_map(|begun| match &begun.task {
            Task::Prompt { text, .. } if is_prompt(text) => Some(text.clone()),
            _ => None,
        })
        .collect()
}
