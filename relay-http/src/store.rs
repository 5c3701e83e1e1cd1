//! The store that a relay works on: opened as the settings say, and one relay to a file.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use relay_core::store::redis::RedisStore;
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Store, StoreError};
use relay_core::telemetry::metrics::Metrics;
use secrecy::ExposeSecret;

use crate::config::{StateStore, StoreConfig};

mod logged;

pub use logged::LoggedStore;

/// A store, and the right to work on it.
pub struct OpenStore {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Held for as long as the store is worked on.
    _lock: Option<File>,
}

/// Open the store for a relay. Redis need not be up: it is connected to in the background. A file is refused while another
/// relay works on it.
pub fn open(config: &StoreConfig, metrics: &Metrics) -> anyhow::Result<OpenStore> {
    let lock = match &config.state_store {
        StateStore::SqliteFile(path) => Some(lock(path)?),
        _ => None,
    };
    Ok(OpenStore {
        store: Arc::new(LoggedStore::new(connect(config)?, config.state_store.kind(), metrics)),
        _lock: lock,
    })
}

/// Open the store for somebody who only looks, or changes what the store itself keeps whole.
pub fn connect(config: &StoreConfig) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match &config.state_store {
        StateStore::SqliteFile(path) => {
            Arc::new(SqliteStore::open(path).with_context(|| format!("STATE_STORE: can't open {}", path.display()))?)
        }
        StateStore::SqliteMemory => Arc::new(SqliteStore::in_memory()?),
        StateStore::Redis(_) => Arc::new(redis(config)?),
    })
}

/// The store in Redis.
pub fn redis(config: &StoreConfig) -> anyhow::Result<RedisStore> {
    let StateStore::Redis(url) = &config.state_store else {
        bail!("STATE_STORE is not an address of Redis");
    };
    RedisStore::open(url.expose_secret(), &config.namespace).context("STATE_STORE: can't be used")
}

/// Where the lock of the database at `path` is, under whichever of its names it is opened.
pub fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push(".lock");
    name.into()
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let lock_path = lock_path(path);
    let can_not = || format!("STATE_STORE: can't lock {}", lock_path.display());
    let file = File::options().create(true).truncate(false).write(true).open(&lock_path).with_context(can_not)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "STATE_STORE: another relay works on {}, and a SQLite file is for one relay alone. Stop the other one, or give \
             both the same Redis: STATE_STORE=redis://…",
            path.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(can_not),
    }
}

/// What the errors of a store contain, and what is to be done then.
const ADVICE: [(&str, &str); 9] = [
    ("READONLY", "it is a replica: STATE_STORE must name the primary"),
    ("OOM", "it is full: raise its maxmemory"),
    ("WRONGPASS", "STATE_STORE has a wrong user name or password"),
    ("NOAUTH", "it wants a password: STATE_STORE=redis://:PASSWORD@HOST"),
    ("NOPERM", "the user in STATE_STORE may not do all that a relay does"),
    ("MISCONF", "it can't write to its disk: see its log"),
    ("LOADING", "it is reading its data from disk"),
    ("refused", "nobody listens there: is it running, and is STATE_STORE its address?"),
    ("Unsupported database", "it has one database alone: leave the number out of STATE_STORE"),
];
/// A reason is cut here.
const REASON_CHARS_MAX: usize = 300;

/// Why a store does not do its work and, where that is known, what to do about it: for the log and for operators.
pub fn reason(error: &StoreError) -> String {
    let StoreError::Unavailable(cause) = error else {
        return error.to_string();
    };
    let mut text = cause.to_string();
    let mut deeper = cause.source();
    while let Some(cause) = deeper {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        deeper = cause.source();
    }
    let text: String = text.chars().take(REASON_CHARS_MAX).collect();
    match ADVICE.iter().find(|(mark, _)| text.contains(mark)) {
        Some((_, advice)) => format!("{text} ({advice})"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use relay_core::telemetry::Identity;

    use super::*;

    fn file(path: &Path) -> StoreConfig {
        StoreConfig { state_store: StateStore::SqliteFile(path.to_owned()), namespace: "textslash".into() }
    }

    #[test]
    fn a_second_relay_on_the_same_file_is_refused_and_told_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.db");
        let metrics = Metrics::new(&Identity::default());
        let first = open(&file(&path), &metrics).unwrap();
        let refused = format!("{:#}", open(&file(&path), &metrics).err().expect("refused"));
        assert!(refused.contains("another relay") && refused.contains("STATE_STORE=redis://"), "{refused}");
        let alias = folder.path().join("alias.db");
        std::os::unix::fs::symlink(&path, &alias).unwrap();
        assert!(open(&file(&alias), &metrics).is_err(), "under another name it is the same file");
        assert!(connect(&file(&path)).is_ok(), "an operator may look");
        drop(first);
        assert!(open(&file(&path), &metrics).is_ok(), "the lock goes with the relay");
    }

    #[test]
    fn a_reason_names_the_cause_and_what_to_do() {
        let unavailable = |cause: &str| reason(&StoreError::Unavailable(cause.into()));
        assert!(unavailable("READONLY You can't write against a read only replica.").contains("the primary"));
        assert!(unavailable("OOM command not allowed when used memory > 'maxmemory'.").contains("maxmemory)"));
        assert!(unavailable("Connection refused (os error 111)").contains("is it running"));
        assert_eq!(unavailable("disk I/O error"), "disk I/O error");
        assert!(unavailable(&"x".repeat(5_000)).len() <= REASON_CHARS_MAX);
    }
}
