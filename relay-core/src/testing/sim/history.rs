//! What is remembered of a world, for the invariants to judge.

use crate::id::{ConversationId, EffectSeq, Fence, MessageId, RunId, TreeHash};
use crate::machine::{Asked, Choice, Effect, Failure};
use crate::protocol::{Decision, Task};
use crate::time::Timestamp;

/// What happened outside the store.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Calls that a VM acted on, in order.
    pub(super) vm_calls: Vec<VmCall>,
    /// Runs that a VM began, in order.
    pub(super) begun: Vec<Begun>,
    /// Decisions that a VM carried out, in order.
    pub(super) decided: Vec<Decided>,
    /// Replies that a VM handed to its agent, in order.
    pub(super) replied: Vec<Replied>,
    /// Chat messages that the provider took, in order.
    pub(super) chat: Vec<Heard>,
    /// Decisions that left a node although its conversation was not deciding that any more.
    pub(super) stray: Vec<String>,
}

/// A call that a VM acted on.
#[derive(Debug)]
pub(super) struct VmCall {
    pub(super) conversation: ConversationId,
    pub(super) fence: Fence,
    pub(super) effect: Effect,
}

/// A run that a VM began.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) conversation: ConversationId,
    pub(super) run: RunId,
    pub(super) task: Task,
}

/// A decision that a VM carried out or failed to.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) conversation: ConversationId,
    pub(super) run: RunId,
    pub(super) tree: TreeHash,
    pub(super) decision: Decision,
    pub(super) succeeded: bool,
    pub(super) at: Timestamp,
}

/// A reply that a VM handed to its agent.
#[derive(Debug)]
pub(super) struct Replied {
    pub(super) run: RunId,
    pub(super) number: u32,
    pub(super) reply: String,
}

/// A chat message that the provider took.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) conversation: ConversationId,
    pub(super) seq: EffectSeq,
    pub(super) message: MessageId,
    /// Why it never arrived, if it did not.
    pub(super) failure: Option<Failure>,
    pub(super) choice: Option<Choice>,
    pub(super) asked: Option<Asked>,
    pub(super) at: Timestamp,
}
