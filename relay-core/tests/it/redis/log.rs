//! Logs in Redis: whoever follows is told, and nobody else pays for it.

use std::collections::BTreeMap;

use relay_core::machine::{LogEntry, LogWhat};

use super::*;

fn telling(held: &Held, nonce: &str, previous: &Nonce) -> Commit {
    let log = vec![LogEntry::new(None, LogWhat::Progress { text: nonce.to_owned() })];
    let (nonce, previous) = (Nonce::parse(nonce).unwrap(), previous.clone());
    Commit { log, nonce, previous, release: false, ..release(held) }
}

/// Commands that the server has carried out, those inside scripts included.
fn commands(server: &Server) -> BTreeMap<String, u64> {
    let stats = redis_cli(server, &["info", "commandstats"]);
    let count = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    stats.lines().filter_map(count).filter(|(name, _)| !is_of_connections(name)).collect()
}

/// What clients ask of their connections may come at any moment: a pool opens them when it likes.
fn is_of_connections(name: &str) -> bool {
    matches!(name, "ping" | "info" | "hello" | "auth" | "select" | "subscribe" | "config|get" | "script|load")
        || name.starts_with("client|")
}

#[tokio::test]
async fn a_log_that_is_followed_tells_every_relay_once_each_time_somebody_asks() {
    let server = Server::start();
    let (a, b) = (server.fresh().await, RedisStore::open(&server.url(), "test-0").unwrap());
    let (mut hints_a, mut hints_b) = (watching(&a).await, watching(&b).await);
    let Ingested::Held(held) = a.ingest(message("c", 1)).await.unwrap() else { panic!("nobody holds it") };
    let id = held.conversation.id.clone();
    let mut previous = held.nonce.clone();
    for (round, follows) in [false, true, false, true].into_iter().enumerate() {
        if follows {
            b.follow_log(&id, 0, 10).await.unwrap();
        }
        let name = format!("round-{round}");
        a.commit(telling(&held, &name, &previous)).await.unwrap();
        previous = Nonce::parse(name).unwrap();
        // What is told after that is told in order.
        a.append_feed(&id, &round.to_string(), "entry").await.unwrap();
        for hints in [&mut hints_a, &mut hints_b] {
            if follows {
                assert_eq!(hints.recv().await, Some(Hint::Logged(id.clone())), "round {round}");
            }
            assert_eq!(hints.recv().await, Some(Hint::Fed), "round {round}");
        }
    }
    assert_eq!(a.log(&id, 0, 10).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_log_that_nobody_follows_costs_no_command() {
    let server = Server::start();
    let store = server.fresh().await;
    let Ingested::Held(held) = store.ingest(message("c", 1)).await.unwrap() else { panic!("nobody holds it") };
    let mut spent = Vec::new();
    let mut previous = held.nonce.clone();
    // The first of all has the server learn the script.
    for (name, tells) in [("first", true), ("silent", false), ("telling", true)] {
        let before = commands(&server);
        let telling = telling(&held, name, &previous);
        previous = telling.nonce.clone();
        let log = if tells { telling.log.clone() } else { Vec::new() };
        store.commit(Commit { log, ..telling }).await.unwrap();
        let new = |(name, count): (String, u64)| {
            let more = count - before.get(&name).copied().unwrap_or(0);
            (more > 0).then_some((name, more))
        };
        spent.push(commands(&server).into_iter().filter_map(new).collect::<BTreeMap<_, _>>());
    }
    assert_eq!(spent[1], spent[2]);
    assert!(!spent[1].is_empty());
}
