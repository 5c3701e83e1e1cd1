//! What happened in a run, for whoever looks on: from any relay, without gap or double, and at no cost while nothing happens.

use std::time::Duration;

use relay_core::id::RunId;
use serde_json::{Value, json};
use system_tests::fleet::{Fleet, FleetPlan, VmKind, person};
use system_tests::links::{self, run_url};
use system_tests::onlooker::Onlooker;
use system_tests::stack::{BOUND, Plan, Stack};
use system_tests::wait::{wait_for, wait_until};

/// A dead relay's lease, and a machine that is busy with a build.
const RECOVERY: Duration = Duration::from_secs(60);
/// Lookers-on of one run.
const MANY: usize = 40;

/// With keys of links that the test knows.
fn plan() -> FleetPlan {
    let (name, value) = links::setting();
    FleetPlan::default().relay(name, value)
}

async fn get(url: &str) -> Value {
    let answer = reqwest::get(url).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.headers()["cache-control"].as_bytes()), (200, &b"no-store"[..]));
    answer.json().await.expect("JSON")
}

async fn refused(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a text"))
}

fn kinds(entries: &[Value]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry["what"].as_str()).collect()
}

/// The run of this person that the VM has started.
async fn started(fleet: &Fleet, text: &str) -> RunId {
    wait_for("the run to be started", BOUND, async || {
        let runs = fleet.fake_vm.as_ref().expect("a fake VM").runs();
        runs.iter().find(|run| run.text() == text).map(|run| run.run.clone()).ok_or(runs)
    })
    .await
}

#[tokio::test]
async fn a_run_is_followed_at_the_console_and_read_afterwards() {
    let stack = Stack::start(Plan::default()).await;
    let console = stack.console();
    console.send("add a line to hello.txt", BOUND).await;
    let shown = console.wait_for("*approve* opens", BOUND).await;
    let payload = shown["choice"]["approve"].as_str().expect("a button");
    let run = payload.split(':').nth(1).expect("a button names its run");
    let url = format!("{}/runs/{run}", stack.relay_url());
    let onlooker = Onlooker::follow(&url, None);
    onlooker.sees("changes", "stat", BOUND).await;

    // What is waited for comes as soon as it is there, and what is there is not waited for.
    let before = get(&url).await;
    assert_eq!(before["over"], false);
    let waiting = tokio::spawn({
        let url = format!("{url}?after={}&wait_ms=25000", before["cursor"]);
        async move { get(&url).await }
    });
    console.press("approve", BOUND).await;
    let next = waiting.await.expect("no panic");
    assert_eq!(next["entries"][0]["what"], "asked", "{next}");
    let seen = onlooker.ends(BOUND).await;
    let told = kinds(&seen.entries);
    assert_eq!((told.first(), told.last()), (Some(&"begun"), Some(&"ended")), "{told:?}");
    assert!(told.contains(&"started") && told.contains(&"progress") && told.contains(&"decided"), "{told:?}");

    let all = get(&url).await;
    assert_eq!((&all["over"], &all["run"]), (&json!(true), &json!(run)));
    assert_eq!(all["entries"], json!(seen.entries));
    let last = get(&format!("{url}?after={}", all["cursor"])).await;
    assert_eq!((&last["over"], &last["entries"]), (&json!(true), &json!([])));
    assert!(Onlooker::follow(&url, None).ends(BOUND).await.entries == seen.entries);
}

#[tokio::test]
async fn who_may_not_look_learns_nothing() {
    let fleet = Fleet::start(FleetPlan { people: 2, ..plan() }).await;
    for number in 0..2 {
        assert_eq!(
            fleet.write(&person(number), &format!("SM{number}"), &format!("long work {number}")).await,
            Some(200)
        );
    }
    let (run, other) = (started(&fleet, "long work 0").await, started(&fleet, "long work 1").await);
    let url = fleet.edge_url();
    let http = reqwest::Client::new();
    assert_eq!(get(&run_url(&url, run.as_str())).await["run"], run.as_str());
    let unknown = refused(http.get(format!("{url}/runs/nobody-1-1"))).await;
    assert_eq!(unknown.0, 404);
    let (same, _) = run.as_str().rsplit_once('-').expect("it ends with its number");
    let next = RunId::parse(format!("{same}-2")).expect("a name");
    for path in [
        format!("{run}"),
        format!("{run}?key="),
        format!("{run}?key={}", links::key("run", other.as_str())),
        format!("{run}?key={}", links::key("review", run.as_str())),
        format!("{run}?key={}x", links::key("run", run.as_str())),
        format!("{next}?key={}", links::key("run", next.as_str())),
        "no%20run".to_owned(),
    ] {
        for accepted in ["application/json", "text/event-stream"] {
            let request = http.get(format!("{url}/runs/{path}")).header("accept", accepted);
            assert_eq!(refused(request).await, unknown, "{path}");
        }
    }
    let malformed = refused(http.get(format!("{url}/runs/{run}?after=x"))).await;
    assert_eq!(malformed.0, 400, "{malformed:?}");
}

/// Where a stream broke off, another relay goes on.
#[tokio::test]
async fn a_stream_outlives_the_relay_that_serves_it() {
    let mut fleet = Fleet::prepare(plan()).await;
    // Whoever asks now is served by the one relay there is.
    fleet.start_relay(0).await;
    let someone = person(0);
    assert_eq!(fleet.write(&someone, "SM1", "long work").await, Some(200));
    let run = started(&fleet, "long work").await;
    let onlooker = Onlooker::follow(&run_url(&fleet.edge_url(), run.as_str()), None);
    onlooker.sees("started", "fake", BOUND).await;
    fleet.start_relay(1).await;
    let far = Onlooker::follow(&run_url(&fleet.relay(1).url(), run.as_str()), None);
    assert_eq!(fleet.write(&someone, "SM2", "status").await, Some(200));
    let before = onlooker.sees("asked", "status", BOUND).await;
    assert_eq!(before.connections, 1);
    far.sees("asked", "status", BOUND).await;

    fleet.kill(0).await;
    assert_eq!(fleet.write_via(1, &someone, "SM3", "queue").await, Some(200));
    onlooker.sees("asked", "queue", RECOVERY).await;
    assert_eq!(fleet.write_via(1, &someone, "SM4", "cancel").await, Some(200));
    let seen = onlooker.ends(RECOVERY).await;
    assert!(seen.connections > 1, "it had to come again");
    let all = get(&run_url(&fleet.relay(1).url(), run.as_str())).await;
    assert_eq!(json!(seen.entries), all["entries"], "no gap and no double");
    assert_eq!(far.ends(BOUND).await.entries, seen.entries);
    let told = kinds(&seen.entries);
    assert_eq!((told.first(), told.last()), (Some(&"begun"), Some(&"ended")), "{told:?}");
    assert_eq!(told.iter().filter(|what| **what == "ended").count(), 1);
}

/// What one of them is told costs as much as what all are.
#[tokio::test]
async fn lookers_on_share_what_is_read() {
    let fleet = Fleet::start(plan()).await;
    let someone = person(0);
    assert_eq!(fleet.write(&someone, "SM1", "long work").await, Some(200));
    let run = started(&fleet, "long work").await;
    let url = run_url(&fleet.relay(0).url(), run.as_str());
    let all: Vec<Onlooker> = (0..MANY).map(|_| Onlooker::follow(&url, None)).collect();
    for onlooker in &all {
        onlooker.sees("started", "fake", BOUND).await;
    }
    let scripts = async || {
        let calls = fleet.redis.calls().await;
        calls.iter().filter(|(name, _)| name == "evalsha").map(|(_, count)| *count).sum::<u64>()
    };
    // All that goes on by itself has been told.
    let mut before = scripts().await;
    wait_until("nothing to be asked of Redis", BOUND, async || {
        let now = scripts().await;
        std::mem::replace(&mut before, now) == now
    })
    .await;
    assert_eq!(fleet.write_via(1, &someone, "SM2", "status").await, Some(200));
    for onlooker in &all {
        onlooker.sees("asked", "status", BOUND).await;
        onlooker.sees("said", "at work", BOUND).await;
    }
    let spent = scripts().await - before;
    assert!(spent < MANY as u64 / 2, "{spent} script calls for one message that {MANY} looked at");
    assert!(all.iter().all(|onlooker| onlooker.seen().connections == 1));
}

/// Nothing is lost while Redis is away, and nobody has to come again for that.
#[tokio::test]
async fn lookers_on_go_on_when_redis_is_back() {
    let mut fleet = Fleet::start(FleetPlan { vm: VmKind::Fake(Duration::from_millis(1)), ..plan() }).await;
    let someone = person(0);
    assert_eq!(fleet.write(&someone, "SM1", "long work").await, Some(200));
    let run = started(&fleet, "long work").await;
    let onlooker = Onlooker::follow(&run_url(&fleet.relay(0).url(), run.as_str()), None);
    onlooker.sees("started", "fake", BOUND).await;
    fleet.redis.kill().await;
    fleet.redis.start_again().await;
    wait_for("a message to be taken", RECOVERY, async || {
        let status = fleet.write_via(1, &someone, "SM2", "status").await;
        if status == Some(200) { Ok(()) } else { Err(status) }
    })
    .await;
    onlooker.sees("asked", "status", RECOVERY).await;
    assert_eq!(fleet.write_via(1, &someone, "SM3", "cancel").await, Some(200));
    let seen = onlooker.ends(RECOVERY).await;
    let all = get(&run_url(&fleet.relay(1).url(), run.as_str())).await;
    assert_eq!(json!(seen.entries), all["entries"]);
}
