//! A person at the web console, without the browser: sends as the page does, and follows the feed as the page does, over
//! restarts of the relay.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::wait::wait_for;

/// A relay that is being restarted is asked again after this long.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// A follower of the console's feed, until dropped.
#[derive(Debug)]
pub struct Console {
    url: String,
    http: reqwest::Client,
    entries: Arc<Mutex<Vec<Value>>>,
    sent: AtomicUsize,
    task: JoinHandle<()>,
}

impl Console {
    /// Follow the console of the relay at `url` from the beginning.
    pub fn open(url: &str) -> Self {
        let entries = Arc::default();
        let http = reqwest::Client::new();
        let task = tokio::spawn(follow(http.clone(), format!("{url}/console/events"), Arc::clone(&entries)));
        Self { url: url.to_owned(), http, entries, sent: AtomicUsize::new(0), task }
    }

    /// Send a text once; the answer's status, or `None` when there was none.
    pub async fn try_send(&self, id: &str, text: &str) -> Option<u16> {
        self.post(&json!({ "id": id, "text": text })).await
    }

    /// Send a text, again and again until it is accepted, as the page does.
    ///
    /// # Panics
    /// When the relay does not accept it within `bound`.
    pub async fn send(&self, text: &str, bound: Duration) {
        self.deliver(json!({ "id": self.fresh_id(), "text": text }), bound).await;
    }

    /// Press the button that the latest message with a choice shows for `word`.
    ///
    /// # Panics
    /// When no message has a choice, or the relay does not accept it within `bound`.
    pub async fn press(&self, word: &str, bound: Duration) {
        let entries = self.entries();
        let payload = entries.iter().rev().find_map(|entry| entry["choice"][word].as_str());
        let payload = payload.expect("a message with a choice is shown");
        self.deliver(json!({ "id": self.fresh_id(), "button": payload }), bound).await;
    }

    /// Everything shown so far, the oldest first.
    pub fn entries(&self) -> Vec<Value> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the relay has said so far.
    pub fn texts(&self) -> Vec<String> {
        let said = |entry: &Value| (entry["from"] == "relay").then(|| entry["text"].as_str().map(str::to_owned))?;
        self.entries().iter().filter_map(said).collect()
    }

    /// How many of the relay's messages hold `text`.
    pub fn count(&self, text: &str) -> usize {
        self.texts().iter().filter(|said| said.contains(text)).count()
    }

    /// The first message of the relay that holds `text`.
    ///
    /// # Panics
    /// When none has come within `bound`; with all that came.
    pub async fn wait_for(&self, text: &str, bound: Duration) -> Value {
        wait_for(&format!("the console to show {text:?}"), bound, async || {
            let holds = |entry: &&Value| {
                entry["from"] == "relay" && entry["text"].as_str().is_some_and(|said| said.contains(text))
            };
            self.entries().iter().find(holds).cloned().ok_or_else(|| self.texts())
        })
        .await
    }

    async fn deliver(&self, message: Value, bound: Duration) {
        wait_for("the relay to accept a message", bound, async || match self.post(&message).await {
            Some(202) => Ok(()),
            status => Err(status),
        })
        .await;
    }

    async fn post(&self, message: &Value) -> Option<u16> {
        let answer = self.http.post(format!("{}/console/send", self.url)).json(message).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    fn fresh_id(&self) -> String {
        format!("web-test-{}", self.sent.fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(http: reqwest::Client, url: String, entries: Arc<Mutex<Vec<Value>>>) {
    let mut last = String::new();
    loop {
        if let Ok(answer) = http.get(&url).header("last-event-id", &last).send().await
            && answer.status().is_success()
        {
            let mut stream = answer.bytes_stream();
            let mut buffer = Vec::new();
            while let Some(Ok(chunk)) = stream.next().await {
                buffer.extend_from_slice(&chunk);
                while let Some(end) = buffer.windows(2).position(|window| window == b"\n\n") {
                    let event: Vec<u8> = buffer.drain(..end + 2).collect();
                    keep(&String::from_utf8_lossy(&event), &mut last, &entries);
                }
            }
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

fn keep(event: &str, last: &mut String, entries: &Mutex<Vec<Value>>) {
    for line in event.lines() {
        if let Some(id) = line.strip_prefix("id: ") {
            id.clone_into(last);
        } else if let Some(Ok(entry)) = line.strip_prefix("data: ").map(serde_json::from_str) {
            entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        }
    }
}
