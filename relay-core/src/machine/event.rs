//! Everything that can happen to a conversation: the input of the machine.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Address, BlobId, ChannelKind, EffectSeq, EventId, MessageId, Nonce, RunId, TreeHash};
use crate::machine::effect::{Cause, Effect, Queued};
use crate::protocol::{Answer, File, RefusalReason, RunStatus, VmEvent};
use crate::time::Timestamp;

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
    /// The provider tells what became of a chat message.
    Receipt {
        /// The effect that asked for the message, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        effect: Option<EffectSeq>,
        /// The provider's name for it.
        message: MessageId,
        /// What became of it.
        receipt: Receipt,
    },
    /// A voice note was written down, or could not be.
    Transcript {
        /// The message that it came with.
        message: MessageId,
        /// Which of its files, from 0.
        part: usize,
        /// What was said; `None` when that could not be made out.
        text: Option<String>,
    },
    /// A person has read all of a diff on its page, and answered there.
    Reviewed {
        /// The run whose diff it is.
        run: RunId,
        /// The diff that was read.
        tree: TreeHash,
        /// The answer.
        verdict: Verdict,
        /// When a relay took it in, and in which trace.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<Cause>,
    },
    /// A deadline has passed.
    Due,
    /// An operator put a dead letter back.
    Redriven {
        /// What to try again.
        effect: Effect,
    },
    /// An operator steps in.
    Operator {
        /// What a repeat is known by.
        id: Nonce,
        /// What is to be done.
        action: OperatorAction,
    },
    /// Something was published in a VM's name that is no report of its conversation. It changes nothing.
    Garbled,
}

/// What an operator can do to a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorAction {
    /// Stop what goes on, and drop what waits.
    Cancel,
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
    /// What else the channel calls them, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<Address>,
    /// When it was sent, if it comes late: an answer counts only for what was shown by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// When a relay took it in, and in which trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

impl Message {
    /// A message that comes in time from somebody with one name.
    pub fn new(id: MessageId, from: Address, content: Content) -> Self {
        Self { id, from, content, alias: None, sent_at: None, cause: None }
    }
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
    /// Files, with what was written beside them.
    Files {
        /// As it was typed; may be empty.
        text: String,
        /// Each of them; bounded by the channel.
        files: Vec<Attachment>,
    },
    /// Something that is not supported, in the words for the person: "A video", "A location".
    Unsupported {
        /// What it is.
        what: String,
    },
}

/// What a person who has read a diff wants to become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// That it is published.
    Approve,
    /// That it is rolled back.
    Reject,
    /// That the agent goes on with it.
    Changes {
        /// What is to be different, in the person's words. At most [`VERDICT_CHARS_MAX`] characters.
        text: String,
    },
}

/// Characters of what a person asks to be different, at most.
pub const VERDICT_CHARS_MAX: usize = 8_000;

/// A file that came with a message, where the channel has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// In terms of the channel alone.
    pub source: String,
    /// Whether it is a recording of speech.
    pub voice: bool,
}

/// What became of a message that a channel took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "receipt", rename_all = "snake_case")]
pub enum Receipt {
    /// It is on its way.
    Sent,
    /// It is on the person's phone.
    Delivered,
    /// The person has seen it.
    Read,
    /// It will not arrive.
    Failed {
        /// Why.
        failure: Failure,
    },
}

impl Receipt {
    fn name(&self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed { .. } => "failed",
        }
    }
}

/// Why a message does not arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "failure", rename_all = "snake_case")]
pub enum Failure {
    /// For a reason that passes.
    Passing,
    /// The channel takes nothing for this person before they write again.
    Closed,
    /// The channel takes no more messages of ours today.
    UsedUp,
    /// For good.
    Final {
        /// For an operator and, if they can be reached, for the person; holds no personal data.
        reason: String,
        /// Whether another message to this person may arrive.
        reachable: bool,
    },
}

/// What came of carrying out an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The receiver has it.
    Done,
    /// The channel took a message and will tell what becomes of it.
    Sent {
        /// The provider's name for it.
        message: MessageId,
    },
    /// The channel did not take a message, and why.
    Undelivered {
        /// Why.
        failure: Failure,
    },
    /// Not tried, because it was not its turn yet; that is no failed try.
    Delayed {
        /// How long it has to wait.
        pause_ms: u64,
    },
    /// A file is in the store.
    FileKept {
        /// Which.
        file: File,
    },
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
    /// All of a review is in the store.
    ReviewKept,
    /// A picture is in the store.
    ImageKept {
        /// Where.
        blob: BlobId,
    },
    /// Nobody answered in time. The receiver may or may not have it.
    NoAnswer {
        /// How long it was waited for.
        waited_ms: u64,
        /// When whoever stands before it asked to be tried again, if that was said.
        retry_after_ms: Option<u64>,
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
    /// Nobody answered, at once.
    pub const NO_ANSWER: Self = Self::NoAnswer { waited_ms: 0, retry_after_ms: None };

    /// Nobody answered for so long.
    pub fn no_answer(waited: Duration) -> Self {
        Self::NoAnswer { waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX), retry_after_ms: None }
    }

    /// Busy, for reasons of its own.
    pub fn busy(retry_after_ms: Option<u64>) -> Self {
        Self::Busy { retry_after_ms, message: None, in_use: false }
    }
}

impl Event {
    /// What a repeat of this event is known by; `None` for events that never enter an inbox from outside.
    pub fn id(&self) -> Option<EventId> {
        let id = match self {
            // The pages of the console make up ids by themselves: one person's must not stand for another's.
            Self::Message(Message { id, from, .. }) if from.channel == ChannelKind::Console => {
                format!("message:{}:{id}", from.name)
            }
            Self::Message(message) => format!("message:{}:{}", message.from.channel.name(), message.id),
            Self::Report { run, seq, .. } => format!("report:{run}:{seq}"),
            Self::Receipt { message, receipt, .. } => format!("receipt:{message}:{}", receipt.name()),
            Self::Transcript { message, part, .. } => format!("transcript:{message}:{part}"),
            // Whatever the verdict is: a page is answered once, and the first answer counts.
            Self::Reviewed { run, tree, .. } => format!("review:{run}:{tree}"),
            Self::Operator { id, .. } => format!("operator:{id}"),
            Self::Performed { .. } | Self::Due | Self::Redriven { .. } | Self::Garbled => return None,
        };
        Some(EventId::parse(id).expect("made of identifiers and separators within the bound"))
    }
}
