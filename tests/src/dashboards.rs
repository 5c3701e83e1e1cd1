//! The dashboards in `deploy/grafana/dashboards`, the alerts, and what `docs/telemetry.md` says there is to be asked for: read as
//! data, so that each query can be run and held against what the programs promise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The three, by file name.
pub const NAMES: [&str; 3] = ["service", "machines", "vm"];
/// Labels that the scraper adds, and that histograms have.
const SCRAPER: [&str; 5] = ["app", "instance", "region", "host", "job"];
const HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];
/// How metrics begin. Only so a name without matchers is told from a function.
const PREFIXES: [&str; 6] = ["textslash_", "http_", "db_", "process_", "target_", "up"];

/// A panel that asks for something.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What it is called.
    pub title: String,
    /// The whole of it.
    pub json: Value,
    /// What it asks, as it is written: with variables.
    pub queries: Vec<String>,
}

/// A file below the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").join(path)
}

/// The committed JSON of a dashboard.
///
/// # Panics
/// When it is not there or no JSON.
pub fn dashboard(name: &str) -> Value {
    let path = repository(&format!("deploy/grafana/dashboards/{name}.json"));
    serde_json::from_slice(&fs::read(path).expect("the dashboard is there")).expect("a dashboard is JSON")
}

/// Its panels, without the headings.
///
/// # Panics
/// When it is no dashboard.
pub fn panels(dashboard: &Value) -> Vec<Panel> {
    let panels = dashboard["panels"].as_array().expect("a dashboard has panels").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let panel = |json: &Value| Panel {
        title: text(&json["title"]),
        json: json.clone(),
        queries: json["targets"].as_array().into_iter().flatten().map(|target| text(&target["expr"])).collect(),
    };
    panels.filter(|panel| panel["type"] != "row").map(panel).collect()
}

/// A query as Grafana would send it: `instance` is a regular expression for its variable; every app is meant.
pub fn fill(query: &str, instance: &str, rate_interval: &str, range: &str) -> String {
    query
        .replace("$__rate_interval", rate_interval)
        .replace("$__range", range)
        .replace("$instance", instance)
        .replace("$app", ".*")
}

/// The expressions of the alerts, by name.
///
/// # Panics
/// When the file is not as it is.
pub fn alerts() -> BTreeMap<String, String> {
    let text = fs::read_to_string(repository("deploy/prometheus/alerts.yaml")).expect("the alerts are there");
    let alerts = text.split("- alert: ").skip(1).map(|entry| {
        let (name, rest) = entry.split_once('\n').expect("an alert has more than a name");
        let expression = rest.split_once("expr: ").expect("an alert has an expression").1;
        let expression = expression.split("\n        for: ").next().expect("a first part");
        (name.to_owned(), expression.trim_start_matches('|').trim().to_owned())
    });
    alerts.collect()
}

/// One place in a query where series are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The metric.
    pub metric: String,
    /// Label, operator, value.
    pub matchers: Vec<(String, String, String)>,
}

/// Every place in a query where series are chosen, and the labels that it groups by.
pub fn selectors(query: &str) -> (Vec<Selector>, BTreeSet<String>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let (mut found, mut groups) = (Vec::new(), BTreeSet::new());
    let mut rest = query;
    while let Some(start) = rest.find(is_name) {
        let end = rest[start..].find(|c| !is_name(c)).map_or(rest.len(), |length| start + length);
        let name = &rest[start..end];
        let after = rest[end..].trim_start();
        rest = &rest[end..];
        if let Some(body) = after.strip_prefix('{') {
            let body = body.split('}').next().unwrap_or_default();
            found.push(Selector { metric: name.to_owned(), matchers: matchers(body) });
            rest = &rest[rest.find('}').map_or(rest.len(), |at| at + 1)..];
        } else if let Some(labels) = after.strip_prefix('(').filter(|_| ["by", "on", "without"].contains(&name)) {
            let labels = labels.split(')').next().unwrap_or_default();
            groups.extend(labels.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()));
            rest = &rest[rest.find(')').map_or(rest.len(), |at| at + 1)..];
        } else if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            found.push(Selector { metric: name.to_owned(), matchers: Vec::new() });
        }
    }
    (found, groups)
}

fn matchers(body: &str) -> Vec<(String, String, String)> {
    let matcher = |text: &str| {
        let (left, value) = text.split_once('"')?;
        let (label, operator) = left.split_at(left.find(['=', '!'])?);
        Some((label.trim().to_owned(), operator.trim().to_owned(), value.trim_end().trim_end_matches('"').to_owned()))
    };
    body.split("\",").filter_map(matcher).collect()
}

/// What `docs/telemetry.md` says of a metric.
#[derive(Clone, Debug, Default)]
pub struct Documented {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its labels, and their values where the table has them.
    pub labels: BTreeMap<String, Vec<String>>,
    /// The headings of the tables that it is in.
    pub sections: BTreeSet<String>,
}

/// The tables of `docs/telemetry.md`, by the metric's name.
///
/// # Panics
/// When the page is not there.
pub fn documented() -> BTreeMap<String, Documented> {
    let page = fs::read_to_string(repository("docs/telemetry.md")).expect("the page is there");
    let (mut section, mut metrics) = (String::new(), BTreeMap::<String, Documented>::new());
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            section = heading.to_owned();
        }
        let cells: Vec<&str> = line.split(" | ").map(|cell| cell.trim_matches([' ', '|'])).collect();
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<String>>();
        let [names, kind, more @ ..] = cells.as_slice() else { continue };
        if !line.starts_with("| `") || !["counter", "gauge", "histogram"].contains(kind) {
            continue;
        }
        let mut labels = BTreeMap::new();
        // With a column for labels, or with labels told in words.
        for text in more.iter().take(1).flat_map(|cell| if more.len() > 1 { split_labels(cell) } else { words(cell) }) {
            let mut names = quoted(&text).into_iter();
            labels.insert(names.next().unwrap_or_default(), names.collect());
        }
        for name in quoted(names) {
            let known = metrics.entry(name).or_default();
            known.kind = (*kind).to_owned();
            known.sections.insert(section.clone());
            known.labels.extend(labels.clone());
        }
    }
    metrics
}

/// `` `a`, `b`: `x`, `y` `` are two labels, of which the second has two values.
fn split_labels(cell: &str) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    let mut has_values = false;
    for part in cell.split(", ").filter(|part| part.contains('`')) {
        match labels.last_mut() {
            Some(last) if has_values && !part.contains(": ") => last.push_str(part),
            _ => labels.push(part.to_owned()),
        }
        has_values |= part.contains(": ");
    }
    labels
}

fn words(cell: &str) -> Vec<String> {
    cell.split(", ").filter(|_| cell.contains("labels")).filter(|part| part.contains('`')).map(str::to_owned).collect()
}

/// What a query asks for and nobody tells: metrics, labels and values that the page does not have.
pub fn unknown(query: &str, documented: &BTreeMap<String, Documented>) -> Vec<String> {
    let (selectors, groups) = selectors(query);
    let mut faults = Vec::new();
    let mut labels: BTreeSet<&str> = SCRAPER.into_iter().collect();
    for Selector { metric, matchers } in &selectors {
        let histogram = HISTOGRAM.iter().find_map(|ending| documented.get(metric.strip_suffix(ending)?));
        let known = histogram.filter(|known| known.kind == "histogram");
        let Some(known) = known.or_else(|| documented.get(metric).filter(|known| known.kind != "histogram")) else {
            // What a rule of ours records has a colon in its name.
            if metric != "up" && !metric.contains(':') {
                faults.push(format!("no metric {metric}"));
            }
            continue;
        };
        if known.kind == "histogram" {
            labels.insert("le");
        }
        labels.extend(known.labels.keys().map(String::as_str));
        for (label, operator, value) in matchers.iter().filter(|(label, ..)| !SCRAPER.contains(&label.as_str())) {
            let values = known.labels.get(label);
            if values.is_none() && label != "le" {
                faults.push(format!("{metric} has no label {label}"));
            }
            let listed = values.filter(|values| !values.is_empty() && operator.starts_with('='));
            let missing = |value: &&str| listed.is_some_and(|listed| !listed.contains(&(*value).to_owned()));
            faults.extend(value.split('|').filter(missing).map(|value| format!("{metric} has no {label} {value}")));
        }
    }
    faults.extend(
        groups.iter().filter(|label| !labels.contains(label.as_str())).map(|label| format!("no label {label}")),
    );
    faults
}
