//! vm-agent killed with SIGKILL at every single step that it takes on the disk, on every way that a run can go, and started
//! again: the person reads the truth about the run, once, and the VM goes on working.
//!
//! `strace` delivers the signal when the process enters the Nth call that makes something last: a file that is about to take
//! another's place or has just taken it, a report that was just appended. N grows until the way is gone to its end without
//! a kill, so that no step is left out, also of those that are added later.
#![expect(clippy::print_stdout, reason = "the matrix is for people")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use system_tests::console::Console;
use system_tests::stack::{BOUND, Plan, Stack, git};
use system_tests::wait::wait_for;

use crate::common::{contents, no_process_left, pushed, shown_tree};

/// A relay that finds nobody tries again for a while with growing pauses.
const RECOVERY: Duration = Duration::from_secs(60);
/// More steps than any way has.
const STEPS_MAX: usize = 100;
/// Syncs of whole files and directories, and of reports.
const STEPS: [&str; 2] = ["fsync", "fdatasync"];
const TASK: &str = "add a line to hello.txt";

const SHOWN: &str = "*approve* opens";
const INTERRUPTED: &str = "was restarted while run";
const PUSHED: &str = "is pushed as branch";
const ROLLED_BACK: &str = "is rolled back; everything is as it was";
const PARKED: &str = "is parked on the local branch";
const STOPPED: &str = "is stopped";
const ANSWERED: &str = "This is the demo agent";

/// What a run goes through while it is struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From the task to the diff.
    Work,
    /// From the task to an answer, nothing changed.
    Answer,
    /// From the approval to the pushed branch.
    Approve,
    /// From the rejection to the files as they were.
    Reject,
    /// From the deadline to the branch that keeps the work.
    Park,
    /// From the task to the agent at work, and from there to its end on request.
    CancelWork,
    /// From the request to the files as they were, with a diff that waits.
    CancelDiff,
    /// From the parked work to its diff.
    Resume,
}

/// One run of the matrix.
struct Scene {
    stack: Stack,
    console: Console,
    worktree: PathBuf,
    before: BTreeMap<PathBuf, (u32, Vec<u8>)>,
}

impl Scene {
    /// A VM that has a repository, and what comes before the way.
    async fn set(way: Way) -> Self {
        let plan = match way {
            Way::Park | Way::Resume => Plan::default().relay("APPROVAL_TIMEOUT_MS", "3000"),
            _ => Plan::default(),
        };
        let stack = Stack::start(plan).await;
        let console = stack.console();
        let worktree = stack.worktree().await;
        let before = contents(&worktree);
        if !matches!(way, Way::Work | Way::Answer | Way::CancelWork) {
            console.send(TASK, BOUND).await;
            console.wait_for(SHOWN, BOUND).await;
        }
        if way == Way::Resume {
            console.wait_for(PARKED, BOUND).await;
        }
        Self { stack, console, worktree, before }
    }

    /// Go the way with a VM that dies at the `nth` call of `step` and is started again; where it died, if it did.
    async fn go(&mut self, way: Way, step: &str, nth: usize) -> Option<String> {
        let status = self.stack.vm.take().expect("the VM is up").terminate(BOUND).await;
        assert_eq!(status.code(), Some(0));
        let trace = self.stack.start_vm_that_dies_at(step, nth);
        let (console, stack) = (&self.console, &mut self.stack);
        let mut died = false;
        let going = walk(console, way);
        tokio::pin!(going);
        loop {
            let vm = stack.vm.as_mut().expect("the VM was started");
            tokio::select! {
                () = &mut going => break,
                _ = vm.exited(RECOVERY), if !died => {
                    died = true;
                    stack.start_vm().await;
                }
            }
        }
        if !died {
            // It must not be struck on the way on.
            stack.vm.take().expect("the VM is up").terminate(BOUND).await;
            stack.start_vm().await;
        }
        died.then(|| last_step(&trace, stack.folder()))
    }

    /// What the person was told is true, and was told once.
    async fn check(&self, way: Way) -> &'static str {
        let told: Vec<&str> = ends_of(way)
            .iter()
            .copied()
            .filter(|end| self.console.count(end) > usize::from(told_before(way, end)))
            .collect();
        let [end] = told[..] else { panic!("one end is told: {told:?} of {:#?}", self.console.texts()) };
        let times = self.console.count(end) - usize::from(told_before(way, end));
        assert_eq!(times, 1, "{end:?} is told once: {:#?}", self.console.texts());
        no_process_left(&self.stack).await;
        let origin = self.stack.origin();
        match end {
            PUSHED => {
                let tree = pushed(&origin).map(|(_, tree)| tree);
                assert_eq!(tree, Some(shown_tree(&self.console.entries())), "exactly what was shown");
            }
            SHOWN => {
                assert_ne!(contents(&self.worktree), self.before, "the work is there");
                assert_eq!(pushed(&origin), None);
            }
            _ => {
                assert_eq!(contents(&self.worktree), self.before, "{end}: the files are as they were");
                assert_eq!(pushed(&origin), None);
            }
        }
        for branch in self.kept() {
            let kept = git(&self.worktree.with_file_name("git"), &["show", &format!("{branch}:hello.txt")]);
            assert!(kept.contains(TASK), "the branch that was told keeps the work: {kept}");
        }
        end
    }

    /// The branches that were told to keep something.
    fn kept(&self) -> Vec<String> {
        let texts = self.console.texts();
        let told = texts.iter().filter(|text| text.contains("on the local branch `"));
        told.filter_map(|text| Some(text.split_once("on the local branch `")?.1.split_once('`')?.0.to_owned()))
            .collect()
    }

    /// The VM takes tasks as before. A diff that waits is decided first.
    async fn go_on(&self, end: &str) {
        if end == SHOWN {
            self.console.send("reject", BOUND).await;
            self.console.wait_for(ROLLED_BACK, RECOVERY).await;
            assert_eq!(contents(&self.worktree), self.before);
        }
        let answers = self.console.count(ANSWERED);
        self.console.send("a question at the end", BOUND).await;
        wait_for("an answer", RECOVERY, async || {
            if self.console.count(ANSWERED) > answers { Ok(()) } else { Err(self.console.texts()) }
        })
        .await;
    }
}

/// Do what the person does, until an end is told.
async fn walk(console: &Console, way: Way) {
    match way {
        Way::Work => console.send(TASK, RECOVERY).await,
        Way::Answer => console.send("a question", RECOVERY).await,
        Way::Approve => console.send("approve", RECOVERY).await,
        Way::Reject => console.send("reject", RECOVERY).await,
        Way::CancelDiff => console.send("cancel", RECOVERY).await,
        Way::Resume => console.send("resume 1", RECOVERY).await,
        // The deadline comes by itself.
        Way::Park => {}
        Way::CancelWork => {
            console.send(&format!("slow: {TASK}"), RECOVERY).await;
            told_one_of(console, way, &["Working slowly", INTERRUPTED]).await;
            console.send("cancel", RECOVERY).await;
        }
    }
    told_one_of(console, way, ends_of(way)).await;
}

async fn told_one_of(console: &Console, way: Way, texts: &[&str]) {
    wait_for(&format!("one of {texts:?}"), RECOVERY, async || {
        let is_told = |text: &&str| console.count(text) > usize::from(told_before(way, text));
        if texts.iter().any(is_told) { Ok(()) } else { Err(console.texts()) }
    })
    .await;
}

/// How the way can end, in the words that the person reads.
fn ends_of(way: Way) -> &'static [&'static str] {
    match way {
        Way::Work | Way::Resume => &[SHOWN, INTERRUPTED],
        Way::Answer => &[ANSWERED, INTERRUPTED],
        Way::Approve => &[PUSHED],
        Way::Reject => &[ROLLED_BACK],
        Way::Park => &[PARKED],
        Way::CancelWork => &[STOPPED, INTERRUPTED],
        Way::CancelDiff => &[STOPPED],
    }
}

/// Whether the person had read this before the way began.
fn told_before(way: Way, text: &str) -> bool {
    way == Way::Resume && text == SHOWN
}

/// The file at which the process died, and what it was about to do with it: `fsync …/run.new`.
fn last_step(trace: &Path, folder: &Path) -> String {
    let trace = fs::read_to_string(trace).expect("strace wrote what it saw");
    let line = trace.lines().rfind(|line| line.contains('(')).unwrap_or_default();
    let (call, rest) =
        line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').split_once('(').unwrap_or_default();
    let path = rest.rsplit(['<', '"']).find(|part| part.contains('/')).unwrap_or_default();
    let path = path.split(['>', '"']).next().unwrap_or_default();
    let below = Path::new(path).strip_prefix(folder).unwrap_or(Path::new(path)).display().to_string();
    // A run's name differs each time.
    let parts: Vec<&str> = below.split('/').map(|part| if part.len() > 30 { "RUN" } else { part }).collect();
    format!("{call} {}", parts.join("/"))
}

/// Strike the way at each of its steps, and print what came of it.
async fn strike(way: Way) {
    let mut struck = Vec::new();
    for step in STEPS {
        let before = struck.len();
        for nth in 1.. {
            assert!(nth <= STEPS_MAX, "{way:?} does not end: {struck:#?}");
            let mut scene = Scene::set(way).await;
            let died_at = scene.go(way, step, nth).await;
            let end = scene.check(way).await;
            scene.go_on(end).await;
            let Some(at) = died_at else { break };
            struck.push(format!("{at} -> {end}"));
        }
        assert!(struck.len() > before, "a way without {step}: nothing was struck");
    }
    println!("{way:?}: killed at each of {} steps\n  {}", struck.len(), struck.join("\n  "));
}

#[tokio::test]
async fn a_task_with_a_diff() {
    strike(Way::Work).await;
}

#[tokio::test]
async fn a_task_with_an_answer() {
    strike(Way::Answer).await;
}

#[tokio::test]
async fn an_approval() {
    strike(Way::Approve).await;
}

#[tokio::test]
async fn a_rejection() {
    strike(Way::Reject).await;
}

#[tokio::test]
async fn a_deadline_that_parks() {
    strike(Way::Park).await;
}

#[tokio::test]
async fn a_cancelled_task() {
    strike(Way::CancelWork).await;
}

#[tokio::test]
async fn a_cancelled_diff() {
    strike(Way::CancelDiff).await;
}

#[tokio::test]
async fn parked_work_brought_back() {
    strike(Way::Resume).await;
}
