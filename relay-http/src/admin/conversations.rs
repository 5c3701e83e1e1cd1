//! What goes on in conversations, without what is said in them.

use relay_core::machine::{Conversation, Phase};
use relay_core::store::{Overview, Stats, Store, StoreError};
use relay_core::time::{Timestamp, humane};
use serde::Serialize;

use super::table::table;
use crate::clock;

/// Conversations, and counts over everything.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    stats: Stats,
    conversations: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Entry {
    #[serde(flatten)]
    overview: Overview,
    phase: &'static str,
}

impl Listing {
    pub(super) async fn read(store: &dyn Store, limit: usize) -> Result<Self, StoreError> {
        let stats = store.stats(clock::now()).await?;
        let mut conversations = Vec::new();
        for id in store.conversations(limit).await? {
            // One that was there a moment ago.
            let Some(overview) = store.overview(&id).await? else { continue };
            let phase = match store.conversation(&id).await {
                Ok(state) => state.as_ref().map_or("new", phase),
                Err(StoreError::Unreadable(_)) => "unreadable",
                Err(error) => return Err(error),
            };
            conversations.push(Entry { overview, phase });
        }
        Ok(Self { stats, conversations })
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data with text keys") + "\n"
    }

    pub(super) fn text(&self, now: Timestamp) -> String {
        let Stats { conversations, held, due, inbox, outbox, dead_letters } = self.stats;
        let rows: Vec<_> = self
            .conversations
            .iter()
            .map(|Entry { overview, phase }| {
                [
                    overview.conversation.to_string(),
                    (*phase).to_owned(),
                    overview.holder.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                    when(overview.due_at, now),
                    overview.inbox.to_string(),
                    overview.outbox.to_string(),
                ]
            })
            .collect();
        format!(
            "{conversations} conversations, {held} held, {due} due; {inbox} events and {outbox} effects wait; \
             {dead_letters} dead letters\n\n{}",
            table(["CONVERSATION", "PHASE", "HOLDER", "DUE", "INBOX", "OUTBOX"], &rows)
        )
    }
}

/// The state of one conversation. What people wrote, and where they are reached, only with `bodies`.
pub(super) fn show(overview: &Overview, state: Option<&Conversation>, bodies: bool, now: Timestamp) -> String {
    let mut lines = vec![
        ("conversation", overview.conversation.to_string()),
        ("phase", state.map_or("new", phase).to_owned()),
        ("holder", overview.holder.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string)),
        ("fence", overview.fence.0.to_string()),
        (if overview.holder.is_some() { "lease ends" } else { "due" }, when(overview.due_at, now)),
        ("inbox", format!("{} events", overview.inbox)),
        ("outbox", format!("{} effects", overview.outbox)),
    ];
    if let Some(state) = state {
        lines.push(("run", state.run().map_or_else(|| "none".to_owned(), ToString::to_string)));
        lines.push(("runs so far", state.runs.to_string()));
        lines.push(("queue", format!("{} tasks", state.queue.len())));
        for (timer, at) in &state.timers {
            lines.push(("timer", format!("{timer:?}, due {}", when(Some(*at), now))));
        }
        for (lane, retry) in &state.retries {
            let (effect, attempts) = (retry.effect.0, retry.attempts);
            let next = when(Some(retry.next_at), now);
            lines.push(("retry", format!("{lane:?}: effect {effect}, {attempts} tries so far, next {next}")));
        }
        if let Some(waking) = &state.waking {
            lines.push(("VM", format!("called in vain for {}", humane(now.since(waking.since)))));
        }
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text: String = lines.into_iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect();
    if let (true, Some(state)) = (bodies, state) {
        text.push('\n');
        text.push_str(&serde_json::to_string_pretty(state).expect("plain data with text keys"));
        text.push('\n');
    }
    text
}

fn phase(conversation: &Conversation) -> &'static str {
    match conversation.phase {
        Phase::Idle => "idle",
        Phase::Starting { .. } => "starting",
        Phase::Stalled { .. } => "stalled",
        Phase::Working { .. } => "working",
        Phase::AwaitingApproval(_) => "awaiting approval",
        Phase::Deciding { .. } => "deciding",
        Phase::Cancelling { .. } => "cancelling",
    }
}

fn when(at: Option<Timestamp>, now: Timestamp) -> String {
    match at {
        None => "-".to_owned(),
        Some(at) if at > now => format!("in {}", humane(at.since(now))),
        Some(at) => format!("for {}", humane(now.since(at))),
    }
}
