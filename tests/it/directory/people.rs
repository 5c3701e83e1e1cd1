//! Two people with real machines of their own.

use relay_core::protocol::signature;
use relay_core::time::Timestamp;
use reqwest::Client;
use serde_json::json;
use system_tests::fake_fly::{FakeFly, Operation, Runs};
use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::stack::{git, sample_origin};
use system_tests::wait::wait_for;

use super::{BOOT, BOUND, admin, logs_hold_no_secret};

const TASK: &str = "add a line to hello.txt";

#[tokio::test]
async fn two_people_work_on_a_machine_each_and_one_is_forgotten() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let origin = folder.path().join("origin.git");
    sample_origin(&origin);
    let repo_url = origin.display().to_string();
    let fly = FakeFly::start(Runs::Agent, BOOT, &[("AGENT_DRIVER", "demo"), ("REPO_URL", &repo_url)]).await;
    let fleet = Fleet::start(FleetPlan { people: 2, relay: fly.settings(), ..FleetPlan::default() }).await;
    let (one, two) = (person(0), person(1));
    assert_eq!(fleet.write_via(0, &one, "SM1", TASK).await, Some(200));
    assert_eq!(fleet.write_via(1, &two, "SM2", "a question please").await, Some(200));
    fleet.reads(&one, "*approve* opens", BOUND).await;
    fleet.reads(&two, "demo agent", BOUND).await;
    assert_eq!(fleet.write(&one, "SM3", "approve").await, Some(200));
    fleet.reads(&one, "textslash/", BOUND).await;
    let branches = git(&origin, &["for-each-ref", "--format=%(refname:short)", "refs/heads/textslash/"]);
    assert_eq!(branches.lines().count(), 1, "{branches}");
    assert!(!fleet.read(&two).iter().any(|sent| sent.body.contains("*approve* opens")), "{:#?}", fleet.read(&two));

    // A machine and a volume each, that know of nobody else.
    let (machines, volumes) = (fly.machines(), fly.volumes());
    assert_eq!((machines.len(), volumes.len()), (2, 2), "{machines:#?}\n{volumes:#?}");
    assert_ne!(machines[0].user, machines[1].user);
    assert_ne!(machines[0].env["VM_SECRET"], machines[1].env["VM_SECRET"]);
    let theirs = machines.iter().find(|machine| branches.contains(&machine.user)).expect("the branch names its owner");
    let other = machines.iter().find(|machine| machine.id != theirs.id).expect("there are two");

    // Who has one machine's secret reports for that one alone.
    let path = format!("/callback/{}-1-1", other.user);
    let body = json!({ "conversation": other.user, "run": format!("{}-1-1", other.user), "seq": 1, "event": { "event": "beat" } });
    let body = body.to_string();
    for (secret, status) in [(&theirs.env["VM_SECRET"], 401), (&other.env["VM_SECRET"], 204)] {
        let now =
            Timestamp(u64::try_from(std::time::UNIX_EPOCH.elapsed().expect("a time").as_millis()).expect("small"));
        let signed = signature::sign(secret.as_bytes(), now, "POST", &path, body.as_bytes());
        let post = Client::new().post(fleet.edge_url() + &path).header(signature::HEADER, signed).body(body.clone());
        assert_eq!(post.send().await.expect("an answer").status(), status);
    }

    // An operator sees them, and what belongs to nobody.
    fly.add_volume("by_hand");
    let (_, all) = admin(&fleet, &fly, &["vms"]).await;
    assert!(machines.iter().all(|machine| all.contains(&machine.id)) && all.contains("started"), "{all}");
    let (_, orphans) = admin(&fleet, &fly, &["vms", "--orphans"]).await;
    assert!(orphans.contains("no machine has it") && !orphans.contains(&theirs.id), "{orphans}");

    // Forgotten, though not while somebody else is at work on the machine.
    fly.hold(&theirs.id, true);
    let (is_done, said) = admin(&fleet, &fly, &["forget", &one]).await;
    assert!(!is_done && said.contains("somebody else's hands"), "{said}");
    fly.hold(&theirs.id, false);
    let (is_done, said) = admin(&fleet, &fly, &["forget", &one]).await;
    assert!(is_done && said.contains("1 machines and 1 volumes are destroyed"), "{said}");
    let left: Vec<String> = fly.machines().into_iter().map(|machine| machine.id).collect();
    assert_eq!(left, std::slice::from_ref(&other.id));
    let left: Vec<String> = fly.volumes().into_iter().map(|volume| volume.name).collect();
    assert_eq!(left.len(), 2, "that of the other, and the one by hand: {left:?}");

    // Who writes again begins anew.
    assert_eq!(fleet.write(&one, "SM4", "a question please").await, Some(200));
    wait_for("another machine", BOUND, async || fly.machines().len() == 2).await;
    fleet.reads(&one, "demo agent", BOUND).await;
    assert_eq!(fly.count(Operation::CreateMachine), 3);
    logs_hold_no_secret(&fleet, &fly);
}
