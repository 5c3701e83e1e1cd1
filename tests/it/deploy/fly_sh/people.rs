//! A machine for each person: the relays make them, and `up` sees to what they need for it.

use system_tests::fake_flyctl::state::State;

use super::clone::{Clone, matches_snapshot};
use super::{RELAY, VM, everything, goes_on_wherever_it_fails, outline, tells_no_secret};

const PEOPLE: &str = "textslash-ada-vms";
/// What an app's secret would take from each machine, because it wins over what the relay gives it.
const OF_EACH: [&str; 3] = ["VM_SECRET", "EVENTS_URL", "DATA_DIR"];

fn each() -> Vec<(&'static str, &'static str)> {
    let mut given = everything();
    given.push(("TEXTSLASH_VMS", "each"));
    given
}

fn shared() -> Vec<(&'static str, &'static str)> {
    let mut given = everything();
    given.push(("TEXTSLASH_VMS", "shared"));
    given
}

/// What the relays are told is all that `VM_DIRECTORY=fly` needs, and nobody but them makes a machine.
fn relays_make_machines(state: &State) {
    let (relay, vms) = (&state.apps[RELAY], &state.apps[PEOPLE]);
    assert_eq!(vms.addresses, ["private_v6"], "a machine must never be public");
    assert!(!state.were_public.contains(PEOPLE));
    assert!(vms.machines.is_empty() && vms.volumes.is_empty());
    assert!(OF_EACH.iter().all(|name| !vms.secrets.contains_key(*name)), "{:?}", vms.secrets.keys());
    assert!(["ANTHROPIC_API_KEY", "GITHUB_TOKEN", "AGENT_DRIVER"].iter().all(|name| vms.secrets.contains_key(*name)));
    assert_eq!(vms.tokens.len(), 1, "one token, that the relays have");
    for name in ["FLY_API_TOKEN", "VM_SECRET", "RELAY_SECRET"] {
        assert!(relay.secrets.get(name).is_some_and(|secret| secret.deployed), "{name}");
    }
    assert!(!relay.secrets.contains_key("VM_URL"), "a secret would win over what the relays are told");
    for machine in &relay.machines {
        let env = &machine.env;
        assert_eq!((env["VM_DIRECTORY"].as_str(), env["VM_APP"].as_str()), ("fly", PEOPLE));
        assert_eq!(env["VM_URL"], format!("http://{PEOPLE}.flycast"));
        assert_eq!(env["VM_EVENTS_URL"], format!("http://{RELAY}.flycast:3001"));
        assert_eq!(env["VM_REGION"], machine.region);
        let tag = env["VM_IMAGE"].strip_prefix(&format!("registry.fly.io/{PEOPLE}:")).expect("an image of this app");
        assert!(vms.images.contains(tag) && tag == machine.tag, "{tag}");
    }
}

#[test]
fn an_up_with_a_machine_for_each_person_is_the_recorded_sequence_of_calls() {
    let clone = Clone::new();
    let outcome = clone.run(&["up"], &each(), "");
    assert!(outcome.is_well, "{}", outcome.told);
    tells_no_secret(&clone, &outcome);
    matches_snapshot("up-each.calls", &clone.calls());
    relays_make_machines(&clone.state());
    assert!(!clone.state().apps.contains_key(VM));
    let status = clone.run(&["status"], &[], "");
    assert!(status.is_well && !status.told.contains('✗'), "{}", status.told);
}

#[test]
fn a_second_up_changes_nothing_and_a_new_commit_is_a_new_image() {
    let clone = Clone::new();
    assert!(clone.run(&["up"], &each(), "").is_well);
    let before = clone.state();
    assert!(clone.run(&["up"], &[], "").is_well);
    assert_eq!(clone.state(), before);
    assert!(!clone.calls().iter().any(|call| call.starts_with("flyctl deploy")));
    clone.commit("something new");
    assert!(clone.run(&["up"], &[], "").is_well);
    let state = clone.state();
    relays_make_machines(&state);
    assert_eq!(state.apps[PEOPLE].images.len(), 2);
}

#[test]
fn an_up_with_a_machine_for_each_person_goes_on_where_it_was() {
    goes_on_wherever_it_fails(&each());
}

#[test]
fn whose_the_vms_are_can_be_changed_and_changed_back() {
    let clone = Clone::new();
    assert!(clone.run(&["up"], &shared(), "").is_well);
    let before = clone.state();
    let outcome = clone.run(&["up"], &each(), "");
    assert!(outcome.is_well && outcome.told.contains(&format!("{VM} is there too")), "{}", outcome.told);
    relays_make_machines(&clone.state());
    assert_eq!(clone.state().apps[VM], before.apps[VM], "what is on its volume is people's");
    assert_eq!(clone.state().apps[RELAY].secrets["VM_SECRET"], before.apps[RELAY].secrets["VM_SECRET"]);

    assert!(clone.run(&["up"], &shared(), "").is_well);
    let state = clone.state();
    let relay = &state.apps[RELAY];
    assert!(relay.machines.iter().all(|machine| machine.env.is_empty()));
    assert!(!relay.secrets.contains_key("FLY_API_TOKEN") && state.apps[PEOPLE].tokens.is_empty());
    assert!(relay.secrets["VM_URL"].deployed);
    assert!(outline(&state).contains(&"one VM_SECRET: true".to_owned()));

    assert!(clone.run(&["down", "--yes"], &[], "").is_well);
    assert!(clone.state().apps.is_empty());
}
