//! What breaks while a world is busy.

use std::time::Duration;

use super::node::NodeWork;
use super::plan::{DOWN_MAX, PAUSE_MAX};
use super::world::{Happening, World};
use crate::store::LEASE;
use crate::turn::Turn;

/// What breaks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Crash(usize),
    Drain(usize),
    Freeze(usize),
    VmAway(usize),
    VmRestart(usize),
}

impl World {
    /// Whether a node's process ends or freezes at this very step. Most of the time a node does nothing, so that a fault at
    /// a random instant would hardly ever fall between a commit and the call that follows it.
    pub(super) fn breaks_before(&mut self, node: usize, work: &NodeWork) -> bool {
        if matches!(work, NodeWork::Boot | NodeWork::Sweep | NodeWork::Timer(_)) || !self.mishap_at_a_step() {
            return false;
        }
        let (crashes, pauses) = (self.plan.crashes > 0, self.plan.pauses > 0);
        let fault = match (crashes, pauses) {
            (false, false) => return false,
            (true, true) if self.percent(50) => Fault::Freeze(node),
            (true, _) => Fault::Crash(node),
            (false, true) => Fault::Freeze(node),
        };
        self.breaks(fault);
        true
    }

    pub(super) fn breaks(&mut self, fault: Fault) {
        // What was drained is restarted in peace, too.
        if self.peace && !matches!(fault, Fault::Crash(_)) {
            return;
        }
        self.note(|_| format!("{fault:?}"));
        match fault {
            Fault::Crash(node) => {
                self.totals.crashes += 1;
                self.crash(node);
                let down = self.between(Duration::from_millis(500), DOWN_MAX);
                self.node_after(down, node, NodeWork::Boot);
            }
            Fault::Drain(node) => {
                let state = &mut self.nodes[node];
                state.up = false;
                state.turns.values_mut().for_each(Turn::drain);
                let grace = self.between(Duration::from_secs(2), Duration::from_secs(8));
                self.after(grace, Happening::Fault(Fault::Crash(node)));
            }
            Fault::Freeze(node) => {
                self.totals.pauses += 1;
                let frozen = self.between(LEASE, PAUSE_MAX);
                self.nodes[node].frozen_until = self.now + frozen;
            }
            Fault::VmAway(who) => {
                let away = self.between(Duration::from_secs(1), Duration::from_secs(60));
                self.vms[who].away_until = self.now + away;
            }
            Fault::VmRestart(who) => {
                self.totals.vm_restarts += 1;
                self.restart_vm(who);
            }
        }
    }
}
