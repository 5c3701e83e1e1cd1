//! What a task costs: messages.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use relay_core::id::{Address, ChannelKind};
use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::stack::SECRET;

const BOUND: Duration = Duration::from_secs(150);
const RUNS: usize = 10;
const MESSAGES_MAX: usize = 6;

/// From the task to the pull request, with an agent that has something to tell more than twice a second for nearly a minute.
#[tokio::test]
async fn a_run_with_much_to_tell_costs_few_messages() {
    let fleet = Fleet::start(FleetPlan { people: RUNS, ..FleetPlan::default() }).await;
    let fleet = &fleet;
    let people: Vec<String> = (0..RUNS).map(person).collect();
    join_all(people.iter().enumerate().map(|(at, person)| async move {
        assert_eq!(fleet.write(person, &format!("SM{at}"), "something chatty").await, Some(200));
        fleet.reads(person, "*approve* opens", BOUND).await;
        // A button means its diff from the moment at which it can be seen; a typed word has to wait for the relay to know that.
        let vm = fleet.fake_vm.as_ref().expect("a fake VM");
        let address = Address { channel: ChannelKind::Twilio, name: person.clone() };
        let conversation = address.conversation(SECRET.as_bytes());
        let run = vm.runs().into_iter().find(|run| run.conversation == conversation).expect("a run");
        let payload = format!("approve:{}:{}", run.run, run.tree);
        assert_eq!(fleet.press(person, &format!("SM{at}a"), &payload).await, Some(200));
        fleet.reads(person, "is a pull request", BOUND).await;
    }))
    .await;
    let mut counts = BTreeMap::new();
    for sent in fleet.twilio.sent() {
        *counts.entry(sent.to).or_insert(0usize) += 1;
    }
    println!("{RUNS} runs with 150 lines of progress each cost {:?} messages", counts.values().collect::<Vec<_>>());
    assert!(counts.values().all(|count| *count <= MESSAGES_MAX), "{counts:?}");
}
