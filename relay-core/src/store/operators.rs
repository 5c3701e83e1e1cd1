//! The second half of the store contract: what operators see of a deployment, and do. Nothing of it is on the way of a message.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::id::{ConversationId, NodeId};
use crate::store::{Activity, DeadLetter, StoreError};
use crate::time::Timestamp;

/// Deeds that are remembered; older ones make way.
pub const DEEDS_MAX: usize = 1_000;
/// Relays that are told of at most, those that were heard of last.
pub const NODES_MAX: usize = 100;
/// A relay that was not heard of for so long is deleted by [`Store::sweep`](super::Store::sweep).
pub const NODE_KEEP: Duration = Duration::from_secs(24 * 3600);

/// What operators see, and do.
#[async_trait]
pub trait Operators: Send + Sync {
    /// Conversations known, those that are due or will be soonest first, but for the first `skip`.
    async fn list(&self, skip: usize, limit: usize) -> Result<Vec<ConversationId>, StoreError>;

    /// Conversations in which `activity` goes on, those where it has for longest first, but for the first `skip`. Nobody lists
    /// those that are idle.
    async fn active(&self, activity: Activity, skip: usize, limit: usize) -> Result<Vec<Active>, StoreError>;

    /// Dead letters with a larger number than `after`, in order.
    async fn letters(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, StoreError>;

    /// Tell that a relay is there, or that it no longer is; whether an operator wants it drained. Of one that nobody has heard of, or
    /// not for so long that it was swept, that is what it says itself: nobody but an operator ends a drain.
    async fn beat(&self, beat: &Beat) -> Result<bool, StoreError>;

    /// Have every relay beat: each is sent [`Hint::Roll`](super::Hint::Roll). A store that one process has for itself has nobody
    /// to call.
    async fn call_roll(&self) -> Result<(), StoreError>;

    /// The relays that have told that they are there, those that were heard of last first, [`NODES_MAX`] of them.
    async fn nodes(&self) -> Result<Vec<Node>, StoreError>;

    /// Want a relay drained, or no longer; false when there is no such relay. It learns of it with its next beat.
    async fn drain(&self, node: &NodeId, drain: bool) -> Result<bool, StoreError>;

    /// Remember what an operator wants done, or has done. Keeps [`DEEDS_MAX`].
    async fn remember(&self, deed: &Deed) -> Result<(), StoreError>;

    /// Have a remembered deed say what came of it. One that is not remembered any more is left.
    async fn conclude(&self, deed: &Deed, outcome: &DeedOutcome) -> Result<(), StoreError>;

    /// What operators wanted done, the latest first, but for the first `skip`.
    async fn deeds(&self, skip: usize, limit: usize) -> Result<Vec<Deed>, StoreError>;
}

/// A conversation in which something goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Active {
    /// Which.
    pub conversation: ConversationId,
    /// Since when it is the same.
    pub since: Timestamp,
}

/// What a relay tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Its name.
    pub node: NodeId,
    /// The machine that it runs on, as whoever watches calls it.
    pub instance: String,
    /// The version of its program.
    pub version: String,
    /// Since when it is there.
    pub started_at: Timestamp,
    /// When it told this.
    pub at: Timestamp,
    /// Conversations that it works on.
    pub turns: u64,
    /// Whether it takes no more of them.
    pub drained: bool,
    /// True of the last: it is no longer there.
    #[serde(skip, default)]
    pub is_last: bool,
}

/// A relay that has told that it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it told last.
    pub beat: Beat,
    /// Whether an operator wants it drained.
    pub drain: bool,
}

/// Something that an operator wanted done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When.
    pub at: Timestamp,
    /// Who: a name for their session, or for how they came in; never a secret.
    pub who: String,
    /// What.
    #[serde(flatten)]
    pub what: DeedKind,
    /// What came of it, as far as that is known: nothing while it is carried out, and nothing ever when its relay died meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<DeedOutcome>,
}

/// What came of a deed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeedOutcome {
    /// It was carried out.
    Done,
    /// It was not, or not all of it; a sentence says why.
    Failed(String),
}

/// What operators can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum DeedKind {
    /// Sign in.
    SignIn,
    /// Stop what goes on in a conversation.
    Cancel {
        /// Which.
        conversation: ConversationId,
    },
    /// Put a dead letter back.
    Redrive {
        /// Its number.
        letter: u64,
    },
    /// Erase a person.
    Forget {
        /// Their conversation.
        conversation: ConversationId,
    },
    /// Ask a VM how it is, which may wake it.
    AskVm {
        /// Whose.
        conversation: ConversationId,
    },
    /// Have a relay take no more work.
    Drain {
        /// Which.
        node: NodeId,
    },
    /// Have it take work again.
    Undrain {
        /// Which.
        node: NodeId,
    },
}

/// The latest first, and no more than are told of.
pub(super) fn latest(mut nodes: Vec<Node>) -> Vec<Node> {
    nodes.sort_by(|a, b| b.beat.at.cmp(&a.beat.at).then_with(|| a.beat.node.cmp(&b.beat.node)));
    nodes.truncate(NODES_MAX);
    nodes
}
