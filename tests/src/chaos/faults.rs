//! Commits one fault after another and mends each in its time; others may come in between.

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::sleep_until;

use super::ChaosPlan;
use super::plan::{Fault, respite};
use crate::fleet::Fleet;

/// A fault that was committed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Committed {
    pub fault: Fault,
    pub at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repair {
    StartRelay(usize),
    Thaw(usize),
    Unstall,
    StartRedis,
}

/// Faults, until the plan's time is over and all is mended.
pub(super) async fn commit(fleet: &mut Fleet, plan: &ChaosPlan) -> Vec<Committed> {
    let mut dice = StdRng::seed_from_u64(plan.seed);
    let end = Instant::now() + plan.duration;
    let mut committed = Vec::new();
    let mut repairs: Vec<(Instant, Repair)> = Vec::new();
    let mut next = Instant::now() + respite(&mut dice);
    while next < end || !repairs.is_empty() {
        repairs.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        match repairs.last().copied() {
            Some((at, repair)) if at <= next || next >= end => {
                sleep_until(at.into()).await;
                repairs.pop();
                mend(fleet, repair).await;
            }
            _ => {
                sleep_until(next.into()).await;
                let fault = Fault::draw(&mut dice, fleet.len());
                let is_wanted = plan.only.as_ref().is_none_or(|only| only == fault.name());
                if !is_wanted {
                    continue;
                }
                if is_possible(fleet, &repairs, fault) {
                    committed.push(Committed { fault, at: Instant::now() });
                    repairs.extend(strike(fleet, fault).await);
                }
                next = Instant::now() + respite(&mut dice);
            }
        }
    }
    fleet.cut.lose_replies("", 0);
    committed
}

/// What is down or frozen cannot be struck again, and one relay at least is not frozen.
fn is_possible(fleet: &Fleet, repairs: &[(Instant, Repair)], fault: Fault) -> bool {
    let is_due = |wanted: Repair| repairs.iter().any(|(_, repair)| *repair == wanted);
    match fault {
        Fault::Kill { relay, .. } => fleet.relay(relay).is_up() && !is_due(Repair::Thaw(relay)),
        Fault::Freeze { relay, .. } => {
            fleet.relay(relay).is_up() && fleet.len() > 1 && !repairs.iter().any(|(_, r)| matches!(r, Repair::Thaw(_)))
        }
        Fault::Stall { .. } => !is_due(Repair::Unstall),
        Fault::KillRedis { .. } => !is_due(Repair::StartRedis),
        Fault::Cut | Fault::LoseReplies { .. } => true,
    }
}

/// Commit it; what has to be mended, and when.
async fn strike(fleet: &mut Fleet, fault: Fault) -> Option<(Instant, Repair)> {
    let (repair, after) = match fault {
        Fault::Kill { relay, down } => {
            fleet.kill(relay).await;
            (Repair::StartRelay(relay), down)
        }
        Fault::Freeze { relay, frozen } => {
            fleet.freeze(relay);
            (Repair::Thaw(relay), frozen)
        }
        Fault::Cut => {
            fleet.cut.cut();
            return None;
        }
        Fault::LoseReplies { command, times } => {
            fleet.cut.lose_replies(command, times);
            return None;
        }
        Fault::Stall { stalled } => {
            fleet.cut.freeze();
            (Repair::Unstall, stalled)
        }
        Fault::KillRedis { down } => {
            fleet.redis.kill().await;
            (Repair::StartRedis, down)
        }
    };
    Some((Instant::now() + after, repair))
}

async fn mend(fleet: &mut Fleet, repair: Repair) {
    match repair {
        // Redis may be down just now; a relay has to cope with that.
        Repair::StartRelay(relay) => fleet.spawn_relay(relay).await,
        Repair::Thaw(relay) => fleet.thaw(relay),
        Repair::Unstall => fleet.cut.thaw(),
        Repair::StartRedis => fleet.redis.start_again().await,
    }
}
