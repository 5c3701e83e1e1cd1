//! What the relays remember of a conversation's machine: a note in the store. It is what tells a machine that was lost from one
//! that was never made.

use relay_core::id::{ConversationId, EffectSeq};
use relay_core::store::{Store, StoreError};
use relay_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::api::{MachineId, VolumeId};

/// The machine and its volume, as far as they were made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineId>,
    /// The volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeId>,
    /// The volume is gone, and this effect's refusal tells the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<EffectSeq>,
    /// When that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Timestamp>,
}

/// The note's name.
pub fn note(conversation: &ConversationId) -> String {
    format!("vm:{conversation}")
}

impl Record {
    /// What is remembered; of what was never made, nothing.
    pub async fn read(store: &dyn Store, conversation: &ConversationId) -> Result<Self, StoreError> {
        let Some(text) = store.note(&note(conversation)).await? else { return Ok(Self::default()) };
        serde_json::from_str(&text).map_err(|error| StoreError::Unreadable(format!("where a VM is: {error}")))
    }

    /// Remember this instead. Of nothing, no note stays.
    pub async fn write(&self, store: &dyn Store, conversation: &ConversationId) -> Result<(), StoreError> {
        let text = match *self == Self::default() {
            true => String::new(),
            false => serde_json::to_string(self).expect("plain data with text keys"),
        };
        store.set_note(&note(conversation), &text).await
    }
}
