//! The runs of a fake VM: what the protocol says of them, and the record of them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use relay_core::id::{ConversationId, Fence, RunId, TreeHash};
use relay_core::protocol::{
    Accepted, ChangedFiles, Decision, DecisionResult, DiffStat, RefusalReason, Report, Review, RunOutcome, RunState,
    RunStatus, Task, VmEvent,
};
use relay_core::time::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::reports::{Reports, deliver};
use super::{DRIVER, Refused, review};

/// Lines of progress of one run at most.
const PROGRESS_MAX: u64 = 4;
/// What an agent says at length: forty kilobytes of Markdown with code in it.
pub const ESSAY: &str = include_str!("../../../relay-core/tests/fixtures/long_answer.md");
/// Lines of a chatty one, and how fast they come: nearly a minute of them. After a whole one the next message would be due in the
/// very moment in which the run ends.
const CHATTY_STEPS: u64 = 150;
const CHATTY_PACE: Duration = Duration::from_millis(360);

/// What is known of one run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name.
    pub run: RunId,
    /// Whose it is.
    pub conversation: ConversationId,
    /// What it is for; absent when it was cancelled before it was heard of.
    pub task: Option<Task>,
    /// The fence it was started under.
    pub fence: Fence,
    /// Where it is.
    pub state: RunState,
    /// What an approval of it is for.
    pub tree: TreeHash,
    /// The decision that was taken; a second one is refused.
    pub decision: Option<Decision>,
    /// True once it was told to stop.
    pub cancelled: bool,
    /// What was said to its inquiries, in order, with their numbers.
    pub replies: Vec<(u32, String)>,
    /// When it was accepted.
    pub started_at: Instant,
    /// When it was over.
    pub over_at: Option<Instant>,
}

impl Run {
    /// The text of its task; empty when it has none.
    pub fn text(&self) -> &str {
        match &self.task {
            Some(Task::Prompt { text, .. } | Task::Revise { text, .. }) => text,
            _ => "",
        }
    }
}

#[derive(Debug)]
pub(super) struct Runs {
    secret: String,
    pace: Duration,
    record: Mutex<Record>,
    reports: watch::Sender<Vec<Reports>>,
    client: reqwest::Client,
}

#[derive(Debug, Default)]
pub(super) struct Record {
    entries: Vec<Entry>,
    /// Where each run is among the entries.
    places: BTreeMap<RunId, usize>,
    fences: BTreeMap<ConversationId, Fence>,
    violations: Vec<String>,
    stale: usize,
    tasks: JoinSet<()>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) run: Run,
    /// The inquiry that waits for a reply.
    pub(super) open: Option<u32>,
    accepted_at: Timestamp,
    seq: u64,
    last: Option<VmEvent>,
    queue: mpsc::UnboundedSender<Report>,
}

pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).expect("within the next million years"))
}

impl Runs {
    pub(super) fn new(secret: &str, pace: Duration) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().expect("a plain client");
        Self {
            secret: secret.to_owned(),
            pace,
            record: Mutex::default(),
            reports: watch::Sender::new(Vec::new()),
            client,
        }
    }

    pub(super) fn secret(&self) -> &[u8] {
        self.secret.as_bytes()
    }

    pub(super) fn report_to(&self, ways: Vec<Reports>) {
        self.reports.send_replace(ways);
    }

    /// Which way the reports of this run go, once there is one.
    pub(super) async fn way(&self, run: &RunId) -> Option<Reports> {
        let mut reports = self.reports.subscribe();
        let ways = reports.wait_for(|ways| !ways.is_empty()).await.ok()?;
        let chosen = usize::try_from(mixed(run, 2)).unwrap_or_default() % ways.len();
        ways.get(chosen).cloned()
    }

    pub(super) fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// End everything that goes on.
    pub(super) fn end(&self) {
        self.lock().tasks.abort_all();
    }

    pub(super) fn violated(&self, line: String) {
        self.lock().violations.push(line);
    }

    pub(super) fn all(&self) -> Vec<Run> {
        self.lock().entries.iter().map(|entry| entry.run.clone()).collect()
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    pub(super) fn stale(&self) -> usize {
        self.lock().stale
    }

    pub(super) fn status(&self, run: &str) -> Option<RunStatus> {
        let record = self.lock();
        let entry = record.entries.iter().rev().find(|entry| entry.run.run.as_str() == run)?;
        let (run, state) = (entry.run.run.clone(), entry.run.state);
        Some(RunStatus { run, state, started_at: entry.accepted_at, last_output_at: now() })
    }

    /// A part of the review of a diff that waits: `{run}/{tree}/{part}`.
    pub(super) fn review(&self, part: &str) -> Option<Value> {
        let [run, tree, part] = part.split('/').collect::<Vec<_>>().try_into().ok()?;
        let record = self.lock();
        let entry = record.entries.iter().rev().find(|entry| entry.run.run.as_str() == run)?;
        let waits = entry.run.state == RunState::AwaitingApproval && entry.run.tree.as_str() == tree;
        review::part(&entry.run.tree, part.parse().ok()?).filter(|_| waits)
    }

    /// Refuse a fence that is smaller than the largest seen.
    pub(super) fn pass(&self, conversation: &ConversationId, fence: Fence) -> Result<(), Refused> {
        let mut record = self.lock();
        let largest = record.fences.entry(conversation.clone()).or_insert(fence);
        if fence < *largest {
            record.stale += 1;
            return Err((409, RefusalReason::StaleFence, "Another relay has taken this conversation over."));
        }
        *largest = fence;
        Ok(())
    }

    pub(super) fn start(
        self: &Arc<Self>,
        conversation: ConversationId,
        fence: Fence,
        run: RunId,
        task: Task,
    ) -> Result<Accepted, Refused> {
        let mut record = self.lock();
        if let Some(entry) = record.entry(&run) {
            if matches!(entry.run.state, RunState::Over | RunState::AwaitingApproval) {
                entry.tell_again();
            }
            return Ok(Accepted { run, repeated: true });
        }
        let at_work = |entry: &&Entry| entry.run.conversation == conversation && entry.run.state != RunState::Over;
        if let Some(other) = record.entries.iter().rev().find(at_work) {
            let line = format!("{run} was to start while {} was {:?}", other.run.run, other.run.state);
            record.violations.push(line);
            return Err((503, RefusalReason::Busy, "Another run has the worktree."));
        }
        if let Task::Revise { parked, .. } = &task
            && record.entry(parked).is_none_or(|entry| entry.run.decision != Some(Decision::Park))
        {
            record.violations.push(format!("{run} was to go on with {parked}, which is not parked"));
        }
        self.add(&mut record, conversation, fence, &run, Some(task));
        let (runs, working) = (Arc::clone(self), run.clone());
        record.tasks.spawn(async move { runs.work(&working).await });
        Ok(Accepted { run, repeated: false })
    }

    pub(super) fn decide(
        self: &Arc<Self>,
        run: &RunId,
        tree: &TreeHash,
        decision: Decision,
    ) -> Result<Accepted, Refused> {
        let mut record = self.lock();
        let Some(entry) = record.entry(run) else {
            return Err((404, RefusalReason::NotFound, "This VM does not know that run."));
        };
        if entry.run.tree == *tree && entry.run.decision == Some(decision) {
            if entry.run.state == RunState::Over {
                entry.tell_again();
            }
            return Ok(Accepted { run: run.clone(), repeated: true });
        }
        if entry.run.tree != *tree || entry.run.state != RunState::AwaitingApproval {
            let line = format!("{decision:?} on {run}, {:?} after {:?}: {tree}", entry.run.state, entry.run.decision);
            record.violations.push(line);
            return Err((409, RefusalReason::StaleTree, "That is not what waits for a decision."));
        }
        entry.run.decision = Some(decision);
        entry.run.state = RunState::Deciding;
        let (runs, deciding) = (Arc::clone(self), run.clone());
        record.tasks.spawn(async move {
            runs.rest(&deciding, 100).await;
            runs.with(&deciding, |entry| entry.over(decided(&deciding, decision)));
        });
        Ok(Accepted { run: run.clone(), repeated: false })
    }

    pub(super) fn cancel(
        self: &Arc<Self>,
        conversation: ConversationId,
        fence: Fence,
        run: &RunId,
    ) -> Result<Accepted, Refused> {
        let mut record = self.lock();
        if record.entry(run).is_none() {
            self.add(&mut record, conversation, fence, run, None);
        }
        let entry = record.entry(run).expect("it was added");
        let repeated = entry.run.cancelled || entry.run.state == RunState::Over;
        match entry.run.state {
            RunState::Deciding => return Err((503, RefusalReason::Busy, "A decision is being carried out.")),
            RunState::Over => entry.tell_again(),
            RunState::Cancelling => {}
            RunState::Running | RunState::AwaitingApproval => {
                entry.run.cancelled = true;
                entry.run.state = RunState::Cancelling;
                let (runs, stopping) = (Arc::clone(self), run.clone());
                record.tasks.spawn(async move {
                    runs.rest(&stopping, 200).await;
                    runs.with(&stopping, |entry| {
                        entry.over(VmEvent::Finished { outcome: RunOutcome::Cancelled, spent: None })
                    });
                });
            }
        }
        Ok(Accepted { run: run.clone(), repeated })
    }

    fn add(
        self: &Arc<Self>,
        record: &mut Record,
        conversation: ConversationId,
        fence: Fence,
        run: &RunId,
        task: Option<Task>,
    ) {
        let (queue, waiting) = mpsc::unbounded_channel();
        let tree = TreeHash::parse(format!("{:040x}", mixed(run, 0))).expect("hex within the bound");
        let known = Run {
            run: run.clone(),
            conversation,
            task,
            fence,
            state: RunState::Running,
            tree,
            decision: None,
            cancelled: false,
            replies: Vec::new(),
            started_at: Instant::now(),
            over_at: None,
        };
        let accepted_at = now();
        let entry = Entry { run: known, open: None, accepted_at, seq: accepted_at.as_millis(), last: None, queue };
        let place = record.entries.len();
        record.places.insert(run.clone(), place);
        record.entries.push(entry);
        // Those that have ended make way.
        while record.tasks.try_join_next().is_some() {}
        record.tasks.spawn(deliver(Arc::clone(self), waiting));
    }

    /// The agent's work.
    async fn work(&self, run: &RunId) {
        self.with(run, |entry| entry.report(VmEvent::Started { driver: DRIVER.to_owned() }));
        let text = self.with(run, |entry| entry.run.text().to_owned());
        let chatty = text.contains("chatty");
        let steps = if chatty { CHATTY_STEPS } else { mixed(run, 1) % (PROGRESS_MAX + 1) };
        for step in 1..=steps {
            if chatty {
                tokio::time::sleep(CHATTY_PACE).await;
            } else {
                self.rest(run, step).await;
            }
            let text = format!("Step {step} of run {}", run.number());
            self.with(run, |entry| entry.report_at_work(VmEvent::Progress { text }));
        }
        self.ask_all(run, &text).await;
        self.rest(run, 50).await;
        if text.contains("long") {
            return;
        }
        self.with(run, |entry| {
            if entry.run.state != RunState::Running {
                return;
            }
            if text.contains("essay") {
                return entry
                    .over(VmEvent::Finished { outcome: RunOutcome::Answered { text: ESSAY.to_owned() }, spent: None });
            }
            if text.contains("question") {
                return entry.over(VmEvent::Finished {
                    outcome: RunOutcome::Answered { text: format!("Answer to {text}") },
                    spent: None,
                });
            }
            entry.run.state = RunState::AwaitingApproval;
            let outcome = changes(&text, &entry.run.tree);
            entry.report(VmEvent::Finished { outcome, spent: None });
        });
    }

    /// A while that differs from run to run and from step to step.
    pub(super) async fn rest(&self, run: &RunId, step: u64) {
        let share = f64::from(u32::try_from(mixed(run, step) % 1_000).expect("below a thousand")) / 1_000.0;
        tokio::time::sleep(self.pace.mul_f64(share)).await;
    }

    pub(super) fn with<T>(&self, run: &RunId, act: impl FnOnce(&mut Entry) -> T) -> T {
        act(self.lock().entry(run).expect("a run at work was added"))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    pub(super) fn entry(&mut self, run: &RunId) -> Option<&mut Entry> {
        let place = *self.places.get(run)?;
        self.entries.get_mut(place)
    }
}

impl Entry {
    fn report(&mut self, event: VmEvent) {
        self.seq += 1;
        if matches!(event, VmEvent::Finished { .. } | VmEvent::Decided { .. }) {
            self.last = Some(event.clone());
        }
        let (conversation, run) = (self.run.conversation.clone(), self.run.run.clone());
        // Fails only when the test is over and nobody delivers any more.
        let _ = self.queue.send(Report { conversation, run, seq: self.seq, event });
    }

    pub(super) fn report_at_work(&mut self, event: VmEvent) {
        if self.run.state == RunState::Running {
            self.report(event);
        }
    }

    fn tell_again(&mut self) {
        if let Some(last) = self.last.clone() {
            self.report(last);
        }
    }

    fn over(&mut self, event: VmEvent) {
        self.run.state = RunState::Over;
        self.run.over_at = Some(Instant::now());
        self.report(event);
    }
}

fn changes(text: &str, tree: &TreeHash) -> RunOutcome {
    let diff =
        format!("diff --git a/work.txt b/work.txt\n--- a/work.txt\n+++ b/work.txt\n@@ -0,0 +1 @@\n+tree {tree}\n");
    let stat = DiffStat { files: 1, insertions: 1, deletions: 0 };
    RunOutcome::Changes {
        summary: format!("Done: {text}"),
        tree: tree.clone(),
        stat,
        diff,
        diff_cut: false,
        files: ChangedFiles::default(),
        drawings: Vec::new(),
        review: text.contains("review").then_some(Review { parts: review::PARTS }),
    }
}

fn decided(run: &RunId, decision: Decision) -> VmEvent {
    let branch = format!("textslash/{run}");
    let result = match decision {
        Decision::Approve => DecisionResult::PullRequest { url: format!("https://github.example/pull/{run}"), branch },
        Decision::Reject => DecisionResult::RolledBack,
        Decision::Park => DecisionResult::Parked { branch },
    };
    VmEvent::Decided { decision, result }
}

/// A number that is the same each time it is asked for.
fn mixed(run: &RunId, salt: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (run, salt).hash(&mut hasher);
    hasher.finish()
}
