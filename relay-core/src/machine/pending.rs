//! A diff that waits for an answer, and whether all of it has reached the person: an answer counts for nothing that they cannot
//! have seen.

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::{EffectSeq, RunId, TreeHash};
use crate::time::Timestamp;

/// A diff that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Whose diff.
    pub run: RunId,
    /// The diff; an answer is bound to it.
    pub tree: TreeHash,
    /// The messages that show the diff, in order; its buttons come with the last.
    #[serde(alias = "message", deserialize_with = "one_or_more")]
    pub parts: Vec<EffectSeq>,
    /// Those of them that were not handed over yet, or have to be again.
    #[serde(default)]
    pub untaken: Vec<EffectSeq>,
    /// True once all of them were handed over: an answer before that cannot mean this diff.
    pub shown: bool,
    /// When that was.
    #[serde(default)]
    pub shown_at: Timestamp,
    /// True once one of them was given up: the diff has to be asked for before an answer can mean it.
    #[serde(default)]
    pub lost: bool,
    /// True once parking it was tried in vain and the person was told: it is tried again, in silence.
    pub parking_failed: bool,
    /// True once it was answered on its page, which takes no other answer: should that one not be carried out, the chat does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub page_used: bool,
}

impl Pending {
    /// A message was handed over; whether it was the last that was missing.
    pub(super) fn taken(&mut self, part: EffectSeq) -> bool {
        self.untaken.retain(|untaken| *untaken != part);
        self.parts.contains(&part) && self.untaken.is_empty() && !self.lost
    }

    /// A message that was handed over did not arrive, and is sent again.
    pub(super) fn undelivered(&mut self, part: EffectSeq) {
        if self.parts.contains(&part) {
            self.shown = false;
            self.untaken.retain(|untaken| *untaken != part);
            self.untaken.push(part);
        }
    }

    /// A message will not arrive.
    pub(super) fn lost(&mut self, part: EffectSeq) {
        if self.parts.contains(&part) {
            (self.shown, self.lost) = (false, true);
        }
    }

    /// The diff is shown anew, by these messages.
    pub(super) fn shown_by(&mut self, parts: Vec<EffectSeq>) {
        (self.untaken, self.parts) = (parts.clone(), parts);
        (self.shown, self.lost) = (false, false);
    }

    /// Whether only the message with the buttons may be missing: whoever presses one has that.
    pub(super) fn shows_but_for_buttons(&self) -> bool {
        !self.lost && self.untaken.iter().all(|part| Some(part) == self.parts.last())
    }
}

/// In layouts before the third, one message was remembered, the last.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<EffectSeq>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Parts {
        One(EffectSeq),
        More(Vec<EffectSeq>),
    }
    Ok(match Parts::deserialize(deserializer)? {
        Parts::One(part) => vec![part],
        Parts::More(parts) => parts,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_older_relay_left_can_still_be_shown_and_answered() {
        let left = json!({"run": "c0ffee-1", "tree": "aa11", "message": 7, "shown": false, "parking_failed": false});
        let mut pending: Pending = serde_json::from_value(left).unwrap();
        assert!(!pending.taken(EffectSeq(6)) && pending.taken(EffectSeq(7)));
        let again = serde_json::to_value(&pending).unwrap();
        assert_eq!(serde_json::from_value::<Pending>(again).unwrap(), pending);
    }
}
