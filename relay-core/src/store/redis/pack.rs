//! How things are written in Redis, and read back: whatever does not read is [`StoreError::Unreadable`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::scripts::Taken;
use crate::id::{ConversationId, EffectSeq, Nonce};
use crate::machine::effect::Kept;
use crate::machine::{Conversation, Dead, Effect, Event, Queued};
use crate::protocol::Report;
use crate::store::{DeadLetter, Held, Logged, StoreError};
use crate::time::Timestamp;

/// What a VM published stands in the inbox behind this mark, as it came.
const REPORT_MARK: char = 'r';

/// A dead letter as it is stored; its number stands before it.
#[derive(Serialize, Deserialize)]
pub(super) struct Letter {
    conversation: ConversationId,
    effect: Effect,
    reason: String,
    at: Timestamp,
}

impl Letter {
    pub(super) fn new(conversation: &ConversationId, dead: &Dead, at: Timestamp) -> Self {
        let Dead { effect, reason } = dead.clone();
        Self { conversation: conversation.clone(), effect, reason, at }
    }
}

/// `number:letter`
pub(super) fn letter(member: &str) -> Result<DeadLetter, StoreError> {
    let (number, letter) = member.split_once(':').ok_or_else(|| unreadable("a dead letter without a number"))?;
    let Letter { conversation, effect, reason, at } = decode(letter)?;
    let letter = number.parse().map_err(|_| unreadable("a dead letter without a number"))?;
    Ok(DeadLetter { letter, conversation, effect, reason, at })
}

/// An entry of a log: `instant:entry`
pub(super) fn logged(cursor: u64, packed: &str) -> Result<Logged, StoreError> {
    let (at, entry) = packed.split_once(':').ok_or_else(|| unreadable("an entry of a log without an instant"))?;
    let at = at.parse().map_err(|_| unreadable("an entry of a log without an instant"))?;
    Ok(Logged { cursor, at: Timestamp(at), entry: decode(entry)? })
}

pub(super) fn held(id: &ConversationId, taken: Taken, nonce: Nonce) -> Result<Held, StoreError> {
    let conversation = match taken.state.as_str() {
        "" => Conversation::new(id.clone()),
        state => decode(state)?,
    };
    Ok(Held {
        conversation,
        fence: taken.fence,
        nonce,
        inbox: events(id, &taken.events)?,
        outbox: outbox(&taken.outbox)?,
        abandoned: taken.abandoned,
    })
}

pub(super) fn events(id: &ConversationId, packed: &[String]) -> Result<Vec<Event>, StoreError> {
    packed.iter().map(|packed| event(id, packed)).collect()
}

/// An event, or what a VM published: whoever may write for one conversation may still write anything at all there.
fn event(id: &ConversationId, packed: &str) -> Result<Event, StoreError> {
    match packed.strip_prefix(REPORT_MARK) {
        None => decode(packed),
        Some(published) => Ok(match serde_json::from_str::<Report>(published) {
            Ok(Report { conversation, run, seq, event }) if conversation == *id => Event::Report { run, seq, event },
            _ => Event::Garbled,
        }),
    }
}

/// `place:length:effect`, again and again.
fn outbox(packed: &str) -> Result<Vec<Queued>, StoreError> {
    let broken = || unreadable("an outbox that is cut off");
    let mut rest = packed;
    let mut queued = Vec::new();
    while !rest.is_empty() {
        let (place, after) = rest.split_once(':').ok_or_else(broken)?;
        let (length, after) = after.split_once(':').ok_or_else(broken)?;
        let (effect, after) = after.split_at_checked(length.parse().map_err(|_| broken())?).ok_or_else(broken)?;
        queued.push(decode::<Kept>(effect)?.at(EffectSeq(place.parse().map_err(|_| broken())?)));
        rest = after;
    }
    // One that is asked for again stands behind those that were asked for after it.
    queued.sort_by_key(|queued| queued.seq);
    Ok(queued)
}

pub(super) fn encode<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with text keys")
}

pub(super) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Unreadable(error.to_string()))
}

pub(super) fn conversation_id(text: String) -> Result<ConversationId, StoreError> {
    ConversationId::parse(text).map_err(|error| StoreError::Unreadable(error.to_string()))
}

pub(super) fn unreadable(what: &str) -> StoreError {
    StoreError::Unreadable(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Say;

    #[test]
    fn an_outbox_is_read_as_the_script_packs_it() {
        let effect = |text: &str| Effect::Say(Say { text: text.into(), ..Say::default() });
        let packed: String = [(12, "größer 😀"), (7, "a:1:b")]
            .map(|(seq, text)| {
                let json = serde_json::to_string(&effect(text)).unwrap();
                format!("{seq}:{}:{json}", json.len())
            })
            .concat();
        let queued = outbox(&packed).unwrap();
        assert_eq!(queued.iter().map(|queued| queued.seq.0).collect::<Vec<_>>(), [7, 12]);
        assert_eq!(queued[1].effect, effect("größer 😀"), "one that was asked for again comes first");
        assert!(outbox("").unwrap().is_empty());
        for broken in ["7", "7:", "7:99:{}", "x:2:{}", "7:1:😀"] {
            assert!(outbox(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn what_a_vm_publishes_counts_only_for_its_own_conversation() {
        let (own, other) = (ConversationId::parse("own").unwrap(), ConversationId::parse("other").unwrap());
        let report = |conversation: &str| {
            format!(r#"r{{"conversation":"{conversation}","run":"own-1-1","seq":3,"event":{{"event":"beat"}}}}"#)
        };
        assert!(matches!(event(&own, &report("own")).unwrap(), Event::Report { seq: 3, .. }));
        assert_eq!(event(&other, &report("own")).unwrap(), Event::Garbled);
        for garbled in ["r", "r{}", r#"r{"type":"due"}"#, "r\u{fffd}"] {
            assert_eq!(event(&own, garbled).unwrap(), Event::Garbled);
        }
        assert!(event(&own, r#"{"type":"of the future"}"#).is_err(), "what relays wrote is never dropped");
    }
}
