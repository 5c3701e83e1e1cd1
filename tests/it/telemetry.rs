//! What the programs tell of themselves, and what is made of it: dashboards and alerts on a real Prometheus and a real
//! VictoriaMetrics.

mod alerts;
mod calls;
mod dashboards;
mod exposition;
mod hosted;
mod load;
mod pictures;
mod traces;

use std::time::Duration;

use system_tests::dashboards::{dashboard, fill, panels, selectors};
use system_tests::metric_store::MetricStore;

/// A scrape a second is seen within a few; this is for a busy machine.
const BOUND: Duration = Duration::from_secs(60);
/// What Grafana would choose is four times as long as the time between two scrapes.
const RATE_INTERVAL: &str = "15s";
const RANGE: &str = "5m";

/// The queries of a dashboard's panels that fail, are empty, or give what is no number.
async fn faults(store: &MetricStore, name: &str, instance: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for panel in panels(&dashboard(name)) {
        for query in &panel.queries {
            let fault = match store.query(&fill(query, instance, RATE_INTERVAL, RANGE)).await {
                Err(error) => error,
                Ok(series) if series.is_empty() => "nothing".to_owned(),
                Ok(series) => match series.iter().find(|(_, value)| !value.is_finite()) {
                    Some((labels, value)) => format!("{value} for {labels}"),
                    None => continue,
                },
            };
            faults.push(format!("{:?}, {name}, {}: {fault}: {query}", store.kind(), panel.title));
        }
    }
    faults
}

/// What a dashboard's queries ask for that is not in the store: a metric, or a label of it that is matched. A query that is 0 when
/// there is nothing does not show that.
async fn missing(store: &MetricStore, name: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for query in panels(&dashboard(name)).iter().flat_map(|panel| &panel.queries) {
        missing.extend(not_there(store, query).await);
    }
    missing.sort();
    missing.dedup();
    missing
}

async fn not_there(store: &MetricStore, query: &str) -> Vec<String> {
    let mut missing = Vec::new();
    for selector in selectors(query).0 {
        let labels = selector.matchers.iter().map(|(label, ..)| format!("{label}!=\"\""));
        let series = format!("{}{{{}}}", selector.metric, labels.collect::<Vec<String>>().join(","));
        // Also what was told by a relay that is gone.
        match store.query(&format!("count(last_over_time({series}[{RANGE}]))")).await {
            Ok(found) if !found.is_empty() => {}
            found => missing.push(format!("{:?}: {series}: {found:?}", store.kind())),
        }
    }
    missing
}
