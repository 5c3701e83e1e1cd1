//! A simulated world: relay nodes, a store that fails, a chat provider, VMs and people, in virtual time, from one seed.
//!
//! What runs here is what runs in production where it matters: the real [`Turn`](crate::turn::Turn), the real machine,
//! the real [`SqliteStore`](crate::store::sqlite::SqliteStore) in memory behind a
//! [`FaultyStore`](super::faulty::FaultyStore). Simulated are the processes around them (`node`), what they send on its
//! way (`flight`), the provider and the people (`chat`, `pages`), and the VM (`vm`, `vm_calls`), each at the level of single calls,
//! so that a crash can fall between any two. The same seed makes the same history, step by step.
//!
//! A world is busy for some virtual minutes while things break (`plan` says which, `faults` how). Then nothing breaks any
//! more, and it runs on until nothing is left to do (`rest`). `invariants` then judges the whole history: what `recorder`
//! saw below the store's faults, and what `history` holds of everything else.

use std::ops::AddAssign;

mod chat;
mod faults;
mod flight;
mod history;
mod invariants;
mod node;
mod pages;
mod plan;
mod recorder;
mod rest;
mod story;
mod vm;
mod vm_calls;
mod world;

use world::World;

/// What happened in one world, or in many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages that people sent.
    pub messages: u64,
    /// Runs that a VM carried out.
    pub runs: u64,
    /// Decisions that a VM carried out.
    pub decisions: u64,
    /// Replies that a VM handed to its agent.
    pub replies: u64,
    /// Effects that left a node.
    pub effects: u64,
    /// Crashes of nodes.
    pub crashes: u64,
    /// Nodes frozen for longer than a lease.
    pub pauses: u64,
    /// Restarts of VMs.
    pub vm_restarts: u64,
    /// Calls to the store that failed, before or after they were carried out.
    pub store_errors: u64,
    /// Chat messages that people saw twice.
    pub repeats_in_chat: u64,
    /// Virtual time, in milliseconds.
    pub virtual_ms: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.runs += other.runs;
        self.decisions += other.decisions;
        self.replies += other.replies;
        self.effects += other.effects;
        self.crashes += other.crashes;
        self.pauses += other.pauses;
        self.vm_restarts += other.vm_restarts;
        self.store_errors += other.store_errors;
        self.repeats_in_chat += other.repeats_in_chat;
        self.virtual_ms += other.virtual_ms;
    }
}

/// An invariant that a world broke.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The world's seed.
    pub seed: u64,
    /// Which invariant.
    pub invariant: &'static str,
    /// How.
    pub message: String,
    /// What happened, step by step.
    pub trace: Vec<String>,
}

/// Lines of a trace that are worth printing when a world fails.
pub const TAIL_LINES: usize = 60;

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for line in &self.trace[self.trace.len().saturating_sub(TAIL_LINES)..] {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "seed {} breaks an invariant: {}", self.seed, self.invariant)?;
        write!(f, "{}", self.message)
    }
}

impl std::error::Error for Failure {}

/// Run the world of `seed` to its end and judge it. A world that fails is run again to tell its story.
pub fn run(seed: u64) -> Result<Totals, Box<Failure>> {
    let world = World::new(seed, false).run();
    match invariants::broken(&world) {
        None => Ok(world.totals()),
        Some(_) => {
            let world = World::new(seed, true).run();
            let (invariant, message) = invariants::broken(&world)
                .unwrap_or(("the same seed makes the same history", "it failed once and then passed".to_owned()));
            Err(Box::new(Failure { seed, invariant, message, trace: world.into_trace() }))
        }
    }
}

/// The history of `seed`, step by step.
pub fn trace(seed: u64) -> Vec<String> {
    World::new(seed, true).run().into_trace()
}
