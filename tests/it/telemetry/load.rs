//! Two relays and a VM, really at work while both stores scrape them: what people do, and what goes wrong.

use std::net::SocketAddr;
use std::time::Instant;

use rustix::process::Signal;
use system_tests::dashboards::{NAMES, alerts};
use system_tests::fleet::{Fleet, FleetPlan, VmKind, person};
use system_tests::metric_store::{Kind, MetricStore, Target};
use system_tests::process::Process;
use system_tests::stack::free_address;
use system_tests::wait::wait_for;

use super::dashboards::scraped;
use super::{BOUND, faults, missing, pictures};

const RELAYS: &str = "relay-a|relay-b";
/// As long as a diff waits here.
const APPROVAL_TIMEOUT_MS: &str = "4000";
/// The demo agent has no tools.
const NOT_OF_THE_DEMO_AGENT: &str = "textslash_vm_tool_duration_seconds";
fn instance(name: &str) -> String {
    if name == "vm" { "vm-a".to_owned() } else { RELAYS.to_owned() }
}

/// Somebody who writes, and waits for what comes of it.
struct Someone {
    fleet: Fleet,
    written: usize,
}

impl Someone {
    async fn write(&mut self, text: &str) {
        self.written += 1;
        let sid = format!("SM{}", self.written);
        self.fleet.post().deliver(&person(0), &sid, text, BOUND).await;
        // Twilio may say it twice.
        self.fleet.post().deliver(&person(0), &sid, text, BOUND).await;
    }

    async fn reads(&self, text: &str) {
        self.fleet.reads(&person(0), text, BOUND).await;
    }

    fn vm(&self) -> &Process {
        self.fleet.vm.as_ref().expect("the VM is up")
    }
}

/// Everything that a panel tells of, once.
async fn live(fleet: Fleet) -> Fleet {
    let mut someone = Someone { fleet, written: 0 };
    for (run, task, decision, told) in
        [(1, "add a line", "approve", "Run 1 is pushed"), (2, "and another", "reject", "Run 2 is rolled back")]
    {
        someone.write(task).await;
        wait_for(&format!("the diff of run {run}"), BOUND, async || {
            let read = someone.fleet.read(&person(0));
            let shown = read.iter().filter(|sent| sent.body.contains("*approve* opens")).count();
            if shown == run { Ok(()) } else { Err(read) }
        })
        .await;
        someone.write(decision).await;
        someone.reads(told).await;
    }
    someone.write("something slow").await;
    someone.reads("Working on it: run 3").await;
    someone.fleet.kill(0).await;
    someone.write("cancel").await;
    someone.reads("Run 3 is stopped").await;
    someone.fleet.start_relay(0).await;
    // A VM that sleeps, and wakes once it was called in vain.
    someone.vm().signal(Signal::STOP);
    someone.write("wake up").await;
    wait_for("a call without an answer", BOUND, async || {
        let counts = [someone.fleet.counters(0).await, someone.fleet.counters(1).await];
        let unanswered = |name: &str| {
            name.starts_with("textslash_effect_duration_seconds_count{")
                && name.contains("start_run")
                && name.contains("no_answer")
        };
        if counts.iter().flatten().any(|(name, count)| unanswered(name) && *count > 0) { Ok(()) } else { Err(counts) }
    })
    .await;
    someone.vm().signal(Signal::CONT);
    // Nobody answers.
    someone.reads("is parked on the local branch").await;
    someone.fleet.cut.cut();
    someone.fleet.cut.freeze();
    assert_eq!(someone.fleet.write(&person(0), "SMlost", "status").await, Some(503));
    someone.fleet.cut.thaw();
    someone.write("status").await;
    someone.fleet
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_a_load() {
    let vm_metrics = free_address();
    let vm_settings = vec![("METRICS_BIND".to_owned(), vm_metrics.to_string())];
    let plan = FleetPlan { vm: VmKind::Real, vm_settings, ..FleetPlan::default() };
    let fleet = Fleet::start(plan.relay("APPROVAL_TIMEOUT_MS", APPROVAL_TIMEOUT_MS)).await;
    let target = |address: SocketAddr, app: &str, instance: &str| Target {
        address,
        app: app.to_owned(),
        instance: instance.to_owned(),
    };
    let targets = [
        target(fleet.metrics_address(0), "relay", "relay-a"),
        target(fleet.metrics_address(1), "relay", "relay-b"),
        target(vm_metrics, "vm", "vm-a"),
    ];
    let stores = [
        MetricStore::start(Kind::Prometheus, &targets).await,
        MetricStore::start(Kind::VictoriaMetrics, &targets).await,
    ];
    for store in &stores {
        scraped(store, targets.len()).await;
    }
    let begun = Instant::now();
    let _fleet = live(fleet).await;
    for store in &stores {
        wait_for("a survey of the store", BOUND, async || {
            let found = store.query("max(textslash_service_conversations) > 0").await;
            if found.as_ref().is_ok_and(|found| !found.is_empty()) { Ok(()) } else { Err(found) }
        })
        .await;
    }
    pictures::draw(&stores[0], begun.elapsed().as_secs_f64(), instance).await;
    for store in &stores {
        for name in NAMES {
            assert_eq!(faults(store, name, &instance(name)).await, Vec::<String>::new());
        }
        for (alert, expression) in alerts() {
            assert!(store.query(&expression).await.is_ok(), "{:?} does not understand {alert}", store.kind());
        }
    }
    for store in &stores {
        wait_for("all that the panels ask for", BOUND, async || {
            let mut all = Vec::new();
            for name in NAMES {
                all.extend(missing(store, name).await);
            }
            all.retain(|missing| !missing.contains(NOT_OF_THE_DEMO_AGENT));
            if all.is_empty() { Ok(()) } else { Err(all) }
        })
        .await;
    }
}
