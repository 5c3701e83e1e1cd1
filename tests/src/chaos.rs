//! Many people write to many relays while relays, their network and Redis are struck by faults, again and again. What comes of
//! it is judged from outside alone: by what the fake Twilio was sent, what the fake VM was asked, and what the people
//! themselves did and read.
//!
//! One seed chooses what people write and which faults come in which order. The instants are those of real processes, so the
//! same seed tells a similar story, not the same one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fake_vm::{Publisher, Reports};
use crate::fleet::{Fleet, FleetPlan, VmKind};
use crate::twilio::{FakeTwilio, Weather};
use crate::wait::wait_until;

mod check;
mod faults;
mod person;
mod plan;
mod report;

pub use report::Report;

use person::Person;

/// After the last fault everything has to come to its end within this time: a lease, a sweep of what nobody was woken for,
/// the longest pause of a chat message that was tried in vain, and a question about a run that fell silent.
const SETTLE: Duration = Duration::from_secs(180);
/// Nothing has happened for this long: nothing is going to.
const QUIET: Duration = Duration::from_secs(3);
/// Each step of a run takes up to this long.
const PACE: Duration = Duration::from_millis(800);
/// As slow as Twilio is, so that whatever strikes a relay finds it sending.
const WEATHER: Weather = Weather {
    delay_max: Duration::from_millis(400),
    refused_per_mille: 5,
    busy_per_mille: 0,
    lost_per_mille: 5,
    black_hole_per_mille: 0,
};
/// The clocks of the fastest and the slowest relay are twice this apart.
const CLOCK_OFFSET_S: i64 = 30;

/// How long, how many, how bad.
#[derive(Clone, Debug)]
pub struct ChaosPlan {
    /// Chooses what happens.
    pub seed: u64,
    /// Relay processes.
    pub relays: usize,
    /// People, with a conversation each.
    pub conversations: usize,
    /// For how long faults come.
    pub duration: Duration,
    /// Only faults of this kind, as the report calls them; all when absent.
    pub only: Option<String>,
}

/// Do it, and tell what came of it.
///
/// # Panics
/// When a part does not start.
pub async fn run(plan: &ChaosPlan) -> Report {
    let mut fleet = Fleet::start(fleet_plan(plan)).await;
    fleet.twilio.set_weather(WEATHER);
    if let Some(vm) = &fleet.fake_vm {
        let published = Reports::Published(Arc::new(Publisher::new(&fleet.cut.url())));
        vm.report_to(vec![published, Reports::Callback(fleet.edge_url())]);
    }
    let begun = Instant::now();
    let curtain = watch::Sender::new(None);
    let mut people = JoinSet::new();
    for number in 0..plan.conversations {
        people.spawn(Person::new(plan.seed, number, &fleet, curtain.subscribe()).live());
    }
    let faults = faults::commit(&mut fleet, plan).await;
    let ended = Instant::now();
    curtain.send_replace(Some(ended + SETTLE));
    let diaries = people.join_all().await;
    let settled = Instant::now();
    quiet(&fleet).await;
    let violations = check::violations(&fleet, &diaries);
    Report::new(plan, &fleet, &faults, &diaries, violations, [begun, ended, settled])
}

fn fleet_plan(plan: &ChaosPlan) -> FleetPlan {
    let offset = |number: usize| [CLOCK_OFFSET_S, -CLOCK_OFFSET_S, 0][number % 3];
    FleetPlan {
        relays: plan.relays,
        people: plan.conversations,
        vm: VmKind::Fake(PACE),
        clock_offsets_s: (0..plan.relays).map(offset).collect(),
        ..FleetPlan::default()
    }
}

/// Wait until nothing more comes: whatever a relay does too much, it also says.
async fn quiet(fleet: &Fleet) {
    let mut seen = fleet.twilio.sent().len();
    let mut since = Instant::now();
    wait_until("everything to be quiet", SETTLE, async || {
        let more = fleet.twilio.sent_after(seen).len();
        if more > 0 {
            (seen, since) = (seen + more, Instant::now());
        }
        since.elapsed() >= QUIET
    })
    .await;
}

/// Says until when people may wait, once the faults are over.
type Curtain = watch::Receiver<Option<Instant>>;
type Twilio = Arc<FakeTwilio>;
