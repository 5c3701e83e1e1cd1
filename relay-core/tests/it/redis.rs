//! The store over a real Redis server, one for each test.

#![expect(clippy::unwrap_used, reason = "a failing call fails the test that made it")]
#![expect(clippy::disallowed_methods, reason = "a server is a process, and a relay listens beside its work")]

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use relay_core::id::{Address, ChannelKind, ConversationId, MessageId, NodeId, Nonce, RunId};
use relay_core::machine::{Content, Event, Message};
use relay_core::protocol::{Report, VmEvent};
use relay_core::store::redis::RedisStore;
use relay_core::store::redis::publish::Publisher;
use relay_core::store::{Claim, Claimed, Commit, Committed, Held, Hint, Ingest, Ingested, Store, StoreError};
use relay_core::testing::{conformance, giving_back};
use relay_core::time::Timestamp;
use tokio::sync::{mpsc, watch};

mod acl;
mod log;

const BOUND: Duration = Duration::from_secs(20);
const NOW: Timestamp = Timestamp(1_800_000_000_000);

/// A server with nothing on disk; killed when dropped.
struct Server {
    child: Child,
    port: u16,
    stores: AtomicU32,
}

impl Server {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(args: &[&str]) -> Self {
        let port = free_port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .args(args)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        Self { child, port, stores: AtomicU32::new(0) }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A store of its own, once the server answers.
    async fn fresh(&self) -> RedisStore {
        let number = self.stores.fetch_add(1, Ordering::Relaxed);
        let store = RedisStore::open(&self.url(), &format!("test-{number}")).unwrap();
        answers(&store).await;
        store
    }
}

/// Below the ports that Linux gives to outgoing connections, each given once in this process.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| {
        let number = std::process::id().wrapping_mul(31).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        20_000 + u16::try_from(number % 10_000).unwrap()
    });
    ports.by_ref().take(10_000).find(free).expect("a port is free")
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that ended by itself needs no killing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Its hints, once it listens and has set the server up; that this one keeps nothing on disk is always a concern then.
async fn watching(store: &RedisStore) -> mpsc::Receiver<Hint> {
    watching_while(store, watch::channel(false).1).await
}

async fn watching_while(store: &RedisStore, drained: watch::Receiver<bool>) -> mpsc::Receiver<Hint> {
    let (hints, mut received) = mpsc::channel(16);
    let watched = store.clone();
    tokio::spawn(async move { watched.watch(hints, drained).await });
    let first = tokio::time::timeout(BOUND, received.recv()).await.expect("it listens");
    assert_eq!(first, Some(Hint::Missed));
    let set_up = async { while store.health().await.unwrap().concerns.is_empty() {} };
    tokio::time::timeout(BOUND, set_up).await.expect("it has set the server up");
    received
}

/// A conversation that was taken once and given back.
async fn released(store: &RedisStore) -> ConversationId {
    released_with(store, None).await
}

async fn released_with(store: &RedisStore, deadline: Option<Timestamp>) -> ConversationId {
    released_as(store, "c", deadline).await
}

async fn released_as(store: &RedisStore, name: &str, deadline: Option<Timestamp>) -> ConversationId {
    let Ingested::Held(held) = store.ingest(message(name, 1)).await.unwrap() else { panic!("nobody holds it") };
    let commit = Commit { consumed: 1, deadline, ..release(&held) };
    assert!(matches!(store.commit(commit).await.unwrap(), Committed::Released));
    held.conversation.id
}

fn message(id: &str, number: u32) -> Ingest {
    let event = Event::Message(Message::new(
        MessageId::parse(format!("{id}-{number}")).unwrap(),
        Address { channel: ChannelKind::Console, name: "console:main".into() },
        Content::Text { text: "hello".into() },
    ));
    Ingest {
        conversation: ConversationId::parse(id).unwrap(),
        id: event.id().unwrap(),
        event,
        node: NodeId::parse("node").unwrap(),
        nonce: Nonce::parse(format!("{id}-{number}")).unwrap(),
        now: NOW,
    }
}

fn claim(id: &ConversationId, nonce: &str) -> Claim {
    Claim {
        conversation: id.clone(),
        node: NodeId::parse("node").unwrap(),
        nonce: Nonce::parse(nonce).unwrap(),
        now: NOW,
    }
}

fn release(held: &Held) -> Commit {
    Commit { consumed: 0, ..giving_back(held, Nonce::parse("release").unwrap(), NOW) }
}

fn report(id: &ConversationId, seq: u64) -> Report {
    Report { conversation: id.clone(), run: RunId::parse(format!("{id}-1-1")).unwrap(), seq, event: VmEvent::Beat }
}

fn redis_cli(server: &Server, args: &[&str]) -> String {
    let output = Command::new("redis-cli").args(["-p", &server.port.to_string()]).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn concerns_of_notifications(store: &RedisStore) -> Vec<String> {
    let concerns = store.health().await.unwrap().concerns;
    concerns.into_iter().filter(|concern| concern.contains("notify-keyspace-events")).collect()
}

async fn answers(store: &RedisStore) {
    let asking = async { while store.health().await.is_err() {} };
    tokio::time::timeout(BOUND, asking).await.expect("the server answers");
}

#[tokio::test]
async fn redis_keeps_the_contract() {
    let server = Server::start();
    conformance::all(|| server.fresh()).await;
}

#[tokio::test]
async fn scripts_are_given_to_a_server_that_has_lost_them() {
    let server = Server::start();
    let store = server.fresh().await;
    for round in 0..2 {
        store.append_feed(&"c".to_owned().try_into().unwrap(), &format!("key{round}"), "entry").await.unwrap();
        assert_eq!(redis_cli(&server, &["script", "flush"]), "OK");
    }
    assert_eq!(store.feed(&"c".to_owned().try_into().unwrap(), 0, 10).await.unwrap().len(), 2);
}

/// They made the next cursor a text in Lua's own way, which has fourteen digits.
#[tokio::test]
async fn an_older_relay_can_go_on_with_a_feed() {
    const OLDER: &str = "local last = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES') \
        local cursor = tonumber(last[2] or 0) + 1 \
        redis.call('ZADD', KEYS[2], cursor, 'older') \
        return redis.call('ZADD', KEYS[1], cursor, cursor .. ':second')";
    let server = Server::start();
    let store = server.fresh().await;
    let id = "c".to_owned().try_into().unwrap();
    store.append_feed(&id, "newer", "first").await.unwrap();
    let (feed, keys) = ("{test-0}:v1:feed:c", "{test-0}:v1:feed_keys:c");
    assert_eq!(redis_cli(&server, &["eval", OLDER, "2", feed, keys]), "1");
    let entries = store.feed(&id, 0, 10).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.entry.as_str()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(entries[1].cursor, entries[0].cursor + 1);
}

#[tokio::test]
async fn a_newer_layout_is_refused_untouched() {
    let server = Server::start();
    answers(&RedisStore::open(&server.url(), "blue").unwrap()).await;
    redis_cli(&server, &["set", "{blue}:layout", "99"]);
    let store = RedisStore::open(&server.url(), "blue").unwrap();
    let refused = store.due(Timestamp(0), 1).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unreadable(why) if why.contains("99")), "{refused}");
    assert_eq!(redis_cli(&server, &["keys", "*"]), "{blue}:layout");
}

#[tokio::test]
async fn what_a_vm_publishes_wakes_one_relay_which_finds_it_in_the_inbox() {
    let server = Server::start();
    let (a, b) = (server.fresh().await, RedisStore::open(&server.url(), "test-0").unwrap());
    let (mut hints_a, mut hints_b) = (watching(&a).await, watching(&b).await);
    let id = released(&a).await;
    let vm = Publisher::open(&server.url(), "test-0").unwrap();
    vm.publish(&report(&id, 1)).await.unwrap();
    redis_cli(&server, &["rpush", &format!("{{test-0}}:v1:reports:{id}"), "not a report"]);

    let woken = tokio::select! {
        hint = hints_a.recv() => hint,
        hint = hints_b.recv() => hint,
    };
    assert_eq!(woken, Some(Hint::Woken(id.clone())));
    assert!(!vm.taken(&id).await.unwrap());
    let Claimed::Held(held) = a.claim(claim(&id, "woken")).await.unwrap() else { panic!("reports make it due") };
    let reported: Vec<bool> = held.inbox.iter().map(|event| matches!(event, Event::Report { seq: 1, .. })).collect();
    assert_eq!((reported, held.inbox.last()), (vec![true, false], Some(&Event::Garbled)));
    assert!(vm.taken(&id).await.unwrap());
    assert!(matches!(b.claim(claim(&id, "late")).await.unwrap(), Claimed::Taken));

    // What is published while somebody holds the conversation keeps it from being released.
    vm.publish(&report(&id, 3)).await.unwrap();
    let commit = Commit { consumed: 2, ..release(&held) };
    let Committed::Held { inbox } = a.commit(commit).await.unwrap() else { panic!("a report waits") };
    assert!(matches!(inbox[..], [Event::Report { seq: 3, .. }]));
}

#[tokio::test]
async fn an_alarm_tells_every_relay_when_its_holder_is_gone() {
    let server = Server::start();
    let (a, b) = (server.fresh().await, RedisStore::open(&server.url(), "test-0").unwrap());
    let (mut hints_a, mut hints_b) = (watching(&a).await, watching(&b).await);
    let id = released_with(&a, Some(NOW + Duration::from_millis(300))).await;
    for hints in [&mut hints_a, &mut hints_b] {
        let rung = tokio::time::timeout(Duration::from_secs(2), hints.recv()).await.expect("the alarm rings in time");
        assert_eq!(rung, Some(Hint::Due(id.clone())));
    }
    assert!(concerns_of_notifications(&a).await.is_empty());
}

#[tokio::test]
async fn a_server_that_does_not_let_notifications_be_turned_on_is_a_concern() {
    let server = Server::start_with(&["--rename-command", "CONFIG", ""]);
    let store = server.fresh().await;
    let _hints = watching(&store).await;
    let concerns = concerns_of_notifications(&store).await;
    assert!(concerns.len() == 1 && concerns[0].contains("CONFIG SET"), "{concerns:?}");
}

#[tokio::test]
async fn two_messages_at_once_have_one_holder() {
    let server = Server::start();
    let (a, b) = (server.fresh().await, RedisStore::open(&server.url(), "test-0").unwrap());
    answers(&b).await;
    for round in 0..200 {
        let id = format!("c{round}");
        let (one, two) = tokio::join!(a.ingest(message(&id, 1)), b.ingest(message(&id, 2)));
        let held = [one.unwrap(), two.unwrap()].iter().filter(|answer| matches!(answer, Ingested::Held(_))).count();
        assert_eq!(held, 1, "round {round}");
    }
}

#[tokio::test]
async fn whatever_a_vm_publishes_its_conversation_can_still_be_taken() {
    let server = Server::start();
    let store = server.fresh().await;
    let id = released(&store).await;
    let key = format!("{{test-0}}:v1:reports:{id}");
    let script = "redis.call('RPUSH', KEYS[1], string.char(255, 254), string.rep('x', 600000), '')";
    redis_cli(&server, &["eval", script, "1", &key]);
    let Claimed::Held(held) = store.claim(claim(&id, "woken")).await.unwrap() else { panic!("reports make it due") };
    assert_eq!(held.inbox, [Event::Garbled, Event::Garbled, Event::Garbled]);
}

#[tokio::test]
async fn large_reports_come_a_few_at_a_time_and_none_is_lost() {
    let server = Server::start();
    let store = server.fresh().await;
    let id = released(&store).await;
    let key = format!("{{test-0}}:v1:reports:{id}");
    redis_cli(
        &server,
        &["eval", "for i = 1, 20 do redis.call('RPUSH', KEYS[1], string.rep('x', 400000)) end", "1", &key],
    );
    let Claimed::Held(held) = store.claim(claim(&id, "woken")).await.unwrap() else { panic!("reports make it due") };
    let (mut seen, mut previous) = (held.inbox.len(), held.nonce.clone());
    assert!(seen < 10, "{seen} at once");
    let mut consumed = seen;
    for round in 0.. {
        let nonce = Nonce::parse(format!("round-{round}")).unwrap();
        let commit = Commit { consumed, nonce: nonce.clone(), previous, ..release(&held) };
        let Committed::Held { inbox } = store.commit(commit).await.unwrap() else { break };
        (consumed, previous) = (inbox.len(), nonce);
        seen += consumed;
    }
    assert_eq!(seen, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wake_up_popped_by_a_relay_that_is_leaving_goes_back() {
    let server = Server::start();
    let store = server.fresh().await;
    drop(watching(&store).await);
    let waiting = async {
        while !redis_cli(&server, &["client", "list"]).contains("cmd=blpop") {
            tokio::task::yield_now().await;
        }
        redis_cli(&server, &["rpush", "{test-0}:v1:wake", "c"]);
        while redis_cli(&server, &["llen", "{test-0}:v1:wake"]) != "1" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, waiting).await.expect("it is there for another relay");
}

#[tokio::test]
async fn a_drained_relay_hears_the_roll_and_leaves_wake_ups_to_others() {
    let server = Server::start();
    let (a, b) = (server.fresh().await, RedisStore::open(&server.url(), "test-0").unwrap());
    let (drain, drained) = watch::channel(true);
    let (mut hints_a, mut hints_b) = (watching_while(&a, drained).await, watching(&b).await);
    let vm = Publisher::open(&server.url(), "test-0").unwrap();
    for number in 1..=20 {
        vm.publish(&report(&released_as(&a, &format!("c{number}"), None).await, 1)).await.unwrap();
        assert!(matches!(hints_b.recv().await, Some(Hint::Woken(_))), "each goes to the other");
    }
    let handed_on: Vec<ConversationId> = ["c1", "c2"].map(|id| ConversationId::parse(id).unwrap()).into();
    a.hand_on(&handed_on).await.unwrap();
    for id in handed_on {
        let told = tokio::time::timeout(BOUND, hints_b.recv()).await.expect("what it hands on goes there too");
        assert_eq!(told, Some(Hint::Woken(id)));
    }
    b.operators().call_roll().await.unwrap();
    assert_eq!((hints_a.recv().await, hints_b.recv().await), (Some(Hint::Roll), Some(Hint::Roll)));
    drop(hints_b);
    // The other one's last call of the server may still pop one, which goes back.
    drain.send_replace(false);
    vm.publish(&report(&released_as(&a, "c21", None).await, 1)).await.unwrap();
    assert!(
        matches!(tokio::time::timeout(BOUND, hints_a.recv()).await, Ok(Some(Hint::Woken(_)))),
        "it takes part again"
    );
}
