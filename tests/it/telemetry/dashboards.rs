//! Every query of every panel is run, on both kinds of store: none fails, is empty, or gives what is no number.

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;
use system_tests::dashboards::{NAMES, Panel, dashboard, documented, panels, repository, unknown};
use system_tests::metric_store::{Kind, MetricStore, Target};
use system_tests::peers::python;
use system_tests::wait::wait_for;

use super::exposition::told;
use super::{BOUND, faults, missing, not_there};

const RELAYS: &str = "relay-a|relay-b";
const KINDS: [Kind; 2] = [Kind::Prometheus, Kind::VictoriaMetrics];

fn instances(name: &str) -> &'static str {
    if name == "vm" { "vm-a" } else { RELAYS }
}

fn target(address: SocketAddr, app: &str, instance: &str) -> Target {
    Target { address, app: app.to_owned(), instance: instance.to_owned() }
}

async fn as_documented(quiet: bool) -> Vec<Target> {
    let relay = &["A relay's own", "The service's", "Both"];
    vec![
        target(told(relay, quiet).await, "relay", "relay-a"),
        target(told(relay, quiet).await, "relay", "relay-b"),
        target(told(&["A VM's", "Both"], quiet).await, "vm", "vm-a"),
    ]
}

/// Wait until every target was scraped often enough for a rate.
pub(super) async fn scraped(store: &MetricStore, targets: usize) {
    wait_for("a few scrapes", BOUND, async || {
        let found = store.query("count_over_time(up[15s]) > 3").await;
        if found.as_ref().is_ok_and(|found| found.len() == targets) { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_panel_is_empty_while_nothing_happens() {
    let targets = as_documented(true).await;
    for kind in KINDS {
        let store = MetricStore::start(kind, &targets).await;
        scraped(&store, targets.len()).await;
        for name in NAMES {
            assert_eq!(faults(&store, name, instances(name)).await, Vec::<String>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_what_the_page_on_telemetry_promises() {
    let targets = as_documented(false).await;
    for kind in KINDS {
        let store = MetricStore::start(kind, &targets).await;
        scraped(&store, targets.len()).await;
        for name in NAMES {
            assert_eq!(faults(&store, name, instances(name)).await, Vec::<String>::new());
            assert_eq!(missing(&store, name).await, Vec::<String>::new());
        }
        for wrong in [
            "sum(rate(textslash_webhook_total{app=~\".*\"}[1m])) or vector(0)",
            "max(textslash_service_due{state=\"x\"})",
        ] {
            assert_eq!(not_there(&store, wrong).await.len(), 1, "{wrong}");
        }
    }
}

#[test]
fn a_query_with_a_wrong_name_is_found() {
    let documented = documented();
    let faults = |query: &str| unknown(query, &documented);
    assert_eq!(faults("sum by (result) (rate(textslash_webhooks_total{result=\"full\"}[1m]))"), Vec::<String>::new());
    assert_eq!(faults("sum(rate(textslash_webhook_total[1m])) or vector(0)"), ["no metric textslash_webhook_total"]);
    assert_eq!(faults("textslash_webhooks_total{outcome=\"full\"}"), ["textslash_webhooks_total has no label outcome"]);
    assert_eq!(faults("textslash_webhooks_total{result=\"lost\"}"), ["textslash_webhooks_total has no result lost"]);
    assert_eq!(faults("sum by (outcome) (textslash_webhooks_total{})"), ["no label outcome"]);
    assert_eq!(faults("textslash_wake_duration_seconds{}"), ["no metric textslash_wake_duration_seconds"]);
}

#[test]
fn dashboards_ask_for_what_the_page_on_telemetry_promises() {
    let documented = documented();
    assert!(documented.len() > 40, "{:?}", documented.keys());
    for query in NAMES.iter().flat_map(|name| panels(&dashboard(name))).flat_map(|panel| panel.queries) {
        assert_eq!(unknown(&query, &documented), Vec::<String>::new(), "{query}");
        for part in query.split("textslash_service_").skip(1) {
            assert!(
                query.contains("max ") && !query.contains("sum"),
                "the service's {part} is told by every relay: {query}"
            );
        }
    }
}

#[tokio::test]
async fn the_committed_dashboards_are_what_the_script_makes() {
    let made = tempfile::tempdir().expect("a temporary directory");
    let script = repository("deploy/grafana/dashboards.py");
    let output = python().arg("-B").arg(script).arg(made.path()).output().await.expect("starting Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in NAMES {
        let read = |path| serde_json::from_str::<Value>(&fs::read_to_string(path).expect("a dashboard")).expect("JSON");
        let made = read(made.path().join(format!("{name}.json")));
        assert!(made == dashboard(name), "{name}.json is not what dashboards.py makes: run it");
    }
}

/// What Grafana's own linter asks of a dashboard, and a little more.
#[test]
fn dashboards_are_as_grafanas_linter_wants_them() {
    for name in NAMES {
        let board = dashboard(name);
        assert_eq!(
            (&board["editable"], &board["uid"]),
            (&Value::from(false), &Value::from(format!("textslash-{name}")))
        );
        let variables = board["templating"]["list"].as_array().expect("variables");
        assert_eq!(variables[0]["type"], "datasource");
        let titles: Vec<String> = panels(&board).into_iter().map(|panel| panel.title).collect();
        for panel in panels(&board) {
            let Panel { title, json, queries } = &panel;
            assert_eq!(titles.iter().filter(|other| *other == title).count(), 1, "{name} has {title} twice");
            assert!(
                !title.is_empty() && json["description"].as_str().is_some_and(|text| text.len() > 10),
                "{name}: {title}"
            );
            assert!(json["fieldConfig"]["defaults"]["unit"].is_string(), "{name}: {title} has no unit");
            assert_eq!(json["datasource"]["uid"], "${datasource}", "{name}: {title}");
            assert!(!queries.is_empty(), "{name}: {title} asks for nothing");
            for query in queries {
                let windows = query.split("rate(").skip(1).map(|rest| rest.split(['[', ']']).nth(1));
                assert!(
                    windows.into_iter().all(|window| window == Some("$__rate_interval")),
                    "{name}: {title}: {query}"
                );
            }
        }
    }
}
