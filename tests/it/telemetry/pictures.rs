//! A picture of each dashboard as its panels' queries were answered, for people to look at: `target/screenshots/dashboards-*.png`.

use std::path::Path;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use system_tests::browser::FONTS;
use system_tests::dashboards::{NAMES, dashboard, fill, panels, repository};
use system_tests::metric_store::MetricStore;
use system_tests::pictures::{check_documented, screenshot_path};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::RATE_INTERVAL;

const STEP_S: f64 = 1.0;
/// What `draw.py` makes of a row of the grid, and what is above the grid.
const ROW_PX: u64 = 28;
const ABOVE_PX: u64 = 75;
const WIDTH_PX: u64 = 1104;

/// Draw all of them, from the last `seconds`; `instance` says which instances each is about.
pub(crate) async fn draw(store: &MetricStore, seconds: f64, instance: impl Fn(&str) -> String) {
    let end = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let start = end - seconds;
    for name in NAMES {
        let board = dashboard(name);
        let mut data = Map::new();
        for panel in panels(&board) {
            let mut answers = Vec::new();
            for query in &panel.queries {
                let query = fill(query, &instance(name), RATE_INTERVAL, &format!("{seconds:.0}s"));
                answers.push(store.query_range(&query, start, end, STEP_S).await.expect("an answer"));
            }
            data.insert(panel.title, Value::from(answers));
        }
        let rows = board["panels"].as_array().into_iter().flatten();
        let bottom =
            |panel: &Value| panel["gridPos"]["y"].as_u64().unwrap_or(0) + panel["gridPos"]["h"].as_u64().unwrap_or(0);
        let height = rows.map(bottom).max().unwrap_or(0) * ROW_PX + ABOVE_PX;
        let given = json!({
            "dashboard": board, "store": format!("{:?}", store.kind()), "start": start, "end": end, "data": data,
        });
        let name = format!("dashboards-{name}");
        let picture = screenshot_path(&name);
        let page = picture.with_extension("html");
        std::fs::write(&page, drawn(&given).await).expect("a page is written");
        screenshot(&page, &picture, height).await;
        check_documented(&name);
    }
}

async fn drawn(given: &Value) -> Vec<u8> {
    let mut child = Command::new("python3")
        .arg(repository("tests/pictures/draw.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("starting Python");
    let mut stdin = child.stdin.take().expect("stdin is piped");
    stdin.write_all(given.to_string().as_bytes()).await.expect("draw.py reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("draw.py ends");
    assert!(output.status.success(), "draw.py failed: {}", output.status);
    output.stdout
}

async fn screenshot(page: &Path, picture: &Path, height: u64) {
    let profile = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={WIDTH_PX},{height}"))
        .arg(format!("--screenshot={}", picture.display()))
        .arg(page)
        .env(FONTS.0, FONTS.1)
        .kill_on_drop(true)
        .output()
        .await
        .expect("chromium is installed");
    let size = std::fs::metadata(picture).map_or(0, |file| file.len());
    assert!(size > 10_000, "a picture of {size} bytes: {}", String::from_utf8_lossy(&output.stderr));
}
