//! Two or three relays, and every message at another one than the last.

use std::time::Duration;

use futures::future::join_all;
use relay_core::protocol::{Decision, RunState};
use system_tests::fake_github::FakeGithub;
use system_tests::fleet::{Fleet, FleetPlan, VmKind, person};
use system_tests::haproxy::Balance;
use system_tests::wait::wait_for;

use super::{BOUND, counts, everybody_reads};

const GITHUB_TOKEN: &str = "ghp_for_tests_only";
const TASK: &str = "add a line to hello.txt";

/// Where the second of two machines once broke every approval.
#[tokio::test]
async fn a_task_through_one_relay_is_approved_through_the_other() {
    let github = FakeGithub::start(GITHUB_TOKEN).await;
    github.add_repository("octo/demo").await;
    let vm_settings = [
        ("GITHUB_TOKEN", GITHUB_TOKEN.to_owned()),
        ("GITHUB_API_URL", github.api_url()),
        ("GITHUB_URL", github.url()),
        ("REPO_URL", github.clone_url("octo/demo")),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let plan = FleetPlan { vm: VmKind::Real, vm_settings: vm_settings.to_vec(), ..FleetPlan::default() };
    let fleet = Fleet::start(plan).await;
    let someone = person(0);
    assert_eq!(fleet.write_via(0, &someone, "SM1", TASK).await, Some(200));
    fleet.reads(&someone, "*approve* opens", BOUND).await;
    assert_eq!(fleet.write_via(1, &someone, "SM2", "approve").await, Some(200));
    let told = fleet.reads(&someone, "is a pull request", BOUND).await;
    let pulls = github.pulls();
    assert_eq!(pulls.len(), 1, "{pulls:#?}");
    assert!(told.body.contains(&format!("/pull/{}", pulls[0].number)), "{}", told.body);
    // And the other way round, with the next task.
    assert_eq!(fleet.write_via(1, &someone, "SM3", "something slow").await, Some(200));
    fleet.reads(&someone, "Working on it: run 2", BOUND).await;
    assert_eq!(fleet.write_via(0, &someone, "SM4", "cancel").await, Some(200));
    fleet.reads(&someone, "Run 2 is stopped", BOUND).await;
}

#[tokio::test]
async fn a_picture_is_served_by_every_relay_while_the_vm_is_gone() {
    let mut fleet = Fleet::start(FleetPlan { vm: VmKind::Real, ..FleetPlan::default() }).await;
    let someone = person(0);
    assert_eq!(fleet.write(&someone, "SM1", "a picture please").await, Some(200));
    let sent = fleet.reads(&someone, "A picture from the demo agent", BOUND).await;
    fleet.vm.take().expect("the VM is up").kill().await;
    let path = sent.media_urls[0].strip_prefix(&fleet.edge_url()).expect("the edge serves it").to_owned();
    for number in 0..fleet.len() {
        let url = format!("{}{path}", fleet.relay(number).url());
        let got = reqwest::get(&url).await.expect("an answer");
        assert_eq!((got.status().as_u16(), got.headers()["content-type"].as_bytes()), (200, &b"image/png"[..]));
        assert!(got.bytes().await.expect("a picture").starts_with(b"\x89PNG"));
        let head = reqwest::Client::new().head(&url).send().await.expect("an answer");
        assert_eq!(head.status(), 200);
        let guess = format!("{}{}", &url[..url.len() - 1], if url.ends_with('0') { '1' } else { '0' });
        assert_eq!(reqwest::get(&guess).await.expect("an answer").status(), 404);
    }
}

#[tokio::test]
async fn duplicated_and_reordered_webhooks_at_three_relays_count_once_each() {
    const PEOPLE: usize = 30;
    let plan = FleetPlan { relays: 3, people: PEOPLE, balance: Balance::Random, ..FleetPlan::default() };
    let fleet = Fleet::start(plan).await;
    let people: Vec<String> = (0..PEOPLE).map(person).collect();
    let twice = async |text: &str, name: &str| {
        let posts = people.iter().enumerate().flat_map(|(number, person)| {
            let (fleet, sid) = (&fleet, format!("SM{name}{number}"));
            (0..2).map(move |_| {
                let sid = sid.clone();
                async move { fleet.write(person, &sid, text).await }
            })
        });
        assert!(join_all(posts).await.iter().all(|status| *status == Some(200)));
    };
    // Both at once: whichever comes first is the run, the other waits for it.
    tokio::join!(twice("make a button", "a"), twice("make it blue", "b"));
    everybody_reads(&fleet, &people, "Queued at position 1").await;
    for (times, name) in [(1, "first"), (2, "second")] {
        everybody_has_read(&fleet, &people, "*approve* opens", times).await;
        twice("approve", name).await;
        everybody_has_read(&fleet, &people, "is a pull request", times).await;
    }
    let runs = fleet.fake_vm.as_ref().expect("a fake VM").runs();
    assert_eq!(runs.len(), PEOPLE * 2);
    assert!(runs.iter().all(|run| run.decision == Some(Decision::Approve) && run.state == RunState::Over));
    assert_eq!(fleet.fake_vm.as_ref().expect("a fake VM").violations(), Vec::<String>::new());
}

async fn everybody_has_read(fleet: &Fleet, people: &[String], text: &str, times: usize) {
    wait_for(&format!("everybody to read {text:?} {times} times"), BOUND, async || {
        let counts = counts(fleet, text);
        let differing: Vec<_> = people.iter().map(|person| counts.get(person).copied().unwrap_or(0)).collect();
        if differing.iter().all(|count| *count == times) { Ok(()) } else { Err(differing) }
    })
    .await;
}

/// Whatever reads a state and then writes it starts two runs for some of them.
#[tokio::test]
async fn two_messages_at_the_same_instant_at_two_relays_start_one_run() {
    const PEOPLE: usize = 500;
    let vm = VmKind::Fake(Duration::from_secs(600));
    let fleet = Fleet::start(FleetPlan { people: PEOPLE, vm, ..FleetPlan::default() }).await;
    let people: Vec<String> = (0..PEOPLE).map(person).collect();
    for (chunk, some) in people.chunks(25).enumerate() {
        let posts = some.iter().enumerate().map(|(number, person)| {
            let (fleet, number) = (&fleet, chunk * 25 + number);
            async move {
                let sids = [format!("SMa{number}"), format!("SMb{number}")];
                tokio::join!(
                    fleet.write_via(0, person, &sids[0], "make a button"),
                    fleet.write_via(1, person, &sids[1], "make it blue")
                )
            }
        });
        assert!(join_all(posts).await.iter().all(|answers| *answers == (Some(200), Some(200))));
    }
    everybody_reads(&fleet, &people, "Queued at position 1").await;
    let started = fleet.fake_vm.as_ref().expect("a fake VM").runs().len();
    report(started, PEOPLE);
    assert_eq!(started, PEOPLE);
}

#[expect(clippy::print_stdout, reason = "the figure is what the test is for")]
fn report(started: usize, people: usize) {
    println!("{people} people wrote twice at the same instant; {started} runs were started");
}
