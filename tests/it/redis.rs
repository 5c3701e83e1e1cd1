//! Any number of relays on one Redis, behind a proxy that sends each request to whichever relay it likes: nobody who writes
//! can tell how many there are, or that one is gone.

mod deadlines;
mod many_relays;
pub(crate) mod rolling;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use system_tests::fleet::Fleet;
use system_tests::wait::wait_for;

/// What one person does takes seconds; this is for a busy machine.
const BOUND: Duration = Duration::from_secs(60);

/// How many messages that hold `text` each person got.
fn counts(fleet: &Fleet, text: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for sent in fleet.twilio.sent() {
        // Where answers wait for each other, one message holds several.
        let count = sent.body.matches(text).count();
        if count > 0 {
            *counts.entry(sent.to).or_default() += count;
        }
    }
    counts
}

/// Wait until every one of `people` got a message that holds `text`; nobody may get two.
async fn everybody_reads(fleet: &Fleet, people: &[String], text: &str) {
    wait_for(&format!("everybody to read {text:?}"), BOUND, async || {
        let counts = counts(fleet, text);
        let missing: Vec<&String> = people.iter().filter(|person| !counts.contains_key(*person)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{} do not", missing.len())) }
    })
    .await;
    let twice: Vec<(String, usize)> = counts(fleet, text).into_iter().filter(|(_, count)| *count > 1).collect();
    assert!(twice.is_empty(), "{text:?} came more than once: {twice:?}");
}

/// Wait until no relay has the lease of the one conversation there is.
async fn given_back(fleet: &Fleet) {
    wait_for("the conversation to be given back", BOUND, async || {
        let keys: Vec<String> = fleet.redis.ask(&["KEYS", "{textslash}:v1:conversation:*"]).await;
        let Some(key) = keys.first() else { return Err("there is none".to_owned()) };
        let holder: Option<String> = fleet.redis.ask(&["HGET", key, "holder"]).await;
        if holder == Some(String::new()) { Ok(()) } else { Err(format!("{holder:?}")) }
    })
    .await;
}
