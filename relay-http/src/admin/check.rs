//! Whether the store is fit for relays, and how to mend what is not.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use relay_core::store::Store;
use relay_core::store::redis::check::Finding;
use relay_core::store::sqlite::SqliteStore;

use super::Report;
use crate::clock;
use crate::config::{AdminConfig, StateStore};
use crate::store::{lock_path, reason, redis};

/// Calls that the latency is the median of.
const CALLS: usize = 9;
/// A slower file makes people wait.
const LATENCY_MAX: Duration = Duration::from_millis(50);

pub(super) async fn findings(config: &AdminConfig) -> Vec<Finding> {
    match &config.store.state_store {
        StateStore::SqliteMemory => {
            vec![good("SQLite in memory: all of it is gone with the process, and there is nothing to look into".into())]
        }
        StateStore::SqliteFile(path) => sqlite(path).await,
        StateStore::Redis(_) => match redis(&config.store) {
            Ok(store) => {
                let mut findings = store.check().await;
                // Without an answer the one finding says so.
                if let Ok(offset_ms) = clock::measure(&store).await {
                    findings.push(clocks(offset_ms));
                }
                findings
            }
            Err(error) => vec![bad(format!("{error:#}"), "see STATE_STORE and RELAY_NAMESPACE")],
        },
    }
}

pub(super) fn report(findings: &[Finding]) -> Report {
    let line = |finding: &Finding| {
        let mark = if finding.ok { '✓' } else { '✗' };
        let mend = finding.mend.as_ref().map(|mend| format!("\n  → {mend}")).unwrap_or_default();
        format!("{mark} {}{mend}\n", finding.what)
    };
    let is_well = findings.iter().all(|finding| finding.ok);
    Report { text: findings.iter().map(line).collect(), aside: String::new(), is_well }
}

async fn sqlite(path: &Path) -> Vec<Finding> {
    if !path.is_file() {
        let what = format!("there is no file {}", path.display());
        return vec![bad(what, "set STATE_STORE as the relay has it; a relay makes the file when it starts")];
    }
    let mut findings = vec![good(format!("the file is {}", path.display())), lock(path)];
    match SqliteStore::open(path) {
        Err(error) => findings.push(bad(
            format!("it can't be opened: {}", reason(&error)),
            "is it a file of Textslash, not written by a newer one, and may this user write it?",
        )),
        Ok(store) => {
            findings.push(good("its layout is one that this program knows".into()));
            findings.push(latency(&store).await);
        }
    }
    findings
}

fn lock(path: &Path) -> Finding {
    match File::open(lock_path(path)).map(|lock| lock.try_lock_shared()) {
        Ok(Err(TryLockError::WouldBlock)) => good("one relay works on it".into()),
        Ok(Ok(())) | Err(_) => good("no relay works on it now".into()),
        Ok(Err(TryLockError::Error(error))) => {
            bad(format!("its lock can't be looked at: {error}"), "the file must be on a disk of this machine")
        }
    }
}

async fn latency(store: &dyn Store) -> Finding {
    let mut took = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let asked = Instant::now();
        if let Err(error) = store.health().await {
            return bad(format!("it does not answer: {}", reason(&error)), "see whether another program has it locked");
        }
        took.push(asked.elapsed());
    }
    took.sort_unstable();
    let median = took[CALLS / 2];
    let what = format!("a call takes {median:.1?}");
    if median <= LATENCY_MAX { good(what) } else { bad(what, "put the file on a faster disk") }
}

fn clocks(offset_ms: i64) -> Finding {
    match clock::is_off(offset_ms) {
        false => good(format!("this machine's clock is {} ms from the server's", offset_ms.abs())),
        true => bad(
            format!("this machine's clock is {} s from the server's", offset_ms.abs() / 1000),
            "relays go by the server's, but VMs do not: set the wrong one right (NTP)",
        ),
    }
}

fn good(what: String) -> Finding {
    Finding { ok: true, what, mend: None }
}

fn bad(what: String, mend: &str) -> Finding {
    Finding { ok: false, what, mend: Some(mend.to_owned()) }
}
