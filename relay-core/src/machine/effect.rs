//! Everything the machine may ask for: its output. Each effect is bounded in time and idempotent at its receiver.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Address, BlobId, EffectSeq, MessageId, RunId, TreeHash};
use crate::machine::event::Attachment;
use crate::machine::{shape, split};
use crate::protocol::{Decision, File, Question, Task};
use crate::time::Timestamp;
use crate::trace::TraceParent;

/// What is to be done in the world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum Effect {
    /// Send one chat message.
    Say(Say),
    /// Start a run on the VM.
    StartRun {
        /// Its name; the VM starts it once however often it is asked.
        run: RunId,
        /// What it is for.
        task: Task,
    },
    /// Carry out a decision on a shown diff.
    Decide {
        /// Whose diff.
        run: RunId,
        /// The diff that was shown.
        tree: TreeHash,
        /// What becomes of it.
        decision: Decision,
    },
    /// Hand the agent what the person says to its inquiry.
    Reply {
        /// Whose agent.
        run: RunId,
        /// Which inquiry.
        number: u32,
        /// What they say.
        reply: String,
    },
    /// Stop a run and everything it started.
    CancelRun {
        /// Which.
        run: RunId,
    },
    /// Ask the VM something that needs no run.
    Ask {
        /// The question.
        question: Question,
    },
    /// Ask the VM what became of a silent run.
    Probe {
        /// Which.
        run: RunId,
    },
    /// Have the store know another address of the person as this conversation's.
    Introduce {
        /// Which.
        alias: Address,
    },
    /// Fetch a file that a person sent into the store.
    FetchFile {
        /// The message that it came with.
        message: MessageId,
        /// Which of its files, from 0.
        part: usize,
        /// Where the channel has it.
        attachment: Attachment,
    },
    /// Have a voice note written down. It is enough to have begun: what came of it is an event.
    Transcribe {
        /// The message that it came with.
        message: MessageId,
        /// Which of its files, from 0.
        part: usize,
        /// The recording.
        file: File,
    },
    /// Copy a picture from the VM into the store.
    KeepImage {
        /// Whose picture.
        run: RunId,
        /// Its name on the VM.
        name: String,
        /// For the person; may be empty.
        caption: String,
        /// True when it shows a diff, which waits for it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        drawing: bool,
    },
    /// Copy all parts of a review from the VM into the store.
    KeepReview {
        /// Whose diff.
        run: RunId,
        /// Which diff.
        tree: TreeHash,
        /// How many parts there are, the index with them.
        parts: u32,
    },
}

/// One chat message, within the channel's limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Say {
    /// In plain words, with WhatsApp markup.
    pub text: String,
    /// Shown in monospace below the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// A picture shown above the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub picture: Option<BlobId>,
    /// True when that is a document to be opened, and no picture.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub document: bool,
    /// Approve and reject, as buttons where the channel has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// The inquiry that it asks, with its options as buttons where the channel has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// True once it failed with its buttons: it goes without them, and is answered by typing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub typed: bool,
    /// True when it says what becomes of the diff that was shown last: the buttons of that count no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settles: bool,
    /// True for a line that only says what is going on; a channel may show it smaller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub passing: bool,
    /// All of what this message shows only in part: kept as a page, whose address ends the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// Where all of the diff can be read and answered: an address below the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewLink>,
    /// Where one can look on at the run: an address below the text. It is left out where there is no room for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<RunLink>,
}

impl Say {
    /// Whether it is text and nothing else, but for where to look on.
    pub fn is_plain(&self) -> bool {
        let decides = self.choice.is_some() || self.asked.is_some();
        let links = self.page.is_some() || self.review.is_some();
        self.code.is_none() && self.picture.is_none() && !links && !decides
    }

    /// Room for the addresses below its text.
    pub(super) fn link_room(&self) -> usize {
        shape::LINK_UNITS_MAX * (usize::from(self.review.is_some()) + usize::from(self.follow.is_some()))
    }

    /// This text and the next as one message, if they fit. It leads to the latest run that one of them leads to.
    pub fn joined(&self, next: &Self, units_max: usize) -> Option<Self> {
        // Single lines stand close together, paragraphs apart.
        let border = if self.text.contains("\n\n") || next.text.contains('\n') { "\n\n" } else { "\n" };
        let text = format!("{}{border}{}", self.text, next.text);
        let (passing, length) = (self.passing && next.passing, split::units(&text));
        let mut joined = Self { text, passing, ..Self::default() };
        joined.follow = next.follow.as_ref().or(self.follow.as_ref()).cloned();
        joined.follow.take_if(|_| length + shape::LINK_UNITS_MAX > units_max);
        (length <= units_max).then_some(joined)
    }
}

/// What a pair of buttons decides on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Whose diff.
    pub run: RunId,
    /// The diff shown with the buttons.
    pub tree: TreeHash,
}

impl Choice {
    /// The payload of the button for `word`: names the run and the diff, so that an old button is known as old.
    pub fn payload(&self, word: &str) -> String {
        format!("{word}:{}:{}", self.run, self.tree)
    }
}

/// What the page of a review is opened by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewLink {
    /// Whose diff.
    pub run: RunId,
    /// Which diff.
    pub tree: TreeHash,
    /// Until when; settled with the message, so that each try to send it says the same.
    pub expires_at: Timestamp,
}

/// What the page of a run is opened by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLink {
    /// Which run.
    pub run: RunId,
    /// Until when; settled with the message, so that each try to send it says the same.
    pub expires_at: Timestamp,
}

/// What the buttons of an inquiry reply to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Whose agent asks.
    pub run: RunId,
    /// The number of the inquiry in the run.
    pub number: u32,
    /// What one button each can stand for; empty where one's own words are asked for, or several options.
    pub labels: Vec<String>,
}

impl Asked {
    /// The payload of the button for the `option`th label, from 1: names the run and the inquiry, so that an old button replies
    /// to nothing that was asked later.
    pub fn payload(&self, option: usize) -> String {
        format!("reply:{}:{}:{option}", self.run, self.number)
    }
}

/// The effects of a lane are carried out in order; a lane that waits for a retry does not hold up the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// To the person.
    Chat,
    /// To the VM.
    Vm,
    /// To the VM, past whatever else waits for it: stopping does not queue.
    Stop,
    /// Files that come in, and what else is done beside the conversation.
    Files,
}

/// An effect with its place in the outbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queued {
    /// Its place, and its idempotency key together with the conversation.
    pub seq: EffectSeq,
    /// What is to be done.
    pub effect: Effect,
    /// What led to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
}

impl Queued {
    /// An effect, by itself.
    pub fn new(seq: EffectSeq, effect: Effect) -> Self {
        Self { seq, effect, cause: None }
    }
}

/// What led to an effect, for whoever watches: nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The trace that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// When a relay took in the message that it answers, if it answers one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
}

/// An effect as stores keep it beside its place.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kept {
    #[serde(flatten)]
    effect: Effect,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
}

impl From<&Queued> for Kept {
    fn from(queued: &Queued) -> Self {
        Self { effect: queued.effect.clone(), cause: queued.cause.clone() }
    }
}

impl Kept {
    /// In its place again.
    pub(crate) fn at(self, seq: EffectSeq) -> Queued {
        Queued { seq, effect: self.effect, cause: self.cause }
    }
}

/// The first try of a call to a VM is this short, so that the person hears early that the VM has to be woken.
pub const FIRST_TRY_TIMEOUT: Duration = Duration::from_millis(2_500);
/// No try of any effect takes longer; less than a lease, so that a holder which is alive keeps it.
pub const TRY_TIMEOUT: Duration = Duration::from_secs(5);

impl Effect {
    /// Which lane it waits in.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Say(_) => Lane::Chat,
            Self::CancelRun { .. } => Lane::Stop,
            Self::FetchFile { .. } | Self::Transcribe { .. } | Self::Introduce { .. } => Lane::Files,
            _ => Lane::Vm,
        }
    }

    /// How long the `attempt`th try (from 1) may take.
    pub fn timeout(&self, attempt: u32) -> Duration {
        match self {
            // A question may take git a while, and is not to be asked twice for that; a review is many calls.
            Self::Say(_)
            | Self::Ask { .. }
            | Self::KeepReview { .. }
            | Self::FetchFile { .. }
            | Self::Transcribe { .. }
            | Self::Introduce { .. } => TRY_TIMEOUT,
            _ if attempt <= 1 => FIRST_TRY_TIMEOUT,
            _ => TRY_TIMEOUT,
        }
    }
}
