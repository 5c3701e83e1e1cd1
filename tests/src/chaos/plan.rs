//! What people write and which fault comes next, as dice have it.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// A task, and what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    /// What the person writes; no two are the same.
    pub text: String,
    pub ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The diff is approved.
    Approve,
    /// The diff is rejected.
    Reject,
    /// The run is stopped while it is at work.
    Cancel,
    /// The agent answers, and there is nothing to decide.
    Answer,
}

impl Assignment {
    /// The `count`th of this person.
    pub(super) fn draw(dice: &mut StdRng, person: usize, count: usize) -> Self {
        let (what, ending) = match dice.random_range(0..100) {
            0..50 => ("change", Ending::Approve),
            50..70 => ("change", Ending::Reject),
            70..85 => ("long", Ending::Cancel),
            _ => ("question", Ending::Answer),
        };
        Self { text: format!("p{person}-{count} {what}"), ending }
    }
}

/// What is done to the relays, their network and Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// kill -9 of a relay; it is started again after this long.
    Kill { relay: usize, down: Duration },
    /// SIGSTOP of a relay for this long, longer than a lease.
    Freeze { relay: usize, frozen: Duration },
    /// Every connection to Redis is closed.
    Cut,
    /// So many commands are carried out and their connection is closed before the reply.
    LoseReplies { command: &'static str, times: usize },
    /// Nothing passes between the relays and Redis for this long, with every connection open.
    Stall { stalled: Duration },
    /// kill -9 of Redis; it is started again after this long.
    KillRedis { down: Duration },
}

impl Fault {
    pub(super) fn draw(dice: &mut StdRng, relays: usize) -> Self {
        let relay = dice.random_range(0..relays);
        let mut between = |low: u64, high: u64| Duration::from_millis(dice.random_range(low..high));
        match between(0, 100).as_millis() {
            0..35 => Self::Kill { relay, down: between(0, 3_000) },
            35..43 => Self::Freeze { relay, frozen: between(11_000, 15_000) },
            43..60 => Self::Cut,
            60..65 => Self::LoseReplies { command: "BLPOP", times: 1 },
            65..70 => Self::LoseReplies { command: "RPUSH", times: dice.random_range(1..15) },
            70..86 => Self::LoseReplies { command: "EVAL", times: dice.random_range(1..15) },
            86..94 => Self::Stall { stalled: between(500, 6_000) },
            _ => Self::KillRedis { down: between(0, 3_000) },
        }
    }

    /// What the report calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill { .. } => "relay killed",
            Self::Freeze { .. } => "relay frozen",
            Self::Cut => "connections cut",
            Self::LoseReplies { .. } => "replies lost",
            Self::Stall { .. } => "network stalled",
            Self::KillRedis { .. } => "Redis killed",
        }
    }
}

/// The pause before the next fault.
pub(super) fn respite(dice: &mut StdRng) -> Duration {
    Duration::from_millis(dice.random_range(300..4_000))
}
