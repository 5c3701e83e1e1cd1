//! What must hold whatever happened, judged by the records of Twilio, of the VM and of the people.

use std::collections::BTreeMap;

use relay_core::id::{Address, ChannelKind};
use relay_core::protocol::{Decision, RunState};

use super::person::{Diary, SMALL_TALK, SMALL_TALK_ANSWER};
use super::plan::{Assignment, Ending};
use crate::fake_vm::Run;
use crate::fleet::Fleet;
use crate::stack::SECRET;

/// Everything that is not as it must be, one line each; and what is allowed but counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub violations: Vec<String>,
    /// Messages that came twice in direct succession: those whose sending was in doubt.
    pub repeats: usize,
}

pub(super) fn violations(fleet: &Fleet, diaries: &[Diary]) -> Findings {
    let mut findings = Findings::default();
    let mut runs: BTreeMap<String, Vec<Run>> = BTreeMap::new();
    if let Some(vm) = &fleet.fake_vm {
        findings.violations.extend(vm.violations());
        for run in vm.runs() {
            runs.entry(run.conversation.as_str().to_owned()).or_default().push(run);
        }
    }
    let overlaps = fleet.twilio.overlaps();
    findings.violations.extend(overlaps.into_iter().map(|line| format!("two relays at once: {line}")));
    let mut read: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for sent in fleet.twilio.sent() {
        read.entry(sent.to).or_default().push(sent.body);
    }
    for diary in diaries {
        let address = Address { channel: ChannelKind::Twilio, name: diary.address.clone() };
        let runs = runs.remove(address.conversation(SECRET.as_bytes()).as_str()).unwrap_or_default();
        let mut judge = Judge { diary, lines: Vec::new() };
        judge.person();
        judge.runs(&runs);
        findings.repeats += judge.messages(&read.remove(&diary.address).unwrap_or_default());
        findings.violations.extend(judge.lines);
    }
    findings
        .violations
        .extend(runs.into_keys().map(|conversation| format!("nobody is in conversation {conversation}")));
    findings
}

struct Judge<'a> {
    diary: &'a Diary,
    lines: Vec<String>,
}

impl Judge<'_> {
    fn violated(&mut self, line: impl AsRef<str>) {
        self.lines.push(format!("p{}: {}", self.diary.number, line.as_ref()));
    }

    /// Nobody is left waiting, and nothing genuine is refused.
    fn person(&mut self) {
        if let Some(waiting_for) = &self.diary.silent {
            self.violated(format!("waited in vain for {waiting_for}"));
        }
        for line in &self.diary.refused {
            self.violated(line);
        }
    }

    /// Every accepted task has one run, in the order of acceptance, one after the other, with the decision that was given on
    /// the tree that was shown.
    fn runs(&mut self, runs: &[Run]) {
        let wanted: Vec<&str> = self.diary.accepted.iter().map(|assignment| assignment.text.as_str()).collect();
        let started: Vec<&str> = runs.iter().map(Run::text).collect();
        if wanted != started {
            let place = wanted.iter().zip(&started).take_while(|(wanted, started)| wanted == started).count();
            let (wanted, started) = (wanted.get(place..), started.get(place..));
            return self.violated(format!("accepted from {place} on: {wanted:?}, started: {started:?}"));
        }
        for pair in runs.windows(2) {
            if pair[0].over_at.is_none_or(|over_at| over_at > pair[1].started_at) {
                self.violated(format!("{} started before {} was over", pair[1].run, pair[0].run));
            }
        }
        let diary = self.diary;
        for (place, (assignment, run)) in diary.accepted.iter().zip(runs).enumerate().take(diary.finished) {
            let decision = match assignment.ending {
                Ending::Approve => Some(Decision::Approve),
                Ending::Reject => Some(Decision::Reject),
                Ending::Cancel | Ending::Answer => None,
            };
            if run.state != RunState::Over || run.decision != decision {
                self.violated(format!("{assignment:?} is {:?} and {:?}", run.state, run.decision));
            }
            if let Some((_, shown)) = diary.shown.iter().find(|(shown, _)| *shown == place)
                && shown != run.tree.as_str()
            {
                self.violated(format!("{assignment:?}: {} was decided on, {shown} was shown", run.tree));
            }
        }
    }

    /// Every message that belongs to a task has come, in order; one came again only directly after itself. How many did.
    fn messages(&mut self, read: &[String]) -> usize {
        let mut repeats = 0;
        let mut came: BTreeMap<(usize, u32), usize> = BTreeMap::new();
        let mut last = (0, 0);
        let (mut queued, mut answered) = (0, 0);
        for (at, body) in read.iter().enumerate() {
            if at > 0 && read[at - 1] == *body {
                repeats += 1;
                continue;
            }
            // Lines that waited together are one message.
            for line in body.lines() {
                queued += usize::from(line.starts_with("📥 Queued at position"));
                if let Some(number) = number_after(line, SMALL_TALK_ANSWER) {
                    if number != SMALL_TALK + answered + 1 {
                        self.violated(format!("message {at}: after {answered} answers to small talk: {line:?}"));
                    }
                    answered = number.saturating_sub(SMALL_TALK);
                }
                let Some(milestone) = self.milestone(line) else { continue };
                if milestone <= last {
                    self.violated(format!("message {at}: {milestone:?} after {last:?}: {line:?}"));
                }
                last = last.max(milestone);
                *came.entry(milestone).or_default() += 1;
            }
        }
        if answered != self.diary.small_talk {
            self.violated(format!("small talk was answered {answered} times of {}", self.diary.small_talk));
        }
        if queued < self.diary.queued {
            self.violated(format!("told {queued} times that a task is queued, {} were", self.diary.queued));
        }
        let diary = self.diary;
        for (place, assignment) in diary.accepted.iter().enumerate().take(diary.finished) {
            let stages: &[u32] = match assignment.ending {
                Ending::Approve | Ending::Reject => &[STARTED, RESULT, DECIDING, ENDED],
                Ending::Cancel => &[STARTED, DECIDING, ENDED],
                Ending::Answer => &[STARTED, RESULT],
            };
            for stage in stages.iter().filter(|stage| !came.contains_key(&(place + 1, **stage))) {
                self.violated(format!("{assignment:?}: the message of stage {stage} never came"));
            }
        }
        repeats
    }

    /// Which run a line is about, and how far that is.
    fn milestone(&self, line: &str) -> Option<(usize, u32)> {
        let at = |before: &str, stage: u32| number_after(line, before).map(|run| (run, stage));
        let task = |text: &str| {
            let is_it = |assignment: &Assignment| assignment.text == text;
            self.diary.accepted.iter().position(is_it).map(|place| (place + 1, RESULT))
        };
        if let Some(text) = line.strip_prefix("✅ Done: ").or_else(|| line.strip_prefix("Answer to ")) {
            return task(text);
        }
        if line.starts_with("Step ") {
            let step = u32::try_from(number_after(line, "Step ")?).ok()?;
            return at(" of run ", STARTED + step);
        }
        at("🔧 Working on it: run ", STARTED)
            .or_else(|| at("Opening a pull request for run ", DECIDING))
            .or_else(|| at("Rolling run ", DECIDING))
            .or_else(|| at("Stopping run ", DECIDING))
            .or_else(|| at("Run ", ENDED).filter(|_| ENDINGS.iter().any(|ending| line.contains(ending))))
    }
}

fn number_after(line: &str, before: &str) -> Option<usize> {
    let rest = line.split_once(before)?.1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// How far a run is; steps of progress lie between the first two.
const STARTED: u32 = 1;
const RESULT: u32 = 10;
const DECIDING: u32 = 20;
const ENDED: u32 = 30;
const ENDINGS: [&str; 3] = [" is a pull request", " is rolled back", " is stopped"];
