//! What this VM knows of its runs, on disk: one directory per run, so that a restart at any point can say what became of
//! each run and report what was not reported yet.
//!
//! `run.json` says where the run is (replaced as a whole), `events.jsonl` what is to be reported (appended; one report per
//! line, numbered without gaps), `delivered` the number of the last one that was delivered. What ends a phase is
//! appended to the events *before* `run.json` says so; `settled` catches up after a crash between the two. Nothing here
//! waits or decides; the callers are [`crate::runs`] and [`crate::report`].

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use relay_core::id::{ConversationId, RunId, TreeHash};
use relay_core::protocol::{Decision, DecisionResult, Report, RunOutcome, Task, VmEvent};
use relay_core::time::Timestamp;
use relay_core::trace::TraceParent;
use serde::{Deserialize, Serialize};

use crate::files;
use crate::git::snapshot::Snapshot;

/// Progress and beats that may wait to be delivered, per run; more are left out.
pub const WAITING_MAX: usize = 1_000;
/// Runs that are over and reported, kept to answer repeated requests.
const OVER_MAX: usize = 100;

const RECORD_FILE: &str = "run.json";
const EVENTS_FILE: &str = "events.jsonl";
const DELIVERED_FILE: &str = "delivered";
/// Renamed by a request to cancel for which there is no room: that needs none.
const NOT_CANCELLED_FILE: &str = "not-cancelled";
const CANCELLED_FILE: &str = "cancelled";
const LOCK_FILE: &str = "supervisor.lock";

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its name.
    pub run: RunId,
    /// Who asked for it.
    pub conversation: ConversationId,
    /// What it is for; nothing when it was cancelled before it was asked for.
    pub task: Option<Task>,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// The repository that it works on, once that is known.
    pub repository: Option<String>,
    /// The worktree as it was before the run, once that is known.
    pub snapshot: Option<Snapshot>,
    /// What the model has cost so far, in millionths of a US dollar, once the agent has told.
    #[serde(default)]
    pub cost_microusd: Option<u64>,
    /// The trace that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceParent>,
    /// Where it is.
    pub phase: Phase,
}

/// Where a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Nothing was done yet.
    Accepted,
    /// The worktree is the agent's.
    Working,
    /// A diff waits for a decision.
    AwaitingApproval {
        /// What was shown.
        tree: TreeHash,
    },
    /// A decision is being carried out.
    Deciding {
        /// What was shown.
        tree: TreeHash,
        /// The decision.
        decision: Decision,
        /// The last event before the decision; a later one tells what became of it.
        after_seq: u64,
    },
    /// Being stopped on request.
    Cancelling,
    /// Over.
    Over {
        /// What was decided and what became of it, if there was something to decide.
        decided: Option<Decided>,
    },
}

/// A decision that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// What was shown.
    pub tree: TreeHash,
    /// The decision.
    pub decision: Decision,
    /// What became of it.
    pub result: DecisionResult,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Entry {
    seq: u64,
    event: VmEvent,
}

/// One run's files, and what of them is needed again and again.
#[derive(Debug)]
pub struct RunLog {
    directory: PathBuf,
    record: RunRecord,
    events: File,
    last_seq: u64,
    waiting: VecDeque<Entry>,
}

/// All runs of this VM.
#[derive(Debug)]
pub struct Journal {
    root: PathBuf,
    logs: BTreeMap<RunId, RunLog>,
}

impl Journal {
    /// Read all runs below `root`. A run that cannot be read is logged and left alone.
    pub fn open(root: PathBuf) -> io::Result<Self> {
        files::private_directory(&root)?;
        let mut logs = BTreeMap::new();
        for entry in fs::read_dir(&root)? {
            let directory = entry?.path();
            match RunLog::load(&directory) {
                Ok(log) => drop(logs.insert(log.record.run.clone(), log)),
                Err(error) => tracing::error!(%error, directory = %directory.display(), "a run cannot be read"),
            }
        }
        Ok(Self { root, logs })
    }

    /// Begin a run, on disk before this returns. Old runs that are over and reported are forgotten.
    pub fn create(&mut self, record: RunRecord) -> io::Result<&mut RunLog> {
        self.forget_old();
        let run = record.run.clone();
        let log = RunLog::create(self.root.join(run.as_str()), record)?;
        Ok(self.logs.entry(run).or_insert(log))
    }

    /// A run.
    pub fn log(&self, run: &RunId) -> Option<&RunLog> {
        self.logs.get(run)
    }

    /// A run, to change it.
    pub fn log_mut(&mut self, run: &RunId) -> Option<&mut RunLog> {
        self.logs.get_mut(run)
    }

    /// All runs, in no order that matters.
    pub fn logs(&self) -> impl Iterator<Item = &RunLog> {
        self.logs.values()
    }

    /// Reports that were not delivered yet.
    pub fn waiting(&self) -> usize {
        self.logs.values().map(|log| log.waiting.len()).sum()
    }

    fn forget_old(&mut self) {
        let is_old = |log: &&RunLog| matches!(log.record.phase, Phase::Over { .. }) && log.waiting.is_empty();
        let mut old: Vec<_> = self.logs.values().filter(is_old).map(|log| &log.record).collect();
        old.sort_unstable_by_key(|record| record.accepted_at);
        let excess = (old.len() + 1).saturating_sub(OVER_MAX);
        let forgotten: Vec<RunId> = old.iter().take(excess).map(|record| record.run.clone()).collect();
        for run in forgotten {
            if let Some(log) = self.logs.remove(&run)
                && let Err(error) = fs::remove_dir_all(&log.directory)
            {
                tracing::warn!(%error, %run, "an old run cannot be removed");
            }
        }
    }
}

impl RunLog {
    fn create(directory: PathBuf, record: RunRecord) -> io::Result<Self> {
        files::private_directory(&directory)?;
        let events = open_events(&directory)?;
        fs::write(directory.join(NOT_CANCELLED_FILE), "")?;
        files::replace(&directory.join(RECORD_FILE), &serde_json::to_vec(&record)?)?;
        if let Some(parent) = directory.parent() {
            File::open(parent)?.sync_all()?;
        }
        let last_seq = before_first(&record);
        Ok(Self { directory, record, events, last_seq, waiting: VecDeque::new() })
    }

    fn load(directory: &Path) -> io::Result<Self> {
        let mut record: RunRecord = serde_json::from_slice(&fs::read(directory.join(RECORD_FILE))?)?;
        let is_open = matches!(record.phase, Phase::Accepted | Phase::Working | Phase::AwaitingApproval { .. });
        if is_open && directory.join(CANCELLED_FILE).exists() {
            record.phase = Phase::Cancelling;
        }
        let entries = read_entries(directory)?;
        let delivered = read_delivered(directory)?;
        let phase = settled(&record.phase, &entries);
        let last_seq = entries.last().map_or_else(|| before_first(&record), |entry| entry.seq);
        let waiting = entries.into_iter().filter(|entry| entry.seq > delivered).collect();
        let events = open_events(directory)?;
        let mut log = Self { directory: directory.to_owned(), record, events, last_seq, waiting };
        if log.record.phase != phase {
            log.update(|record| record.phase = phase)?;
        }
        Ok(log)
    }

    /// What is known of the run.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// The file that the run's supervisor keeps locked.
    pub fn lock(&self) -> PathBuf {
        self.directory.join(LOCK_FILE)
    }

    /// The sequence number of the newest event.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Change the record, on disk before this returns; unchanged when it fails.
    pub fn update(&mut self, change: impl FnOnce(&mut RunRecord)) -> io::Result<()> {
        let mut next = self.record.clone();
        change(&mut next);
        files::replace(&self.directory.join(RECORD_FILE), &serde_json::to_vec(&next)?)?;
        self.record = next;
        Ok(())
    }

    /// Write down that the run is being cancelled, also where there is no room to write: what is held back for its end is not
    /// touched while an agent may be there to take it.
    pub fn cancel(&mut self) -> io::Result<()> {
        self.update(|record| record.phase = Phase::Cancelling).or_else(|error| {
            let place = |name| self.directory.join(name);
            fs::rename(place(NOT_CANCELLED_FILE), place(CANCELLED_FILE)).map_err(|_| error)?;
            File::open(&self.directory)?.sync_all()?;
            self.record.phase = Phase::Cancelling;
            Ok(())
        })
    }

    /// Add an event to be reported, on disk before this returns. Progress and beats are left out while very many events
    /// wait, and a beat while any waits: what is left out has no number, so the numbers have no gaps.
    pub fn append(&mut self, event: VmEvent) -> io::Result<()> {
        let is_minor = matches!(event, VmEvent::Progress { .. } | VmEvent::Beat);
        let is_beat = matches!(event, VmEvent::Beat);
        if (is_minor && self.waiting.len() >= WAITING_MAX) || (is_beat && !self.waiting.is_empty()) {
            return Ok(());
        }
        let entry = Entry { seq: self.last_seq + 1, event };
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        let length = self.events.metadata()?.len();
        if let Err(error) = self.events.write_all(&line).and_then(|()| self.events.sync_data()) {
            // A part of a line must not become the beginning of the next one.
            let _ = self.events.set_len(length);
            return Err(error);
        }
        self.last_seq = entry.seq;
        self.waiting.push_back(entry);
        Ok(())
    }

    /// The oldest report that was not delivered.
    pub fn next_report(&self) -> Option<Report> {
        let Entry { seq, event } = self.waiting.front()?.clone();
        Some(Report { conversation: self.record.conversation.clone(), run: self.record.run.clone(), seq, event })
    }

    /// The report `seq` needs no more attention. Reports repeated after a crash are harmless, so this is not synced.
    pub fn delivered(&mut self, seq: u64) -> io::Result<()> {
        self.waiting.retain(|entry| entry.seq > seq);
        fs::write(self.directory.join(DELIVERED_FILE), seq.to_string())
    }

    /// Report once more how the run ended, for a relay that does not know: the diff, if one waits for a decision. Nothing when
    /// it has not ended.
    pub fn repeat_end(&mut self) -> io::Result<()> {
        let waits = matches!(self.record.phase, Phase::AwaitingApproval { .. });
        let ends = |event: &VmEvent| match event {
            VmEvent::Finished { .. } => true,
            VmEvent::Decided { .. } => !waits,
            _ => false,
        };
        match read_entries(&self.directory)?.into_iter().map(|entry| entry.event).rfind(ends) {
            Some(event) => self.append(event),
            None => Ok(()),
        }
    }

    /// The newest diff that the run reported.
    pub fn newest_changes(&self) -> io::Result<Option<RunOutcome>> {
        let entries = read_entries(&self.directory)?;
        Ok(entries.into_iter().rev().find_map(|entry| match entry.event {
            VmEvent::Finished { outcome: outcome @ RunOutcome::Changes { .. }, .. } => Some(outcome),
            _ => None,
        }))
    }
}

/// The phase of a run whose events may be one step ahead of its record.
fn settled(phase: &Phase, entries: &[Entry]) -> Phase {
    let finished = entries.iter().rev().find_map(|entry| match &entry.event {
        VmEvent::Finished { outcome, .. } => Some(outcome),
        _ => None,
    });
    match (phase, finished) {
        (Phase::Accepted | Phase::Working, Some(RunOutcome::Changes { tree, .. })) => {
            Phase::AwaitingApproval { tree: tree.clone() }
        }
        // The diff was reported before the request to cancel it came.
        (Phase::Cancelling, Some(RunOutcome::Changes { .. })) => Phase::Cancelling,
        (Phase::Accepted | Phase::Working | Phase::Cancelling, Some(_)) => Phase::Over { decided: None },
        (Phase::Deciding { tree, decision, after_seq }, _) => {
            let result = entries.iter().find_map(|entry| match &entry.event {
                VmEvent::Decided { result, .. } if entry.seq > *after_seq => Some(result.clone()),
                _ => None,
            });
            match result {
                None => phase.clone(),
                Some(result) => after_decision(tree.clone(), *decision, result),
            }
        }
        _ => phase.clone(),
    }
}

/// Where a run is once a decision has had `result`.
pub fn after_decision(tree: TreeHash, decision: Decision, result: DecisionResult) -> Phase {
    match result {
        DecisionResult::Failed { .. } => Phase::AwaitingApproval { tree },
        result => Phase::Over { decided: Some(Decided { tree, decision, result }) },
    }
}

/// Reports are numbered on from the instant at which their run was accepted: a VM that has lost its volume, and is told of
/// the same run again, does not repeat numbers that a relay has seen.
fn before_first(record: &RunRecord) -> u64 {
    record.accepted_at.as_millis()
}

fn open_events(directory: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(directory.join(EVENTS_FILE))
}

/// All whole lines; what follows the last of them was being written in a crash, and is cut off.
fn read_entries(directory: &Path) -> io::Result<Vec<Entry>> {
    let path = directory.join(EVENTS_FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        OpenOptions::new().write(true).open(&path)?.set_len(whole as u64)?;
    }
    let lines = text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(io::Error::from)).collect()
}

fn read_delivered(directory: &Path) -> io::Result<u64> {
    match fs::read_to_string(directory.join(DELIVERED_FILE)) {
        // A number lost in a crash means that reports are repeated.
        Ok(text) => Ok(text.trim().parse().unwrap_or(0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
