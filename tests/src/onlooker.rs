//! Somebody who follows a run as a browser's `EventSource` does: comes again when it is cut off, and says what it has seen last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::wait::wait_for;

/// A relay that does not answer is asked again after this long.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A follower, until dropped.
#[derive(Debug)]
pub struct Onlooker {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What it has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Each entry as it came.
    pub entries: Vec<Value>,
    /// Answers that it got.
    pub connections: usize,
    /// Whether it was told that there is nothing more to come.
    pub ended: bool,
}

impl Onlooker {
    /// Follow what is at `url`, from the beginning, with this header if any.
    pub fn follow(url: &str, header: Option<(&'static str, String)>) -> Self {
        let seen = Arc::default();
        let task = tokio::spawn(follow(url.to_owned(), header, Arc::clone(&seen)));
        Self { seen, task }
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// Wait until it has seen an entry of this kind (`what`) that holds `text`; all until then.
    ///
    /// # Panics
    /// When it has not within `bound`.
    pub async fn sees(&self, what: &str, text: &str, bound: Duration) -> Seen {
        wait_for(&format!("an onlooker to see {what} {text:?}"), bound, async || {
            let seen = self.seen();
            let is_it = |entry: &&Value| entry["what"] == what && entry.to_string().contains(text);
            if seen.entries.iter().any(|entry| is_it(&entry)) { Ok(seen) } else { Err(seen) }
        })
        .await
    }

    /// Wait until it was told that there is nothing more to come; all that it saw.
    ///
    /// # Panics
    /// When it was not within `bound`.
    pub async fn ends(&self, bound: Duration) -> Seen {
        wait_for("an onlooker to see the end", bound, async || {
            let seen = self.seen();
            if seen.ended { Ok(seen) } else { Err(seen) }
        })
        .await
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(url: String, header: Option<(&'static str, String)>, seen: Arc<Mutex<Seen>>) {
    let http = reqwest::Client::builder().no_proxy().build().expect("a plain client");
    let mut last: Option<String> = None;
    while !lock(&seen).ended {
        let mut request = http.get(&url).header("accept", "text/event-stream");
        if let Some((name, value)) = &header {
            request = request.header(*name, value);
        }
        if let Some(last) = &last {
            request = request.header("last-event-id", last);
        }
        if let Ok(answer) = request.send().await
            && answer.status().is_success()
        {
            lock(&seen).connections += 1;
            let mut stream = answer.bytes_stream();
            let mut buffer = Vec::new();
            while let Some(Ok(chunk)) = stream.next().await {
                buffer.extend_from_slice(&chunk);
                while let Some(end) = buffer.windows(2).position(|window| window == b"\n\n") {
                    let event: Vec<u8> = buffer.drain(..end + 2).collect();
                    keep(&String::from_utf8_lossy(&event), &mut last, &seen);
                }
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

fn keep(event: &str, last: &mut Option<String>, seen: &Mutex<Seen>) {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
    if let Some(id) = field("id:") {
        *last = Some(id.to_owned());
    }
    match (field("event:"), field("data:").map(serde_json::from_str)) {
        (Some("end"), _) => lock(seen).ended = true,
        (None, Some(Ok(entry))) => lock(seen).entries.push(entry),
        _ => {}
    }
}
