//! What is wrong with a Redis server, and how to mend it: for `relay admin check`.

use std::collections::HashMap;
use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike, KeysInterface};
use fred::types::InfoKind;

use super::RedisStore;
use super::keys::LAYOUT;
use super::notifications::Notifications;
use crate::store::StoreError;

/// Round trips that the latency is the median of.
const PINGS: usize = 9;
/// Three of these in a row stand between a webhook and its effect.
const LATENCY_MAX: Duration = Duration::from_millis(20);
/// The oldest server with everything that is used: RESP3, access rules for channels.
const VERSION_MIN: (u32, u32) = (6, 2);

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found.
    pub what: String,
    /// How to mend it, if it is not as it should be.
    pub mend: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>) -> Self {
        Self { ok: true, what: what.into(), mend: None }
    }

    fn bad(what: impl Into<String>, mend: &str) -> Self {
        Self { ok: false, what: what.into(), mend: Some(mend.to_owned()) }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        self.mend.iter().try_for_each(|mend| write!(f, ". To mend it: {mend}"))
    }
}

/// What is wrong with how the server is set up, each time it is connected to.
pub(super) async fn faults_of_setup(client: &Client) -> Vec<Finding> {
    setup(&info(client).await).into_iter().filter(|finding| !finding.ok).collect()
}

fn setup(info: &HashMap<String, String>) -> Vec<Finding> {
    [version(info), role(info), eviction(info), persistence(info)].into_iter().flatten().collect()
}

/// What the server says about itself; nothing where it does not.
async fn info(client: &Client) -> HashMap<String, String> {
    let mut all = HashMap::new();
    for section in [InfoKind::Server, InfoKind::Replication, InfoKind::Memory, InfoKind::Persistence] {
        let text: String = client.info(Some(section)).await.unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.trim().split_once(':'));
        all.extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    all
}

impl RedisStore {
    /// Look at everything that matters. Changes nothing but the mark of the layout, where there is none yet.
    pub async fn check(&self) -> Vec<Finding> {
        let latency = match self.latency().await {
            Ok(latency) => latency,
            Err(error) => return vec![unreachable(&error)],
        };
        let mut findings = vec![latency_finding(latency), self.layout_finding().await, self.write_finding().await];
        if let Ok(client) = self.mailbox.ready().await {
            findings.extend(setup(&info(client).await));
            findings.push(match Notifications::read(client).await.unwrap_or(Notifications::Unknown).concern() {
                None => Finding::good("keyspace notifications are on"),
                Some(concern) => Finding { ok: false, what: concern, mend: None },
            });
        }
        findings
    }

    async fn latency(&self) -> Result<Duration, StoreError> {
        let mut took = Vec::with_capacity(PINGS);
        for _ in 0..PINGS {
            #[expect(clippy::disallowed_types, reason = "the server is what is measured here")]
            let asked = std::time::Instant::now();
            let _: String = self.mailbox.ready().await?.ping(None).await?;
            took.push(asked.elapsed());
        }
        took.sort_unstable();
        Ok(took[PINGS / 2])
    }

    async fn layout_finding(&self) -> Finding {
        let checked = match self.mailbox.ready().await {
            Ok(client) => self.check_layout(client).await,
            Err(error) => Err(error.into()),
        };
        match checked {
            Ok(()) => Finding::good(format!("the layout is {LAYOUT}")),
            Err(error) => Finding::bad(error.to_string(), "run the program that wrote it, or a newer one"),
        }
    }

    /// The mark of the layout is written only where there is none; a server that refuses writes refuses this one.
    async fn write_finding(&self) -> Finding {
        let written = match self.mailbox.ready().await {
            Ok(client) => client.setnx::<bool, _, _>(self.keys.layout(), LAYOUT).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(_) => Finding::good("writes are accepted"),
            Err(error) => refused(error.details()),
        }
    }
}

fn refused(details: &str) -> Finding {
    let mend = match details.split(' ').next() {
        Some("READONLY") => "this is a replica: point STATE_STORE at the primary",
        Some("OOM") => "the memory is full: give the server more, or see what else is stored in it",
        Some("NOPERM") => "give the relay's user all commands, keys and channels (deploy/redis/users.acl)",
        Some("MISCONF") => "the server cannot save to its disk: see its log",
        _ => "see the server's log",
    };
    Finding::bad(format!("writes are refused: {details}"), mend)
}

fn unreachable(error: &StoreError) -> Finding {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let mend = match cause.as_str() {
        cause if cause.contains("WRONGPASS") || cause.contains("NOAUTH") || cause.contains("Auth") => {
            "the user or password in STATE_STORE is wrong"
        }
        _ => "is the server up, and can it be reached from here? See STATE_STORE",
    };
    Finding::bad(format!("no answer: {cause}"), mend)
}

fn latency_finding(latency: Duration) -> Finding {
    let what = format!("reached; a round trip takes {latency:.1?}");
    if latency <= LATENCY_MAX {
        Finding::good(what)
    } else {
        Finding::bad(what, "put relays and Redis into the same region")
    }
}

fn version(info: &HashMap<String, String>) -> Option<Finding> {
    let version = info.get("redis_version")?;
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    Some(if found >= VERSION_MIN {
        Finding::good(format!("version {version}"))
    } else {
        let mend = format!("use {}.{} or newer", VERSION_MIN.0, VERSION_MIN.1);
        Finding::bad(format!("version {version} is too old"), &mend)
    })
}

fn role(info: &HashMap<String, String>) -> Option<Finding> {
    Some(match info.get("role")?.as_str() {
        "slave" => Finding::bad("this is a replica", "point STATE_STORE at the primary"),
        role => Finding::good(format!("role {role}")),
    })
}

fn eviction(info: &HashMap<String, String>) -> Option<Finding> {
    let policy = info.get("maxmemory_policy")?;
    Some(if policy == "noeviction" {
        Finding::good("nothing is evicted")
    } else {
        Finding::bad(
            format!("eviction policy {policy}: conversations would be thrown away when the memory is full"),
            "CONFIG SET maxmemory-policy noeviction; on Fly.io: fly redis update, and turn eviction off",
        )
    })
}

fn persistence(info: &HashMap<String, String>) -> Option<Finding> {
    Some(match info.get("aof_enabled")?.as_str() {
        "1" => Finding::good("writes are kept in an append-only file"),
        _ => Finding::bad(
            "appendonly is off: a restart of Redis loses accepted messages",
            "CONFIG SET appendonly yes, and in the configuration file",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, value: &str) -> HashMap<String, String> {
        HashMap::from([(name.to_owned(), value.to_owned())])
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_do() {
        let bad = [
            version(&info("redis_version", "5.0.14")),
            role(&info("role", "slave")),
            eviction(&info("maxmemory_policy", "allkeys-lru")),
            persistence(&info("aof_enabled", "0")),
            Some(refused("READONLY You can't write against a read only replica.")),
            Some(latency_finding(Duration::from_millis(80))),
        ];
        for finding in bad {
            let finding = finding.unwrap();
            assert!(!finding.ok && finding.mend.is_some(), "{finding:?}");
        }
    }

    #[test]
    fn what_a_server_does_not_tell_is_not_held_against_it() {
        let nothing = HashMap::new();
        assert!(
            [version(&nothing), role(&nothing), eviction(&nothing), persistence(&nothing)].iter().all(Option::is_none)
        );
        assert!(version(&info("redis_version", "7.0.15")).unwrap().ok);
        assert!(version(&info("redis_version", "8.2.0")).unwrap().ok);
    }
}
