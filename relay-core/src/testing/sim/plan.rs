//! What kind of world a seed makes: its size, and what may break in it.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::id::ChannelKind;
use crate::machine::Rules;
use crate::testing::faulty::Faults;

/// How long a node waits between two looks for conversations that are due, at most.
pub(super) const SWEEP_MAX: Duration = Duration::from_secs(4);
/// How long a crashed node is down at most.
pub(super) const DOWN_MAX: Duration = Duration::from_secs(30);
/// How long a frozen node is frozen at most; longer than a lease, or it would prove nothing.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A world, before it begins.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) rules: Rules,
    pub(super) channel: ChannelKind,
    pub(super) nodes: usize,
    pub(super) conversations: usize,
    pub(super) prompts: usize,
    /// How long things break.
    pub(super) busy: Duration,
    /// Crashes of nodes while busy.
    pub(super) crashes: usize,
    /// Frozen nodes while busy.
    pub(super) pauses: usize,
    /// VMs that do not answer for a while.
    pub(super) vm_sleeps: usize,
    pub(super) vm_restarts: usize,
    pub(super) store_faults: Faults,
    /// Requests lost on their way, and replies lost on theirs, each in percent.
    pub(super) loss_percent: u32,
    /// Chat messages that the provider refuses for good.
    pub(super) refusal_percent: u32,
    /// Chat messages that the provider takes and then fails to deliver.
    pub(super) failure_percent: u32,
    pub(super) decision_failure_percent: u32,
    /// Whether people use `cancel` and `drop`: then not every prompt has to be carried out.
    pub(super) people_cancel: bool,
}

impl Plan {
    pub(super) fn draw(chance: &mut StdRng) -> Self {
        let seconds = |chance: &mut StdRng, range| Duration::from_secs(chance.random_range(range));
        let approval_timeout = seconds(chance, 60..=120);
        let rules = Rules {
            approval_timeout,
            approval_warning: approval_timeout / 4,
            queue_max: if chance.random_ratio(1, 4) { 2 } else { 20 },
            vm_patience: seconds(chance, 20..=90),
            silence_timeout: Duration::from_secs(20),
            progress_interval: Duration::from_secs(5),
            ..Rules::default()
        };
        let calm = chance.random_ratio(1, 10);
        let some = |chance: &mut StdRng, most: usize| if calm { 0 } else { chance.random_range(0..=most) };
        let percent = |chance: &mut StdRng, most: u32| if calm { 0 } else { chance.random_range(0..=most) };
        Self {
            rules,
            channel: if chance.random_ratio(1, 3) { ChannelKind::Console } else { ChannelKind::Twilio },
            nodes: chance.random_range(1..=3),
            conversations: chance.random_range(1..=2),
            prompts: chance.random_range(2..=5),
            busy: seconds(chance, 120..=240),
            crashes: some(chance, 5),
            // In half of the worlds no node is ever frozen: there the chat keeps its order, too.
            pauses: if chance.random_ratio(1, 2) { some(chance, 3) } else { 0 },
            vm_sleeps: some(chance, 2),
            vm_restarts: some(chance, 1),
            store_faults: Faults {
                before_percent: percent(chance, 5),
                lost_reply_percent: percent(chance, 5),
                twice_percent: percent(chance, 5),
            },
            loss_percent: percent(chance, 8),
            refusal_percent: if chance.random_ratio(1, 4) { percent(chance, 3) } else { 0 },
            failure_percent: if chance.random_ratio(1, 2) { percent(chance, 6) } else { 0 },
            decision_failure_percent: percent(chance, 30),
            people_cancel: chance.random_ratio(1, 2),
        }
    }

    /// How late a deadline may be acted on: the node that would have done it is gone or frozen, its lease has to run out
    /// (more than once, if its successor's calls to the store fail), and somebody has to look.
    pub(super) fn lateness_max(&self) -> Duration {
        let faults = self.store_faults;
        let troubled = self.crashes + self.pauses > 0 || faults.before_percent + faults.lost_reply_percent > 0;
        let calm = SWEEP_MAX + Duration::from_secs(6);
        if troubled { calm + (crate::store::LEASE + DOWN_MAX + PAUSE_MAX) * 3 } else { calm }
    }
}
