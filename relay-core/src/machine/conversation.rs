//! The state of one conversation: all that is remembered between two events.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::id::{Address, BlobId, ConversationId, EffectSeq, MessageId, RunId};
use crate::machine::delivery::Delivery;
use crate::machine::drawings::Drawn;
use crate::machine::effect::Lane;
use crate::machine::pending::Pending;
use crate::machine::review::{self, Revision};
use crate::machine::rules::Rules;
use crate::protocol::{Decision, File, Task};
use crate::time::Timestamp;
use crate::trace::TraceParent;

/// One person's conversation with one agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its name.
    pub id: ConversationId,
    /// The layout of this state; a newer one than [`Conversation::FORMAT`] is not touched.
    pub format: u32,
    /// Where answers go; known from the first message on.
    pub address: Option<Address>,
    /// What is going on.
    pub phase: Phase,
    /// Tasks that wait for the current run to end, the next one first.
    pub queue: VecDeque<Task>,
    /// Of each of them, the trace that it is part of.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub traces: VecDeque<Option<TraceParent>>,
    /// The trace of the current run, or of the latest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// What is to happen at which instant, one entry per kind.
    pub timers: BTreeMap<Timer, Timestamp>,
    /// Lanes whose first effect waits to be tried again.
    pub retries: BTreeMap<Lane, Retry>,
    /// The VM has not answered since then.
    pub waking: Option<Waking>,
    /// Progress that waits for its message.
    pub progress: Progress,
    /// What the agent of the current run asks the person.
    #[serde(default)]
    pub inquiry: Option<Inquiry>,
    /// A diff of the current run that waits for its drawings.
    #[serde(default)]
    pub drawn: Option<Box<Drawn>>,
    /// How much the person wants to hear.
    #[serde(default)]
    pub verbosity: Verbosity,
    /// The way of the chat messages to the person.
    #[serde(default)]
    pub delivery: Delivery,
    /// What else the channel calls the person; the store knows it as a name of this conversation.
    #[serde(default)]
    pub alias: Option<Address>,
    /// Whatever the person was called, the latest last; bounded.
    #[serde(default)]
    pub names: VecDeque<Address>,
    /// The person's latest message.
    #[serde(default)]
    pub heard: Option<MessageId>,
    /// When that was dealt with.
    #[serde(default)]
    pub heard_at: Timestamp,
    /// When a relay took that in.
    #[serde(default)]
    pub written_at: Timestamp,
    /// When a relay took in the first message that nothing was said to yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// Messages whose files are on their way in, and those that came after them, in order; bounded as the queue is.
    #[serde(default)]
    pub arriving: VecDeque<Arriving>,
    /// What the store keeps for this conversation for a while, the latest last; bounded.
    #[serde(default)]
    pub blobs: VecDeque<BlobId>,
    /// Reviews that the store keeps for a while, the latest last; bounded.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub reviews: VecDeque<review::Kept>,
    /// Runs that are over, the latest last; bounded.
    pub past: VecDeque<Past>,
    /// When the first run was asked for: a part of every run's name.
    pub origin: Timestamp,
    /// Runs so far: the number of the latest one.
    pub runs: u64,
    /// Effects so far: the place of the latest one in the outbox.
    pub effects: u64,
    /// The highest sequence number seen in a report of the current run.
    pub reported: u64,
}

/// A question of the agent's that waits for the person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// Its number in the run.
    pub number: u32,
    /// What it says, but for when the agent goes on without a reply.
    #[serde(default)]
    pub text: String,
    /// When that is.
    #[serde(default)]
    pub until: Timestamp,
    /// What can be chosen, in order; other words are a reply as well.
    pub labels: Vec<String>,
    /// Whether several can be.
    pub several: bool,
    /// The messages that ask it, in order; its buttons come with the last.
    #[serde(default)]
    pub parts: Vec<EffectSeq>,
    /// Those of them that were not handed over yet, have to be again, or never will be.
    #[serde(default)]
    pub untaken: Vec<EffectSeq>,
    /// True once one of them was given up: it is asked again when the person writes.
    #[serde(default)]
    pub lost: bool,
}

/// What is going on in a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Nothing.
    Idle,
    /// The VM is being asked to start a run.
    Starting {
        /// Its name.
        run: RunId,
        /// What it is for.
        task: Task,
        /// The effect that asks.
        effect: EffectSeq,
    },
    /// The VM did not answer for so long that it is no longer called; the task is kept.
    Stalled {
        /// The run that was to start.
        run: RunId,
        /// What it is for.
        task: Task,
    },
    /// The agent is at work.
    Working {
        /// Its run.
        run: RunId,
        /// What it is for.
        task: Task,
        /// Since when.
        since: Timestamp,
        /// True once the person was told that the run has gone quiet.
        quiet: bool,
    },
    /// A diff waits for an answer.
    AwaitingApproval(Pending),
    /// An answer is being carried out: the pull request opened, the work rolled back or parked.
    Deciding {
        /// On which diff.
        pending: Pending,
        /// Which answer.
        decision: Decision,
        /// The effect that asks for it.
        effect: EffectSeq,
        /// What the agent is to do with the work once it is parked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<Revision>,
    },
    /// A run is being stopped.
    Cancelling {
        /// Which.
        run: RunId,
        /// True when the VM did not answer; it is asked again when the person writes.
        unreachable: bool,
    },
}

/// A kind of deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// Say that the VM has to be woken.
    WakingNotice,
    /// Send the progress that has gathered.
    Progress,
    /// Nothing was heard of a run, or of a decision or cancellation, for too long.
    Silence,
    /// Say that the diff will be parked soon.
    ApprovalWarning,
    /// Park the diff.
    Approval,
    /// A voice note was not written down in time.
    Transcript,
}

/// A message that waits for its files, or for those of one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arriving {
    /// Its id.
    pub message: MessageId,
    /// What it asks for, without its files.
    pub task: Task,
    /// Its files.
    pub files: Vec<Coming>,
}

/// A file that a person sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "coming", rename_all = "snake_case")]
pub enum Coming {
    /// It is being fetched.
    Fetching {
        /// Whether it is to be written down then.
        voice: bool,
    },
    /// It is being written down.
    Listening {
        /// The recording.
        file: File,
    },
    /// It is in the store.
    Kept {
        /// Where.
        file: File,
        /// What is said in it, if it is a recording.
        transcript: Option<String>,
    },
}

/// An effect that waits to be tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Which.
    pub effect: EffectSeq,
    /// Tries so far.
    pub attempts: u32,
    /// When it was first tried.
    pub first_at: Timestamp,
    /// When to try again.
    pub next_at: Timestamp,
}

/// A VM that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waking {
    /// Since when it was called in vain.
    pub since: Timestamp,
    /// True once the person was told.
    pub told: bool,
}

/// Progress that waits to be sent, so that a burst costs one message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Lines not yet sent, the oldest first; bounded.
    pub lines: VecDeque<String>,
    /// When progress was last sent.
    pub sent_at: Option<Timestamp>,
    /// Messages of progress that this run has had.
    #[serde(default)]
    pub messages: u32,
}

/// How much a person wants to hear of what is going on. Answers, results, questions and problems always come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verbosity {
    /// No progress, and no other line that only says what is going on.
    Quiet,
    /// Progress, gathered on a channel where each message costs money.
    #[default]
    Normal,
    /// All progress as it comes.
    Verbose,
}

/// A run that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Which.
    pub run: RunId,
    /// How it ended.
    pub ending: Ending,
}

/// How a run ended, as far as later words refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ending", rename_all = "snake_case")]
pub enum Ending {
    /// A pull request was opened.
    PullRequest {
        /// Where to read it.
        url: String,
    },
    /// A branch was pushed.
    Pushed {
        /// Which.
        branch: String,
    },
    /// The work was rolled back.
    RolledBack,
    /// The work is on a local branch.
    Parked {
        /// Which.
        branch: String,
    },
    /// The agent answered and changed nothing.
    Answered,
    /// It failed, was interrupted, or the VM no longer knows it.
    Failed,
    /// It was stopped.
    Cancelled,
}

const PAST_MAX: usize = 20;
const BLOBS_MAX: usize = 100;
/// Reviews whose time is not over; a diff beyond has no page.
const REVIEWS_MAX: usize = 100;
/// Names of a person that are remembered.
const NAMES_MAX: usize = 8;

impl Conversation {
    /// The layout that this program writes.
    pub const FORMAT: u32 = 6;

    /// A conversation in which nothing has happened yet.
    pub fn new(id: ConversationId) -> Self {
        Self {
            id,
            format: Self::FORMAT,
            address: None,
            phase: Phase::Idle,
            queue: VecDeque::new(),
            traces: VecDeque::new(),
            trace: None,
            timers: BTreeMap::new(),
            retries: BTreeMap::new(),
            waking: None,
            progress: Progress::default(),
            inquiry: None,
            drawn: None,
            verbosity: Verbosity::default(),
            delivery: Delivery::default(),
            alias: None,
            names: VecDeque::new(),
            heard: None,
            heard_at: Timestamp::default(),
            written_at: Timestamp::default(),
            asked_at: None,
            arriving: VecDeque::new(),
            blobs: VecDeque::new(),
            reviews: VecDeque::new(),
            past: VecDeque::new(),
            origin: Timestamp::default(),
            runs: 0,
            effects: 0,
            reported: 0,
        }
    }

    /// The next instant at which something has to happen without an event from outside, chat messages aside: when these may
    /// go is known only with the outbox.
    pub fn deadline(&self) -> Option<Timestamp> {
        let timers = self.timers.values().copied();
        let retries = self.retries.iter().filter(|(lane, _)| **lane != Lane::Chat).map(|(_, retry)| retry.next_at);
        timers.chain(retries).min()
    }

    /// When the next effect of `lane` may be carried out; `None` when that is not before the person writes.
    pub fn ready_at(&self, lane: Lane, rules: &Rules) -> Option<Timestamp> {
        let retry = self.retries.get(&lane).map_or(Timestamp::default(), |retry| retry.next_at);
        if lane != Lane::Chat {
            return Some(retry);
        }
        let channel = self.address.as_ref().map(|address| rules.capabilities(address.channel));
        Some(retry.max(self.delivery.ready_at(channel.and_then(|channel| channel.pace))?))
    }

    /// Whether a timer has run out.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.timers.values().any(|&at| at <= now)
    }

    /// The run that is going on, if any.
    pub fn run(&self) -> Option<&RunId> {
        match &self.phase {
            Phase::Idle => None,
            Phase::Starting { run, .. }
            | Phase::Stalled { run, .. }
            | Phase::Working { run, .. }
            | Phase::Cancelling { run, .. } => Some(run),
            Phase::AwaitingApproval(pending) | Phase::Deciding { pending, .. } => Some(&pending.run),
        }
    }

    /// How a run ended, if it is among those remembered.
    pub fn ending(&self, run: &RunId) -> Option<&Ending> {
        self.past.iter().find(|past| past.run == *run).map(|past| &past.ending)
    }

    /// The name of the `number`th run.
    pub fn run_id(&self, number: u64) -> RunId {
        RunId::of(&self.id, self.origin, number)
    }

    /// Have a task wait.
    pub(super) fn enqueue(&mut self, task: Task, trace: Option<TraceParent>) {
        self.queue.push_back(task);
        // What was queued by an earlier program has none.
        self.traces.resize(self.queue.len() - 1, None);
        self.traces.push_back(trace);
    }

    /// The task that waits longest, which waits no more.
    pub(super) fn next_task(&mut self) -> Option<(Task, Option<TraceParent>)> {
        Some((self.queue.pop_front()?, self.traces.pop_front().flatten()))
    }

    /// Take the task at this place out of the queue.
    pub(super) fn drop_task(&mut self, at: usize) -> Option<Task> {
        self.traces.remove(at);
        self.queue.remove(at)
    }

    /// Remember what the store keeps for this conversation, so that it can be erased.
    pub(super) fn keeps(&mut self, blob: BlobId) {
        self.blobs.push_back(blob);
        while self.blobs.len() > BLOBS_MAX {
            self.blobs.pop_front();
        }
    }

    /// Remember a review that the store is to keep, likewise; those that are gone by `now` are forgotten. False when there are too many
    /// already: one that was not remembered would outlive its person.
    pub(super) fn keeps_review(&mut self, kept: review::Kept, now: Timestamp) -> bool {
        self.reviews.retain(|before| before.expires_at > now && (&before.run, &before.tree) != (&kept.run, &kept.tree));
        let has_room = self.reviews.len() < REVIEWS_MAX;
        if has_room {
            self.reviews.push_back(kept);
        }
        has_room
    }

    /// Remember what the person is called; whether that is new.
    pub(super) fn is_called(&mut self, name: &Address) -> bool {
        if self.names.contains(name) {
            return false;
        }
        self.names.push_back(name.clone());
        while self.names.len() > NAMES_MAX {
            self.names.pop_front();
        }
        true
    }

    /// Remember how a run ended.
    pub(super) fn remember(&mut self, run: RunId, ending: Ending) {
        self.past.retain(|past| past.run != run);
        self.past.push_back(Past { run, ending });
        while self.past.len() > PAST_MAX {
            self.past.pop_front();
        }
    }
}
