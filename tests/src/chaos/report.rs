//! What came of it, for people.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::ChaosPlan;
use super::check::Findings;
use super::faults::Committed;
use super::person::Diary;
use crate::fleet::Fleet;
use crate::peers::target_dir;

/// What was done, what came of it, and what must not have.
#[derive(Clone, Debug)]
pub struct Report {
    /// What must not have happened, one line each.
    pub violations: Vec<String>,
    lines: Vec<String>,
}

impl Report {
    /// `instants`: when it began, when the faults ended, when everybody had finished.
    pub(super) fn new(
        plan: &ChaosPlan,
        fleet: &Fleet,
        faults: &[Committed],
        diaries: &[Diary],
        findings: Findings,
        instants: [Instant; 3],
    ) -> Self {
        let [begun, ended, settled] = instants;
        let sum = |of: fn(&Diary) -> usize| diaries.iter().map(of).sum::<usize>();
        let mut lines = vec![
            format!("seed {}, {} relays, {} conversations", plan.seed, plan.relays, plan.conversations),
            format!(
                "faults for {}, everybody finished {} after the last one",
                seconds(ended - begun),
                seconds(settled.saturating_duration_since(ended))
            ),
            format!(
                "webhooks: {} posted, {} different ones accepted, {} repeated on purpose",
                sum(|d| d.posted),
                sum(|d| d.webhooks),
                sum(|d| d.duplicates)
            ),
            format!("tasks: {} accepted, {} finished", sum(|d| d.accepted.len()), sum(|d| d.finished)),
            format!(
                "messages: {} sent, of them {} repeats of one in doubt; {} answers given again",
                fleet.twilio.sent().len(),
                findings.repeats,
                sum(|d| d.too_early)
            ),
            format!(
                "requests refused by the VM for a stale fence: {}",
                fleet.fake_vm.as_ref().map_or(0, |vm| vm.stale())
            ),
            format!("replies lost: {}", fleet.cut.lost()),
        ];
        let waits: Vec<(Instant, Instant)> = diaries.iter().flat_map(|diary| diary.waits.iter().copied()).collect();
        let lengths = waits.iter().map(|(from, to)| *to - *from).collect();
        lines.push(format!("waits of people: {}", spread(lengths)));
        lines.extend(recoveries(faults, &waits));
        lines.push(format!("what happened, in full: {}", keep(plan, fleet, &findings.violations).display()));
        Self { violations: findings.violations, lines }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "violations: {}", self.violations.len())?;
        for line in &self.violations {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

/// One line for each kind of fault: how often, and how long those had to wait on whom it fell.
fn recoveries(faults: &[Committed], waits: &[(Instant, Instant)]) -> Vec<String> {
    let mut kinds: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for Committed { fault, at } in faults {
        let struck = waits.iter().filter(|(from, to)| from <= at && at < to);
        let longest = struck.map(|(_, to)| *to - *at).max().unwrap_or_default();
        kinds.entry(fault.name()).or_default().push(longest);
    }
    let line = |(name, longest): (&str, Vec<Duration>)| {
        format!("{name}: {} times; longest wait from then on: {}", longest.len(), spread(longest))
    };
    kinds.into_iter().map(line).collect()
}

fn spread(mut lengths: Vec<Duration>) -> String {
    lengths.sort_unstable();
    let at = |share: usize| lengths.get(lengths.len().saturating_sub(1) * share / 100).copied().unwrap_or_default();
    format!("median {}, 99 of 100 within {}, at most {}", seconds(at(50)), seconds(at(99)), seconds(at(100)))
}

fn seconds(length: Duration) -> String {
    format!("{:.1} s", length.as_secs_f64())
}

/// Keep the logs of all relays, every message and every run, and where.
fn keep(plan: &ChaosPlan, fleet: &Fleet, violations: &[String]) -> PathBuf {
    let mut text = violations.join("\n");
    for sent in fleet.twilio.sent() {
        text.push_str(&format!("\n{:?} {} by {}: {:?}", sent.at, sent.to, sent.by, sent.body));
    }
    for run in fleet.fake_vm.iter().flat_map(|vm| vm.runs()) {
        text.push_str(&format!("\n{run:?}"));
    }
    text.push_str(&format!("\n{}\n", fleet.logs()));
    let path = target_dir().join(format!("chaos-{}.log", plan.seed));
    std::fs::write(&path, text).expect("target can be written");
    path
}
