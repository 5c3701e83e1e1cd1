//! The wire between relay and vm-agent: every JSON body, and the signature that each request carries.
//!
//! The relay calls the VM (`/command`, `/approve`, `/cancel`, `/runs/{id}`, `/files/{id}`, `/images/{name}`, `/reviews/{run}/…`;
//! `/health` is for probes); the VM reports by `POST /callback/{run}`. `docs/protocol.md` tells the story; the types here are
//! the definition. All of it is idempotent: a command by its run id, an approval by run id and decision, a report by run id and
//! sequence number.

use serde::{Deserialize, Serialize};

use crate::id::{BlobId, ConversationId, Fence, RunId, TreeHash};
use crate::time::Timestamp;

pub mod changed;
pub mod review;
pub mod signature;
pub mod worktree;

pub use changed::{ChangedFiles, DiffStat, Drawing, fits_inline};
pub use review::Review;

/// Body of `POST /command`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRequest {
    /// Who asks; a VM keeps one fence per conversation.
    pub conversation: ConversationId,
    /// Refused with 409 when smaller than one the VM has seen for this conversation.
    pub fence: Fence,
    /// What to do.
    pub command: Command,
}

/// What a VM can be told to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Command {
    /// Start a run: answered 202, then reported by events. The same run id again changes nothing.
    Run {
        /// The run's name.
        run: RunId,
        /// What the run is for.
        task: Task,
    },
    /// A question or a small change, done at once: answered 200 with an [`Answer`].
    Ask {
        /// What is asked.
        question: Question,
    },
}

/// What a run is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Task {
    /// Give this text to the agent.
    Prompt {
        /// The person's words, unchanged.
        text: String,
        /// Files that came with them, which the VM was given before by `PUT /files/{id}`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<File>,
    },
    /// Clone a repository and make it the current one.
    Clone {
        /// The address as the person gave it.
        url: String,
    },
    /// Bring parked work back and show its diff again.
    Resume {
        /// The run whose work was parked.
        parked: RunId,
    },
    /// Bring parked work back and have the agent go on with it.
    Revise {
        /// The run whose work was parked.
        parked: RunId,
        /// What is to be different, in the person's words.
        text: String,
    },
}

/// A file that a person sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name in the relay's store and on the VM.
    pub id: BlobId,
    /// What the agent is to know it as; letters, digits, dashes and one dot.
    pub name: String,
    /// Its media type, as its first bytes show it.
    pub content_type: String,
    /// Its length.
    pub bytes: u64,
}

impl Task {
    /// A task for the agent, in words alone.
    pub fn prompt(text: impl Into<String>) -> Self {
        Self::Prompt { text: text.into(), files: Vec::new() }
    }
}

/// What a VM answers without a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "question", rename_all = "snake_case")]
pub enum Question {
    /// The diff of the current or latest run.
    Diff,
    /// One file of the worktree, by its path in the repository.
    Show {
        /// The path.
        file: String,
    },
    /// Which repositories are here, and which is current.
    Repos,
    /// Make another repository current. Refused while a run needs the worktree.
    Switch {
        /// Its name, as `repos` lists it.
        name: String,
    },
    /// The current branch, and the others.
    Branch,
    /// Check out a branch. Refused while a run needs the worktree.
    Checkout {
        /// The branch.
        name: String,
        /// Make it first.
        create: bool,
    },
    /// Forget the agent's session: the next run starts a new one.
    Clear,
}

/// Body of a 200 from `POST /command`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// In plain words, with WhatsApp markup. Bounded by [`ANSWER_CHARS_MAX`].
    pub text: String,
    /// A unified diff or a file, shown in monospace. Bounded by [`DIFF_BYTES_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// Body of `POST /approve`, answered 202 and reported by [`VmEvent::Decided`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproveRequest {
    /// Who asks.
    pub conversation: ConversationId,
    /// As in [`CommandRequest`].
    pub fence: Fence,
    /// The run whose work is decided on.
    pub run: RunId,
    /// The tree that the person was shown; anything else is refused.
    pub tree: TreeHash,
    /// What becomes of it.
    pub decision: Decision,
}

/// What becomes of a shown diff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Commit exactly the shown tree, push it, open a pull request.
    Approve,
    /// Put the worktree back as it was before the run.
    Reject,
    /// Keep the work on a local branch and put the worktree back.
    Park,
}

/// Body of `POST /cancel`, answered 202 and reported by [`VmEvent::Finished`] with [`RunOutcome::Cancelled`].
///
/// A run that the VM has not heard of is remembered as cancelled, so that a late `/command` cannot start it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// Who asks.
    pub conversation: ConversationId,
    /// As in [`CommandRequest`].
    pub fence: Fence,
    /// The run to stop.
    pub run: RunId,
}

/// Body of `POST /reply`, answered 202: what the person says to an inquiry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyRequest {
    /// Who asks.
    pub conversation: ConversationId,
    /// As in [`CommandRequest`].
    pub fence: Fence,
    /// The run whose agent has asked.
    pub run: RunId,
    /// Which of its inquiries; the same again changes nothing.
    pub number: u32,
    /// An option's label, several with commas, or the person's own words. Bounded by [`REPLY_CHARS_MAX`].
    pub reply: String,
}

/// Body of a 202.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The run that was accepted.
    pub run: RunId,
    /// True when the VM had accepted the same request before.
    pub repeated: bool,
}

/// Body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Machine-readable reason.
    pub refused: RefusalReason,
    /// For people: what happened and what to do. Never a secret.
    pub message: String,
}

/// Why a VM refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// The signature is missing, wrong or too old (401).
    Signature,
    /// A larger fence has been seen (409).
    StaleFence,
    /// Another run holds the worktree; try again later (503).
    Busy,
    /// The tree is not the one that was shown (409).
    StaleTree,
    /// No such run, file, image or repository (404).
    NotFound,
    /// The request makes no sense, or the person's words cannot be followed (422).
    Invalid,
    /// The VM cannot do it now: disk full, shutting down (503).
    Unavailable,
}

/// Body of `GET /runs/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStatus {
    /// The run.
    pub run: RunId,
    /// What it is doing.
    pub state: RunState,
    /// When it was accepted.
    pub started_at: Timestamp,
    /// When its agent last wrote a line.
    pub last_output_at: Timestamp,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// The agent is at work, or about to be.
    Running,
    /// A diff waits for a decision.
    AwaitingApproval,
    /// A decision is being carried out.
    Deciding,
    /// Being stopped.
    Cancelling,
    /// Over; nothing will change any more.
    Over,
}

/// Body of `GET /health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The driver in use (`claude`, `demo`).
    pub driver: String,
    /// The version of its program, as it tells it, if it has one.
    #[serde(default)]
    pub driver_version: Option<String>,
    /// What the agent is confined by, in words.
    #[serde(default)]
    pub isolation: String,
    /// The run that holds the worktree, if any.
    pub active_run: Option<RunId>,
    /// The current repository, if any.
    pub repository: Option<String>,
    /// Reports that no relay has taken yet.
    pub unreported_events: usize,
    /// When a report was delivered last, since the start of the process.
    #[serde(default)]
    pub last_delivered_at: Option<Timestamp>,
    /// Free bytes on the volume.
    pub free_bytes: u64,
    /// What is wrong with the volume, in words, if anything is.
    #[serde(default)]
    pub volume_trouble: Option<String>,
}

/// Body of `POST /callback/{run}`: one report of a VM. Answered 204 once it is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whose run it is.
    pub conversation: ConversationId,
    /// The run.
    pub run: RunId,
    /// Grows within the run, on from the instant (in milliseconds) at which the VM accepted it, so that a VM which has lost
    /// its volume repeats none. A report is known by run and sequence.
    pub seq: u64,
    /// What happened.
    pub event: VmEvent,
}

/// What a VM reports of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum VmEvent {
    /// The agent process is up.
    Started {
        /// The driver, for the person to know who answers.
        driver: String,
    },
    /// Nothing new, but alive.
    Beat,
    /// The agent said or did something.
    Progress {
        /// One line or paragraph. Bounded by [`PROGRESS_CHARS_MAX`].
        text: String,
    },
    /// A picture can be fetched at `/images/{name}`.
    Image {
        /// Its name on the VM.
        name: String,
        /// For the person; may be empty.
        caption: String,
    },
    /// The agent asks the person something, and waits.
    Inquiry {
        /// Its number in the run, from 1; a reply names it.
        number: u32,
        /// What it asks. Bounded by [`PROGRESS_CHARS_MAX`].
        text: String,
        /// What can be chosen; there may be nothing, and other words are a reply as well. At most [`OPTIONS_MAX`].
        options: Vec<InquiryOption>,
        /// Whether several of them can be.
        several: bool,
        /// After so long the agent goes on without.
        timeout_ms: u64,
    },
    /// Nobody has replied in time, or the agent no longer waits.
    InquiryOver {
        /// Which inquiry.
        number: u32,
    },
    /// The run is over, or waits for a decision.
    Finished {
        /// How it ended.
        outcome: RunOutcome,
        /// What it took, where an agent was at work.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spent: Option<Spent>,
    },
    /// A decision was carried out, or could not be.
    Decided {
        /// Which decision.
        decision: Decision,
        /// What became of it.
        result: DecisionResult,
    },
}

/// Something to choose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InquiryOption {
    /// In a few words; the reply that it stands for.
    pub label: String,
    /// What it means; may be empty.
    pub description: String,
}

/// What a run took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// From its acceptance to its end.
    pub duration_ms: u64,
    /// What the model cost, in millionths of a US dollar, as far as the agent tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_microusd: Option<u64>,
}

/// How a run ended. One is reported per run; another when a run whose changes were reported is cancelled, and the same again
/// for a request about a run that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RunOutcome {
    /// There is a diff to decide on.
    Changes {
        /// The agent's last words. Bounded by [`ANSWER_CHARS_MAX`].
        summary: String,
        /// Exactly what an approval would commit.
        tree: TreeHash,
        /// What the diff touches.
        stat: DiffStat,
        /// The unified diff, cut at [`DIFF_BYTES_MAX`].
        diff: String,
        /// True when `diff` was cut.
        diff_cut: bool,
        /// The same, file by file.
        #[serde(default, deserialize_with = "changed::as_known", skip_serializing_if = "ChangedFiles::is_empty")]
        files: ChangedFiles,
        /// Drawings of the diff, to be shown before it: of one that does not [fit inline](fits_inline), where the VM can draw.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        drawings: Vec<Drawing>,
        /// All of the diff, to be read at leisure.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        review: Option<Review>,
    },
    /// The agent answered and changed no file; or a clone is done.
    Answered {
        /// The agent's last words. Bounded by [`ANSWER_CHARS_MAX`].
        text: String,
    },
    /// The agent failed. The worktree is back as it was and changes, if any, are on a local branch, unless the reason says that
    /// the files are left as they are.
    Failed {
        /// What happened and what to do. Never a secret.
        reason: String,
        /// The branch that keeps what the run had changed, if it had changed anything.
        kept: Option<String>,
    },
    /// Stopped on request; no process of the run is left and the worktree is as it was before.
    Cancelled,
    /// The VM itself was restarted while the run worked. The worktree is back as it was.
    Interrupted {
        /// The branch that keeps what the run had changed, if it had changed anything.
        kept: Option<String>,
    },
}

/// What became of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum DecisionResult {
    /// The branch is pushed and the pull request is open.
    PullRequest {
        /// Where to read it.
        url: String,
        /// The branch pushed.
        branch: String,
    },
    /// The branch is pushed; the remote is not one where a pull request can be opened.
    Pushed {
        /// The branch pushed.
        branch: String,
        /// Why there is no pull request.
        note: String,
    },
    /// The worktree is as it was before the run.
    RolledBack,
    /// The work is on a local branch, the worktree as it was before the run.
    Parked {
        /// The branch.
        branch: String,
    },
    /// It could not be done. The work is kept and the same decision may be tried again.
    Failed {
        /// What happened and what to do. Never a secret.
        reason: String,
    },
}

/// Characters of an agent's summary, an answer or a failure reason at most.
pub const ANSWER_CHARS_MAX: usize = 48_000;
/// Characters of one progress report at most.
pub const PROGRESS_CHARS_MAX: usize = 600;
/// Bytes of a diff or file sent to the relay at most.
pub const DIFF_BYTES_MAX: usize = 64 * 1024;
/// Bytes of any JSON body between relay and VM at most; a diff that would not fit is cut.
pub const BODY_BYTES_MAX: usize = 512 * 1024;
/// Bytes of a file given to a VM at most; below what managed stores of relays take in one request.
pub const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Files that one message may bring.
pub const FILES_MAX: usize = 10;
/// What can be chosen at an inquiry.
pub const OPTIONS_MAX: usize = 10;
/// Characters of a person's reply to an inquiry.
pub const REPLY_CHARS_MAX: usize = 2_000;
/// Bytes of a picture fetched from a VM at most.
pub const IMAGE_BYTES_MAX: usize = 5 * 1024 * 1024;
/// A working VM reports at least this often, in milliseconds.
pub const BEAT_INTERVAL_MS: u64 = 30_000;
