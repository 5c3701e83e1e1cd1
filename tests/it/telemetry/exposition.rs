//! What `docs/telemetry.md` promises, told by nobody: for looking at dashboards without a load.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::routing::get;
use system_tests::dashboards::{Documented, documented};
use tokio::net::TcpListener;

/// Where one is told, until the test ends. The headings are those of the page. Quiet: counters stay at zero and histograms are not
/// there yet. Otherwise all of it grows with every scrape.
pub(crate) async fn told(headings: &'static [&'static str], quiet: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let scrapes = Arc::new(AtomicU64::new(0));
    let answer = move || {
        let count = if quiet { 0 } else { scrapes.fetch_add(1, Ordering::Relaxed) };
        async move { text(headings, quiet, count) }
    };
    let router = Router::new().route("/metrics", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn text(headings: &[&str], quiet: bool, count: u64) -> String {
    let mut text = String::new();
    for (name, metric) in documented() {
        if !headings.iter().any(|heading| metric.sections.contains(*heading)) {
            continue;
        }
        for labels in label_sets(&metric) {
            if metric.kind != "histogram" {
                line(&mut text, &name, &labels, count);
            } else if !quiet {
                for (le, share) in [("0.1", 2), ("1", 3), ("+Inf", 4)] {
                    let with = format!("{labels}{}le=\"{le}\"", if labels.is_empty() { "" } else { "," });
                    line(&mut text, &format!("{name}_bucket"), &with, count * share);
                }
                line(&mut text, &format!("{name}_sum"), &labels, count);
                line(&mut text, &format!("{name}_count"), &labels, count * 4);
            }
        }
    }
    text
}

fn line(text: &mut String, name: &str, labels: &str, value: u64) {
    writeln!(text, "{name}{{{labels}}} {value}").expect("a string takes everything");
}

/// Each value of each label once.
fn label_sets(metric: &Documented) -> Vec<String> {
    let mut sets = vec![String::new()];
    for (label, values) in &metric.labels {
        let any = vec!["500".to_owned()];
        let values = if values.is_empty() { &any } else { values };
        let with = |set: &String| {
            let comma = if set.is_empty() { "" } else { "," };
            values.iter().map(|value| format!("{set}{comma}{label}=\"{value}\"")).collect::<Vec<String>>()
        };
        sets = sets.iter().flat_map(with).collect();
    }
    sets
}
