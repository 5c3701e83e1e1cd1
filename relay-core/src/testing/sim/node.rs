//! Relay nodes: what each does between two crashes. Every call, and every use of an answer, is a step of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::executor::block_on;

use super::plan::SWEEP_MAX;
use super::story;
use super::world::{Happening, Origin, World};
use crate::id::{ConversationId, NodeId};
use crate::machine::{Event, Outcome, Queued};
use crate::protocol::RefusalReason;
use crate::store::{Claim, Claimed, Commit, Committed, Held, Ingest, Ingested, Store};
use crate::time::Timestamp;
use crate::turn::{Move, Performance, Turn};

/// A commit that the store does not answer is sent again this often in all.
const COMMIT_TRIES: u32 = 3;
/// Conversations taken up in one sweep.
const SWEEP_LIMIT: usize = 10;

/// One relay process after the other, on one machine.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) up: bool,
    /// Grows with every crash: what was under way in an earlier life never comes back.
    pub(super) life: u64,
    pub(super) frozen_until: Timestamp,
    pub(super) turns: BTreeMap<u64, Turn>,
    begun: u64,
}

/// The next step of something that a node does.
#[derive(Debug)]
pub(super) enum NodeWork {
    Boot,
    Ingest { who: usize, event: Event, origin: Origin },
    Step { turn: u64 },
    Commit { turn: u64, commit: Box<Commit>, tries: u32 },
    Committed { turn: u64, answer: Committed, deadline: Option<Timestamp>, conversation: ConversationId },
    Depart { turn: u64, performance: Box<Performance> },
    Reply { turn: u64, queued: Queued, outcome: Outcome },
    Sweep,
    Timer(ConversationId),
}

impl World {
    pub(super) fn boot(&mut self, node: usize) {
        self.nodes[node].up = true;
        self.node_after(SWEEP_MAX / 4, node, NodeWork::Sweep);
    }

    pub(super) fn crash(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.up = false;
        node.life += 1;
        node.frozen_until = Timestamp::default();
        node.turns.clear();
    }

    /// The next step of a process that lives, a moment later.
    fn soon(&mut self, node: usize, work: NodeWork) {
        let delay = self.between(Duration::from_millis(1), Duration::from_millis(15));
        self.node_after(delay, node, work);
    }

    /// A request for a node, if one is up.
    pub(super) fn request(&mut self, who: usize, event: Event, origin: Origin) {
        let node = self.index(self.plan.nodes);
        if self.nodes[node].up {
            self.soon(node, NodeWork::Ingest { who, event, origin });
        }
    }

    pub(super) fn node_works(&mut self, node: usize, life: u64, work: NodeWork) {
        if self.nodes[node].life != life {
            return;
        }
        let frozen_until = self.nodes[node].frozen_until;
        if frozen_until > self.now {
            return self.node_at(frozen_until, (node, life), work);
        }
        if self.breaks_before(node, &work) {
            // It dies or freezes here; frozen, it goes on afterwards as if nothing had been.
            let until = self.nodes[node].frozen_until;
            return self.node_at(until, (node, life), work);
        }
        match work {
            NodeWork::Boot => self.boot(node),
            NodeWork::Ingest { who, event, origin } => self.ingest(node, who, event, origin),
            NodeWork::Step { turn } => self.step(node, turn),
            NodeWork::Commit { turn, commit, tries } => self.commit(node, turn, commit, tries),
            NodeWork::Committed { turn, answer, deadline, conversation } => {
                if let (Committed::Released, Some(deadline)) = (&answer, deadline) {
                    self.node_at(deadline, (node, life), NodeWork::Timer(conversation));
                }
                if let Some(held) = self.nodes[node].turns.get_mut(&turn) {
                    held.committed(answer);
                    self.soon(node, NodeWork::Step { turn });
                }
            }
            NodeWork::Depart { turn, performance } => self.depart(node, turn, *performance),
            NodeWork::Reply { turn, queued, outcome } => self.reply(node, turn, queued, outcome),
            NodeWork::Sweep => self.sweep(node),
            NodeWork::Timer(conversation) => self.claim(node, conversation),
        }
    }

    fn node_id(&self, node: usize) -> NodeId {
        NodeId::parse(format!("node-{node}-{}", self.nodes[node].life)).expect("short and plain")
    }

    fn ingest(&mut self, node: usize, who: usize, event: Event, origin: Origin) {
        let ingest = Ingest {
            conversation: self.people[who].id.clone(),
            id: event.id().expect("messages and reports have one"),
            event,
            node: self.node_id(node),
            nonce: self.nonce(),
            now: self.now,
        };
        let id = ingest.id.clone();
        let answer = block_on(self.store.ingest(ingest));
        self.note(|_| format!("node {node}: ingest {id}: {}", story::ingested(&answer)));
        let accepted = match answer {
            Ok(Ingested::Held(held)) => {
                self.take_up(node, *held);
                true
            }
            Ok(Ingested::Queued | Ingested::Duplicate) => true,
            Ok(Ingested::Full) => false,
            Err(_) => {
                self.totals.store_errors += 1;
                false
            }
        };
        if accepted && !self.mishap(self.plan.loss_percent) {
            self.after_some(1, 500, Happening::Accepted(origin));
        }
    }

    fn take_up(&mut self, node: usize, held: Held) {
        let turn = Turn::begin(self.plan.rules.clone(), held);
        let node_state = &mut self.nodes[node];
        node_state.begun += 1;
        let id = node_state.begun;
        node_state.turns.insert(id, turn);
        self.soon(node, NodeWork::Step { turn: id });
    }

    fn step(&mut self, node: usize, turn: u64) {
        let (now, nonce) = (self.now, self.nonce());
        let Some(held) = self.nodes[node].turns.get_mut(&turn) else { return };
        match held.next(now, nonce) {
            Move::Commit(commit) => self.soon(node, NodeWork::Commit { turn, commit, tries: 1 }),
            Move::Perform(performance) => self.soon(node, NodeWork::Depart { turn, performance }),
            Move::Over => {
                self.nodes[node].turns.remove(&turn);
            }
        }
    }

    fn commit(&mut self, node: usize, turn: u64, commit: Box<Commit>, tries: u32) {
        let answer = block_on(self.store.commit((*commit).clone()));
        self.note(|_| {
            let effects: Vec<_> = commit.effects.iter().map(|queued| (queued.seq.0, story::brief(&queued.effect))).collect();
            let Commit { fence, consumed, acked, release, conversation, .. } = &*commit;
            let phase = story::phase(&conversation.phase);
            let acked: Vec<u64> = acked.iter().map(|seq| seq.0).collect();
            format!(
                "node {node}: commit {} fence {} consumed {consumed} acked {acked:?} effects {effects:?} → {phase} release {release}: {}",
                conversation.id, fence.0, story::committed(&answer)
            )
        });
        match answer {
            Ok(answer) => {
                let (deadline, conversation) = (commit.deadline, commit.conversation.id);
                self.soon(node, NodeWork::Committed { turn, answer, deadline, conversation });
            }
            Err(_) => {
                self.totals.store_errors += 1;
                if tries < COMMIT_TRIES {
                    self.soon(node, NodeWork::Commit { turn, commit, tries: tries + 1 });
                } else {
                    self.nodes[node].turns.remove(&turn);
                }
            }
        }
    }

    fn reply(&mut self, node: usize, turn: u64, queued: Queued, outcome: Outcome) {
        let now = self.now;
        if matches!(outcome, Outcome::Refused { reason: Some(RefusalReason::StaleFence), .. }) {
            self.nodes[node].turns.remove(&turn);
        } else if let Some(held) = self.nodes[node].turns.get_mut(&turn) {
            held.performed(queued, outcome, now);
            self.soon(node, NodeWork::Step { turn });
        }
    }

    fn sweep(&mut self, node: usize) {
        match block_on(self.store.due(self.now, SWEEP_LIMIT)) {
            Ok(due) => {
                for conversation in due.conversations {
                    self.claim(node, conversation);
                }
            }
            Err(_) => self.totals.store_errors += 1,
        }
        let delay = self.between(SWEEP_MAX / 2, SWEEP_MAX);
        self.node_after(delay, node, NodeWork::Sweep);
    }

    fn claim(&mut self, node: usize, conversation: ConversationId) {
        let claim = Claim { conversation, node: self.node_id(node), nonce: self.nonce(), now: self.now };
        match block_on(self.store.claim(claim)) {
            Ok(Claimed::Held(held)) => {
                self.note(|_| format!("node {node}: claims {} fence {}", held.conversation.id, held.fence.0));
                self.take_up(node, *held);
            }
            Ok(Claimed::Taken | Claimed::NotDue) => {}
            Ok(Claimed::Unreadable(reason)) => panic!("nobody but this program writes here: {reason}"),
            Err(_) => self.totals.store_errors += 1,
        }
    }
}
