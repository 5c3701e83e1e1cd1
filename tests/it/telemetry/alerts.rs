//! The alerts, and what is written about each.

use std::collections::BTreeSet;
use std::fs;

use system_tests::dashboards::{NAMES, alerts, dashboard, documented, panels, repository, unknown};
use system_tests::metric_store::promtool;

#[tokio::test]
async fn each_alert_fires_and_does_not_fire() {
    let folder = repository("deploy/prometheus");
    for args in [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]] {
        let (content, said) = promtool(&folder, &args).await;
        assert!(content, "{said}");
    }
    let tests = fs::read_to_string(folder.join("alerts_test.yaml")).expect("the tests are there");
    let told: Vec<String> = alerts().into_keys().filter(|name| !tests.contains(&format!("- name: {name}"))).collect();
    assert_eq!(told, Vec::<String>::new(), "no test tells when these fire");
}

#[test]
fn each_alert_has_its_runbook_and_each_runbook_its_alert() {
    let page = fs::read_to_string(repository("docs/operations.md")).expect("the page is there");
    let chapter = page.split("## Alerts\n").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the chapter");
    let entries: BTreeSet<String> = chapter
        .split("\n### ")
        .skip(1)
        .map(|entry| {
            let (name, entry) = entry.split_once('\n').expect("an entry has a text");
            for part in ["- **Means:**", "- **Look first:**", "- **Do:**", "- **Over:**"] {
                assert!(entry.contains(part), "the entry of {name} lacks {part}");
            }
            name.to_owned()
        })
        .collect();
    assert_eq!(entries, alerts().into_keys().collect());
    let titles: BTreeSet<String> =
        NAMES.iter().flat_map(|name| panels(&dashboard(name))).map(|panel| panel.title).collect();
    let named = chapter.split('"').skip(1).step_by(2).filter(|name| !titles.contains(*name));
    assert_eq!(named.collect::<Vec<&str>>(), Vec::<&str>::new(), "no panel is called that");
    let rules = fs::read_to_string(repository("deploy/prometheus/alerts.yaml")).expect("the alerts are there");
    for entry in rules.split("- alert: ").skip(1) {
        let name = entry.lines().next().expect("a name");
        for line in ["severity: ", "summary: ", &format!("runbook_url: docs/operations.md#{}\n", name.to_lowercase())] {
            assert!(entry.contains(line), "{name} lacks {line}");
        }
    }
}

#[test]
fn alerts_ask_for_what_the_page_on_telemetry_promises() {
    let documented = documented();
    let faults: Vec<String> = alerts().values().flat_map(|expression| unknown(expression, &documented)).collect();
    assert_eq!(faults, Vec::<String>::new());
}
