//! Dead letters: seen, and put back.

use anyhow::bail;
use relay_core::id::ConversationId;
use relay_core::machine::Effect;
use relay_core::store::{DeadLetter, Store};
use relay_core::time::{Timestamp, humane};
use serde::Serialize;

use super::table::table;
use super::{Report, explain};
use crate::clock;
use crate::worker::kind;

/// Letters put back by one command.
const REDRIVEN_MAX: usize = 10_000;

#[derive(Serialize)]
struct Entry<'a> {
    letter: u64,
    conversation: &'a ConversationId,
    kind: &'static str,
    reason: &'a str,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<&'a Effect>,
}

pub(super) fn json(letters: &[DeadLetter], bodies: bool) -> String {
    let entries: Vec<_> = letters
        .iter()
        .map(|DeadLetter { letter, conversation, effect, reason, at }| Entry {
            letter: *letter,
            conversation,
            kind: kind(effect),
            reason,
            at: *at,
            effect: bodies.then_some(effect),
        })
        .collect();
    serde_json::to_string_pretty(&entries).expect("plain data with text keys") + "\n"
}

pub(super) fn text(letters: &[DeadLetter], bodies: bool, now: Timestamp) -> String {
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let rows: Vec<_> = letters
        .iter()
        .map(|letter| {
            [
                letter.letter.to_string(),
                letter.conversation.to_string(),
                kind(&letter.effect).to_owned(),
                humane(now.since(letter.at)),
                letter.reason.clone(),
            ]
        })
        .collect();
    let mut text = table(["LETTER", "CONVERSATION", "EFFECT", "AGE", "REASON"], &rows);
    if bodies {
        for letter in letters {
            let effect = serde_json::to_string_pretty(&letter.effect).expect("plain data with text keys");
            text.push_str(&format!("\n{}: {effect}\n", letter.letter));
        }
    }
    text
}

/// Put one letter back or, without a number, all that there are now.
pub(super) async fn redrive(store: &dyn Store, letter: Option<u64>) -> anyhow::Result<Report> {
    let letters = match letter {
        Some(letter) => vec![letter],
        None => {
            let all = store.dead_letters(REDRIVEN_MAX).await.map_err(explain)?;
            all.iter().map(|letter| letter.letter).collect()
        }
    };
    let mut redriven = 0;
    for letter in &letters {
        redriven += u64::from(store.redrive(*letter, clock::now()).await.map_err(explain)?);
    }
    if let (Some(letter), 0) = (letter, redriven) {
        bail!("there is no dead letter {letter}");
    }
    Ok(Report::of(format!("{redriven} put back\n")))
}
