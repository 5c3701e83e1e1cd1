//! The world itself: one queue of what will happen, one clock, one source of chance.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Totals;
use super::chat::{Delivery, Person};
use super::faults::Fault;
use super::flight::Flight;
use super::history::History;
use super::node::{Node, NodeWork};
use super::plan::Plan;
use super::recorder::Recorder;
use super::vm::{Vm, VmWork};
use crate::id::{Address, ConversationId, Nonce, RunId};
use crate::machine::{Content, Event};
use crate::store::sqlite::SqliteStore;
use crate::testing::faulty::FaultyStore;
use crate::time::Timestamp;

const BEGINNING: Timestamp = Timestamp(1_800_000_000_000);
/// A world that is not at rest after this long never will be.
const LONGEST: Duration = Duration::from_secs(2 * 3600);
/// Likewise after this many steps.
const STEPS_MAX: u64 = 300_000;

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Happening {
    /// A node's process goes on, if it still lives.
    Node { node: usize, life: u64, work: Box<NodeWork> },
    /// The provider hands a person's message to a relay; insisting, it comes back until one has taken it.
    Webhook { delivery: usize, insist: bool },
    /// A relay's 200 arrives at the provider or at the VM.
    Accepted(Origin),
    /// The provider tells a relay what became of a message.
    Receipt { who: usize, event: Box<Event> },
    /// A person presses something on the page of a diff.
    Presses { who: usize, event: Box<Event> },
    /// A person writes.
    Writes { who: usize, content: Content },
    /// A request of a node arrives at its receiver.
    Arrives(Box<Flight>),
    /// A VM's process goes on, if it still lives.
    Vm { who: usize, life: u64, run: RunId, work: VmWork },
    /// A VM reports what is first in line for a run.
    Reports { who: usize, run: RunId, seq: u64 },
    /// Something breaks, or is whole again.
    Fault(Fault),
    /// From now on nothing breaks.
    Peace,
    /// Somebody looks whether the world is at rest.
    Tick,
}

/// Who waits for a relay's 200.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Delivery(usize),
    Report {
        who: usize,
        run: RunId,
        seq: u64,
    },
    /// It does not come back.
    Nobody,
}

/// Everything.
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) now: Timestamp,
    pub(super) store: FaultyStore<Recorder>,
    pub(super) nodes: Vec<Node>,
    pub(super) people: Vec<Person>,
    pub(super) vms: Vec<Vm>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) history: History,
    pub(super) totals: Totals,
    pub(super) peace: bool,
    chance: StdRng,
    pub(super) queue: BTreeMap<(Timestamp, u64), Happening>,
    scheduled: u64,
    nonces: u64,
    pub(super) at_rest: bool,
    trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, tracing: bool) -> Self {
        let mut chance = StdRng::seed_from_u64(seed);
        let plan = Plan::draw(&mut chance);
        let sqlite = SqliteStore::in_memory().expect("memory is there");
        let people: Vec<Person> = (0..plan.conversations)
            .map(|who| Person::new(Address { channel: plan.channel, name: format!("person:{who}") }))
            .collect();
        let mut world = Self {
            now: BEGINNING,
            store: FaultyStore::new(Recorder::new(sqlite), plan.store_faults, seed),
            nodes: (0..plan.nodes).map(|_| Node::default()).collect(),
            vms: people.iter().map(|_| Vm::default()).collect(),
            people,
            deliveries: Vec::new(),
            history: History::default(),
            totals: Totals::default(),
            peace: false,
            chance,
            queue: BTreeMap::new(),
            scheduled: 0,
            nonces: 0,
            at_rest: false,
            trace: tracing.then(Vec::new),
            plan,
        };
        world.prepare();
        world
    }

    /// Put the first happenings into the queue.
    fn prepare(&mut self) {
        self.note(|world| format!("{:?}", world.plan));
        let busy = self.plan.busy;
        for node in 0..self.plan.nodes {
            self.boot(node);
        }
        for who in 0..self.plan.conversations {
            self.plan_messages(who);
        }
        let (nodes, vms) = (self.plan.nodes, self.plan.conversations);
        for _ in 0..self.plan.crashes {
            let node = self.index(nodes);
            let fault = if self.percent(25) { Fault::Drain(node) } else { Fault::Crash(node) };
            self.some_time(busy, Happening::Fault(fault));
        }
        for _ in 0..self.plan.pauses {
            let fault = Fault::Freeze(self.index(nodes));
            self.some_time(busy, Happening::Fault(fault));
        }
        for _ in 0..self.plan.vm_sleeps {
            let fault = Fault::VmAway(self.index(vms));
            self.some_time(busy, Happening::Fault(fault));
        }
        for _ in 0..self.plan.vm_restarts {
            let fault = Fault::VmRestart(self.index(vms));
            self.some_time(busy, Happening::Fault(fault));
        }
        self.after(busy, Happening::Peace);
    }

    /// Let everything happen.
    pub(super) fn run(mut self) -> Self {
        let mut steps = 0;
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            self.now = at;
            self.happen(happening);
            steps += 1;
            if self.at_rest || steps > STEPS_MAX || at.since(BEGINNING) > LONGEST {
                break;
            }
        }
        self
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Node { node, life, work } => self.node_works(node, life, *work),
            Happening::Webhook { delivery, insist } => self.webhook(delivery, insist),
            Happening::Receipt { who, event } | Happening::Presses { who, event } => {
                self.request(who, *event, Origin::Nobody);
            }
            Happening::Accepted(origin) => self.accepted(origin),
            Happening::Writes { who, content } => self.writes(who, content),
            Happening::Arrives(flight) => self.arrives(*flight),
            Happening::Vm { who, life, run, work } => self.vm_works(who, life, &run, work),
            Happening::Reports { who, run, seq } => self.reports(who, run, seq),
            Happening::Fault(fault) => self.breaks(fault),
            Happening::Peace => self.peace(),
            Happening::Tick => self.tick(),
        }
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            runs: self.history.begun.len() as u64,
            decisions: self.history.decided.len() as u64,
            replies: self.history.replied.len() as u64,
            virtual_ms: u64::try_from(self.now.since(BEGINNING).as_millis()).unwrap_or(u64::MAX),
            ..self.totals
        }
    }

    pub(super) fn who(&self, id: &ConversationId) -> usize {
        self.people.iter().position(|person| person.id == *id).expect("everybody is known")
    }

    // Time.

    pub(super) fn at(&mut self, at: Timestamp, happening: Happening) {
        self.scheduled += 1;
        self.queue.insert((at.max(self.now), self.scheduled), happening);
    }

    pub(super) fn after(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    pub(super) fn after_some(&mut self, least_ms: u64, most_ms: u64, happening: Happening) {
        let delay = self.between(Duration::from_millis(least_ms), Duration::from_millis(most_ms));
        self.after(delay, happening);
    }

    /// A node's next step, if the life that it is in lasts that long.
    pub(super) fn node_at(&mut self, at: Timestamp, (node, life): (usize, u64), work: NodeWork) {
        self.at(at, Happening::Node { node, life, work: Box::new(work) });
    }

    pub(super) fn node_after(&mut self, delay: Duration, node: usize, work: NodeWork) {
        let life = self.nodes[node].life;
        self.node_at(self.now + delay, (node, life), work);
    }

    /// At some time from now on, within `span`.
    pub(super) fn some_time(&mut self, span: Duration, happening: Happening) {
        let delay = self.between(Duration::ZERO, span);
        self.after(delay, happening);
    }

    // Chance.

    pub(super) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.chance.random_range(millis(least)..=millis(most)))
    }

    pub(super) fn percent(&mut self, percent: u32) -> bool {
        self.chance.random_range(0..100) < percent
    }

    /// Like [`World::percent`], but never once there is peace.
    pub(super) fn mishap(&mut self, percent: u32) -> bool {
        self.percent(percent) && !self.peace
    }

    /// Rare enough that most turns come to their end, frequent enough that every step is hit in some world.
    pub(super) fn mishap_at_a_step(&mut self) -> bool {
        self.chance.random_ratio(1, 200) && !self.peace
    }

    pub(super) fn index(&mut self, count: usize) -> usize {
        self.chance.random_range(0..count)
    }

    pub(super) fn nonce(&mut self) -> Nonce {
        self.nonces += 1;
        Nonce::parse(format!("n{}", self.nonces)).expect("short and plain")
    }

    // The story.

    pub(super) fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>9.3} {}", self.now.since(BEGINNING).as_secs_f64(), line(self));
            self.trace.get_or_insert_default().push(line);
        }
    }

    pub(super) fn into_trace(self) -> Vec<String> {
        self.trace.unwrap_or_default()
    }
}
