//! `deploy/fly.sh`, with a stand-in for flyctl: what it does and in which order, and that it can be cut off anywhere and run
//! again.

mod clone;
mod people;
mod regions;

use std::collections::BTreeSet;

use system_tests::fake_flyctl::commands::{REDIS_PASSWORD, TOKEN_BEGINS};
use system_tests::fake_flyctl::state::State;

use clone::{Clone, Outcome, TWILIO};

const RELAY: &str = "textslash-ada";
const VM: &str = "textslash-ada-vm";
const KEY: (&str, &str) = ("ANTHROPIC_API_KEY", "sk-ant-the-key-of-ada");
const TOKEN: (&str, &str) = ("GITHUB_TOKEN", "ghp_theTokenOfAda");

/// All that `up` may be told.
fn everything() -> Vec<(&'static str, &'static str)> {
    let mut given = vec![("TEXTSLASH_APP", RELAY), KEY, TOKEN];
    given.extend(TWILIO);
    given
}

/// What matters of a state: no ids, and no digests but for what must be the same.
fn outline(state: &State) -> Vec<String> {
    let mut lines: Vec<String> = state.redis.keys().map(|name| format!("redis {name}")).collect();
    for (name, app) in &state.apps {
        let mut addresses = app.addresses.clone();
        addresses.sort();
        lines.push(format!("{name} addresses {addresses:?}, volumes {:?}", app.volumes.values().collect::<Vec<_>>()));
        lines.extend(
            app.machines
                .iter()
                .map(|machine| format!("{name} machine {} {} {:?}", machine.region, machine.tag, machine.env)),
        );
        lines.push(format!("{name} images {:?}, tokens {:?}", app.images, app.tokens.values().collect::<Vec<_>>()));
        lines
            .extend(app.secrets.iter().map(|(secret, is)| format!("{name} secret {secret} deployed: {}", is.deployed)));
    }
    let digest = |app: &str| state.apps.get(app).and_then(|app| app.secrets.get("VM_SECRET")).map(|is| &is.digest);
    lines.push(format!("one VM_SECRET: {}", digest(RELAY) == digest(VM)));
    lines.push(format!(
        "were public: {:?}; deployed without private address: {:?}",
        state.were_public, state.without_private_address
    ));
    lines
}

/// Nothing secret in a command line or on the terminal, and none that the script made.
fn tells_no_secret(clone: &Clone, outcome: &Outcome) {
    let told = format!("{}\n{}", clone.calls().join("\n"), outcome.told);
    let given = [KEY.1, TOKEN.1, TWILIO[1].1, REDIS_PASSWORD, TOKEN_BEGINS];
    assert!(given.into_iter().all(|secret| !told.contains(secret)), "{told}");
    let longest = told.split(|c: char| !c.is_ascii_hexdigit()).map(str::len).max();
    assert!(longest < Some(64), "something that looks like a generated secret:\n{told}");
}

#[test]
fn a_first_up_is_the_recorded_sequence_of_calls() {
    let clone = Clone::new();
    let outcome = clone.run(&["up"], &everything(), "");
    assert!(outcome.is_well, "{}", outcome.told);
    tells_no_secret(&clone, &outcome);
    assert!(outcome.told.contains("https://textslash-ada.fly.dev/webhook"), "{}", outcome.told);
    let chapter = outcome.told.split("docs/operations.md, \"").nth(1).and_then(|rest| rest.split('"').next());
    let chapter = chapter.expect("it says how to be alerted");
    assert!(super::read("docs/operations.md").contains(&format!("\n## {chapter}\n")), "there is no {chapter}");
    clone::matches_snapshot("up.calls", &clone.calls());
    let state = clone.state();
    assert_eq!(state.were_public, BTreeSet::from([RELAY.to_owned()]), "the VM must never be public");
    assert_eq!(state.without_private_address, BTreeSet::new());
    assert_eq!(state.apps[RELAY].machines.len(), 2);
    assert_eq!(state.apps[VM].addresses, ["private_v6"]);
    assert!(outline(&state).contains(&"one VM_SECRET: true".to_owned()));
}

#[test]
fn a_second_up_changes_nothing_and_a_new_commit_is_deployed() {
    let clone = Clone::new();
    assert!(clone.run(&["up"], &everything(), "").is_well);
    let (before, first) = (clone.state(), clone.calls());
    // The names come from the file, the secrets are at Fly: nothing has to be given.
    let outcome = clone.run(&["up"], &[], "");
    assert!(outcome.is_well, "{}", outcome.told);
    assert_eq!(clone.state(), before);
    let changing = ["create", "allocate", "import", "deploy", "scale", "release"];
    let changes: Vec<String> =
        clone.calls().into_iter().filter(|call| changing.iter().any(|word| call.contains(word))).collect();
    assert_eq!(changes, Vec::<String>::new(), "the first did {first:#?}");
    clone.commit("something new");
    assert!(clone.run(&["up"], &[], "").is_well);
    let deployed = clone.calls().iter().filter(|call| call.starts_with("flyctl deploy")).count();
    assert_eq!(deployed, 2);
}

#[test]
fn a_deploy_that_failed_at_its_checks_is_made_again_by_the_next_up() {
    let clone = Clone::new();
    assert!(clone.run(&["up"], &everything(), "").is_well);
    let well = clone.state();
    let mut state = well.clone();
    state.apps.get_mut(RELAY).expect("the relay's app").machines[1].fails = true;
    clone.set_state(&state);
    assert!(clone.run(&["up"], &[], "").is_well);
    let deployed = clone.calls().iter().filter(|call| call.starts_with("flyctl deploy")).count();
    assert_eq!((deployed, clone.state()), (1, well));
}

#[test]
fn an_up_that_fails_anywhere_goes_on_where_it_was() {
    goes_on_wherever_it_fails(&everything());
}

/// Cut off at every call, whether it was carried out or not.
fn goes_on_wherever_it_fails(given: &[(&str, &str)]) {
    let whole = Clone::new();
    assert!(whole.run(&["up"], given, "").is_well);
    let wanted = outline(&whole.state());
    let calls = whole.calls().len();
    std::thread::scope(|scope| {
        for how in ["undone", "done"] {
            let wanted = &wanted;
            scope.spawn(move || (1..=calls).for_each(|number| goes_on(given, number, how, wanted)));
        }
    });
}

fn goes_on(given: &[(&str, &str)], number: usize, how: &str, wanted: &[String]) {
    let clone = Clone::new();
    let outcome = clone.run_failing(&["up"], given, &format!("{number}:{how}"));
    let failed = clone.calls().last().cloned();
    assert!(!outcome.is_well, "call {number} failed, and nobody was told: {failed:?}");
    assert_eq!(clone.calls().len(), number, "went on after {failed:?}");
    tells_no_secret(&clone, &outcome);
    let again = clone.run(&["up"], given, "");
    assert!(again.is_well, "after {failed:?} ({how}): {}", again.told);
    assert_eq!(outline(&clone.state()), wanted, "after {failed:?} ({how})");
}

#[test]
fn the_vm_secret_is_one_for_both_though_an_app_was_lost() {
    for lost in [RELAY, VM] {
        let clone = Clone::new();
        assert!(clone.run(&["up"], &everything(), "").is_well);
        let mut state = clone.state();
        state.apps.remove(lost);
        clone.set_state(&state);
        // Cut off after the first of the two imports.
        let imports = |calls: Vec<String>| calls.iter().position(|call| call.contains("VM_SECRET"));
        assert!(clone.run(&["up"], &everything(), "").is_well);
        let number = imports(clone.calls()).expect("an import") + 1;
        clone.set_state(&state);
        assert!(!clone.run_failing(&["up"], &everything(), &format!("{number}:done")).is_well);
        assert!(clone.run(&["up"], &everything(), "").is_well);
        assert!(outline(&clone.state()).contains(&"one VM_SECRET: true".to_owned()), "{lost} was lost");
    }
}

#[test]
fn what_is_wrong_is_told_at_once_before_anything_is_made() {
    let clone = Clone::new();
    let outcome =
        clone.run(&["up"], &[("TEXTSLASH_APP", RELAY), ("TWILIO_AUTH_TOKEN", "0123"), ("GITHUB_TOKEN", "x")], "");
    assert_eq!(outcome.code, 64, "{}", outcome.told);
    for (name, _) in TWILIO.into_iter().chain([TOKEN]) {
        assert!(outcome.told.contains(name), "{name} is not named: {}", outcome.told);
    }
    assert!(!outcome.told.contains("0123"), "{}", outcome.told);
    assert_eq!(clone.state(), State::default());
    assert_eq!(clone.run(&["up"], &[("TEXTSLASH_APP", "Not A Name")], "").code, 64);
    assert_eq!(clone.run(&["scale", "none"], &[("TEXTSLASH_APP", RELAY)], "").code, 64);
    assert_eq!(clone.run(&["secrets", "PATH"], &[("TEXTSLASH_APP", RELAY)], "").code, 64);
}

#[test]
fn a_bash_that_is_too_old_is_told_so_before_it_reads_anything_else() {
    let script = super::read("deploy/fly.sh");
    let first = script.lines().find(|line| !line.starts_with('#'));
    assert!(first.is_some_and(|line| line.contains("BASH_VERSINFO")), "{first:?} comes before the look at the version");
    for (version, is_well) in [((3, 2), false), ((4, 3), false), ((4, 4), true), ((5, 0), true)] {
        let clone = Clone::new();
        clone.pretend_bash(version);
        let outcome = clone.run(&["status"], &[("TEXTSLASH_APP", RELAY)], "");
        assert_eq!(outcome.is_well, is_well, "{version:?}: {}", outcome.told);
        assert_eq!(outcome.told.contains("brew install bash"), !is_well, "{version:?}: {}", outcome.told);
        assert_eq!(clone.calls().is_empty(), !is_well, "{version:?}");
    }
}

#[test]
fn what_is_typed_does_as_well_and_without_a_key_the_demo_agent_answers() {
    let clone = Clone::new();
    let mut typed = format!("{RELAY}\nfra\n\n\n");
    typed.extend(TWILIO.into_iter().map(|(_, answer)| format!("{answer}\n")));
    let outcome = clone.run(&["up"], &[], &typed);
    assert!(outcome.is_well, "{}", outcome.told);
    assert!(outcome.told.contains("the demo agent answers"), "{}", outcome.told);
    let state = clone.state();
    assert!(state.apps[RELAY].machines.iter().all(|machine| machine.region == "fra"));
    assert!(!state.apps[VM].secrets.contains_key(KEY.0));
    let demo = state.apps[VM].secrets["AGENT_DRIVER"].clone();
    let outcome = clone.run(&["secrets", KEY.0], &[KEY], "");
    assert!(outcome.is_well, "{}", outcome.told);
    tells_no_secret(&clone, &outcome);
    let secrets = &clone.state().apps[VM].secrets;
    assert!(secrets[KEY.0].deployed && secrets["AGENT_DRIVER"] != demo);
}

#[test]
fn a_new_token_reaches_the_machines_and_the_rest_stays() {
    let clone = Clone::new();
    assert!(clone.run(&["up"], &everything(), "").is_well);
    let before = clone.state();
    let both = format!("{},{}", "f".repeat(32), TWILIO[1].1);
    let given = [("TWILIO_AUTH_TOKEN", both.as_str())];
    // Staged, and then cut off: the next run finds that the machines don't know it.
    assert!(clone.run(&["secrets"], &given, "").is_well);
    let restart = clone.calls().iter().position(|call| call.contains("secrets deploy")).expect("a restart") + 1;
    clone.set_state(&before);
    assert!(!clone.run_failing(&["secrets"], &given, &format!("{restart}:undone")).is_well);
    assert!(!clone.state().apps[RELAY].secrets["TWILIO_AUTH_TOKEN"].deployed);
    assert!(clone.run(&["up"], &[], "").is_well);
    let (now, was) = (&clone.state().apps[RELAY].secrets, &before.apps[RELAY].secrets);
    assert!(now.values().all(|secret| secret.deployed));
    let changed: Vec<&String> = now.keys().filter(|name| now.get(*name) != was.get(*name)).collect();
    assert_eq!(changed, ["TWILIO_AUTH_TOKEN"]);
    assert_eq!(clone.state().apps[VM], before.apps[VM]);
}

#[test]
fn scale_makes_as_many_relays_as_were_asked_for_and_up_keeps_them() {
    let clone = Clone::new();
    assert!(clone.run(&["up"], &everything(), "").is_well);
    for count in ["3", "3", "1"] {
        assert!(clone.run(&["scale", count], &[], "").is_well);
        assert!(clone.run(&["up"], &[], "").is_well);
        assert_eq!(clone.state().apps[RELAY].machines.len().to_string(), count);
    }
    let status = clone.run(&["status"], &[], "");
    assert!(
        status.is_well && status.told.contains("passing") && status.told.contains(r#"{"status":"ok"}"#),
        "{}",
        status.told
    );
    assert!(!status.told.contains('✗'), "{}", status.told);
    let mut state = clone.state();
    state.apps.get_mut(RELAY).expect("the relays").secrets.remove("TWILIO_FROM");
    state.redis.clear();
    clone.set_state(&state);
    let told = clone.run(&["status"], &[], "").told;
    assert!(told.contains("✗ secrets that are missing: TWILIO_FROM") && told.contains("✗ missing"), "{told}");
}

#[test]
fn down_wants_the_name_typed_and_goes_on_after_it_was_cut_off() {
    let whole = Clone::new();
    assert!(whole.run(&["up"], &everything(), "").is_well);
    let before = whole.state();
    let refused = whole.run(&["down"], &[], "textslash\n");
    assert!(!refused.is_well && refused.told.contains("nothing was destroyed"), "{}", refused.told);
    assert_eq!(whole.state(), before);
    let outcome = whole.run(&["down"], &[], &format!("{RELAY}\n"));
    assert!(outcome.is_well && outcome.told.contains("Lost for good"), "{}", outcome.told);
    assert!(whole.state().apps.is_empty() && whole.state().redis.is_empty());
    for number in 1..=whole.calls().len() {
        for how in ["undone", "done"] {
            let clone = Clone::new();
            clone.set_state(&before);
            let given = [("TEXTSLASH_APP", RELAY)];
            assert!(!clone.run_failing(&["down", "--yes"], &given, &format!("{number}:{how}")).is_well);
            assert!(clone.run(&["down", "--yes"], &given, "").is_well, "after call {number}");
            assert!(clone.state().apps.is_empty() && clone.state().redis.is_empty(), "after call {number}");
        }
    }
}
