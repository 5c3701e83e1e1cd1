//! Everything that can happen to a conversation: the input of the machine.

use serde::{Deserialize, Serialize};

use crate::id::{Address, BlobId, EventId, MessageId, RunId};
use crate::machine::effect::{Effect, Queued};
use crate::protocol::{Answer, RefusalReason, RunStatus, VmEvent};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A person wrote.
    Message(Message),
    /// A VM reported.
    Report {
        /// The run that the report is about.
        run: RunId,
        /// Its place within the run.
        seq: u64,
        /// What the VM says.
        event: VmEvent,
    },
    /// An effect was carried out, or could not be.
    Performed {
        /// Which effect.
        effect: Queued,
        /// What came of it.
        outcome: Outcome,
    },
    /// A deadline has passed.
    Due,
    /// An operator put a dead letter back.
    Redriven {
        /// What to try again.
        effect: Effect,
    },
    /// Something was published in a VM's name that is no report of its conversation. It changes nothing.
    Garbled,
}

/// What a person sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The provider's id.
    pub id: MessageId,
    /// Who wrote, and where an answer goes.
    pub from: Address,
    /// What it says.
    pub content: Content,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "content", rename_all = "snake_case")]
pub enum Content {
    /// Typed text.
    Text {
        /// As it was typed.
        text: String,
    },
    /// A button was pressed.
    Button {
        /// What the button stands for; attacker-controlled, so it is only ever compared.
        payload: String,
    },
    /// Something that is not supported, in the words for the person: "A voice note", "A location".
    Unsupported {
        /// What it is.
        what: String,
    },
}

/// What came of carrying out an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The receiver has it.
    Done,
    /// The VM answered a question.
    Answered {
        /// The answer.
        answer: Answer,
    },
    /// The VM said where a run is; `None` when it has never heard of it.
    Probed {
        /// The run, as the VM sees it.
        status: Option<RunStatus>,
    },
    /// A picture is in the store.
    ImageKept {
        /// Where.
        blob: BlobId,
    },
    /// Nobody answered in time. The receiver may or may not have it.
    NoAnswer {
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// The receiver is well but cannot take it now.
    Busy {
        /// When it asked to be tried again, if it said so.
        retry_after_ms: Option<u64>,
        /// What it is busy with, for people, where it said so; never a secret.
        message: Option<String>,
        /// True when it will be done by itself, however long it takes; otherwise something may have to be mended first.
        in_use: bool,
    },
    /// The receiver will never take it.
    Refused {
        /// Why, where the VM said so in terms that the machine knows.
        reason: Option<RefusalReason>,
        /// For people; never a secret.
        message: String,
    },
}

impl Outcome {
    /// Busy, for reasons of its own.
    pub fn busy(retry_after_ms: Option<u64>) -> Self {
        Self::Busy { retry_after_ms, message: None, in_use: false }
    }
}

impl Event {
    /// What a repeat of this event is known by; `None` for events that never enter an inbox from outside.
    pub fn id(&self) -> Option<EventId> {
        let id = match self {
            Self::Message(message) => format!("message:{}:{}", message.from.channel.name(), message.id),
            Self::Report { run, seq, .. } => format!("report:{run}:{seq}"),
            Self::Performed { .. } | Self::Due | Self::Redriven { .. } | Self::Garbled => return None,
        };
        Some(EventId::parse(id).expect("made of identifiers and separators within the bound"))
    }
}
