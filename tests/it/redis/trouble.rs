//! Redis is away, frozen, full, read-only, badly set up or another's: each is named, and nothing is half done.

use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;
use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::process::{Process, binary};
use system_tests::redis::RedisServer;
use system_tests::stack::{SECRET, START_TIMEOUT, free_address};
use system_tests::wait::wait_for;

use super::{BOUND, given_back};

/// A webhook is refused within this time, while its sender still listens.
const FAST: Duration = Duration::from_secs(2);

async fn get(url: &str) -> (u16, Value) {
    let answer = Client::new().get(url).send().await.expect("the relay answers");
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

async fn refused_fast(fleet: &Fleet, sid: &str) {
    let asked = Instant::now();
    assert_eq!(fleet.write_via(0, &person(0), sid, "help").await, Some(503));
    assert!(asked.elapsed() <= FAST, "took {:?}", asked.elapsed());
}

fn one_relay() -> FleetPlan {
    FleetPlan { relays: 1, ..FleetPlan::default() }
}

#[tokio::test]
async fn redis_down_at_the_start_is_waited_for() {
    let mut fleet = Fleet::prepare(one_relay()).await;
    fleet.redis.kill().await;
    fleet.spawn_relay(0).await;
    let url = fleet.relay(0).url();
    assert_eq!(get(&format!("{url}/health")).await.0, 200);
    let (status, ready) = get(&format!("{url}/ready")).await;
    assert_eq!((status, ready["status"].as_str()), (503, Some("unavailable")), "{ready}");
    refused_fast(&fleet, "SM1").await;
    wait_for("the log to say so", BOUND, async || {
        let logs = fleet.logs();
        if logs.contains("ERROR the store is unavailable") { Ok(()) } else { Err(logs) }
    })
    .await;
    fleet.redis.start_again().await;
    wait_for("the relay to be ready", BOUND, async || match get(&format!("{url}/ready")).await {
        (200, _) => Ok(()),
        (_, ready) => Err(ready),
    })
    .await;
    assert_eq!(fleet.write(&person(0), "SM1", "help").await, Some(200), "what was refused may come again");
    fleet.reads(&person(0), "*approve* (a)", BOUND).await;
}

#[tokio::test]
async fn redis_down_later_refuses_fast_and_goes_on_where_it_was() {
    let mut fleet = Fleet::start(FleetPlan::default()).await;
    let someone = person(0);
    assert_eq!(fleet.write(&someone, "SM1", "make a button").await, Some(200));
    fleet.reads(&someone, "*approve* opens", BOUND).await;
    given_back(&fleet).await;
    fleet.redis.kill().await;
    for number in 0..5 {
        refused_fast(&fleet, &format!("SMx{number}")).await;
    }
    fleet.redis.start_again().await;
    wait_for("the answer to be accepted", BOUND, async || match fleet.write(&someone, "SM2", "approve").await {
        Some(200) => Ok(()),
        other => Err(other),
    })
    .await;
    fleet.reads(&someone, "is a pull request", BOUND).await;
    assert_eq!(fleet.read(&someone).iter().filter(|sent| sent.body.contains("*approve* (a)")).count(), 0, "half done");
}

#[tokio::test]
async fn a_frozen_redis_refuses_fast() {
    let fleet = Fleet::start(one_relay()).await;
    fleet.cut.freeze();
    refused_fast(&fleet, "SM1").await;
    refused_fast(&fleet, "SM2").await;
    fleet.cut.thaw();
    wait_for("a message to be accepted", BOUND, async || match fleet.write(&person(0), "SM3", "help").await {
        Some(200) => Ok(()),
        other => Err(other),
    })
    .await;
    fleet.reads(&person(0), "*approve* (a)", BOUND).await;
}

/// What `relay admin check` prints about the Redis at `url`, and its exit code.
async fn check(url: &str) -> (String, Option<i32>) {
    let vars = [("STATE_STORE", url), ("RELAY_SECRET", SECRET), ("PATH", "/usr/bin:/bin")];
    let mut check = Process::start(&binary("relay"), &["admin", "check"], &vars);
    let status = check.exited(START_TIMEOUT).await;
    (check.lines().join("\n"), status.code())
}

#[tokio::test]
async fn a_good_server_passes_the_check_once_a_relay_has_set_it_up() {
    let fleet = Fleet::start(one_relay()).await;
    let (printed, code) = check(&fleet.redis.url()).await;
    assert_eq!(code, Some(0), "{printed}");
}

#[tokio::test]
async fn a_badly_set_up_server_is_named_by_the_check_and_in_the_log() {
    let plan = FleetPlan {
        redis: ["--maxmemory-policy", "allkeys-lru", "--appendonly", "no"].map(str::to_owned).to_vec(),
        notifications: false,
        ..one_relay()
    };
    let fleet = Fleet::start(plan).await;
    let (printed, code) = check(&fleet.redis.url()).await;
    assert_eq!(code, Some(1), "{printed}");
    let (_, ready) = get(&format!("{}/ready", fleet.relay(0).url())).await;
    let concerns = ready["store"]["concerns"].to_string();
    for trouble in ["allkeys-lru", "appendonly", "notify-keyspace-events"] {
        assert!(printed.contains(trouble), "{trouble} in {printed}");
        assert!(fleet.logs().contains(trouble), "{trouble} in {}", fleet.logs());
        assert!(concerns.contains(trouble), "{trouble} in {concerns}");
    }
    for mend in ["noeviction", "appendonly yes", "CONFIG SET notify-keyspace-events"] {
        assert!(printed.contains(mend), "{mend} in {printed}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_named_and_not_repeated() {
    let server = RedisServer::start(&["--requirepass", "right"]).await;
    let url = server.url_of("default", "wrong-one");
    let (printed, code) = check(&url).await;
    assert_eq!(code, Some(1), "{printed}");
    assert!(printed.contains("WRONGPASS") && !printed.contains("wrong-one"), "{printed}");
    let mut fleet = Fleet::prepare(one_relay().relay("STATE_STORE", url)).await;
    fleet.spawn_relay(0).await;
    wait_for("the log to name it", BOUND, async || {
        let logs = fleet.logs();
        if logs.contains("WRONGPASS") { Ok(()) } else { Err(logs) }
    })
    .await;
    assert!(!fleet.logs().contains("wrong-one"));
    let (status, ready) = get(&format!("{}/ready", fleet.relay(0).url())).await;
    assert!(status == 503 && ready.to_string().contains("WRONGPASS"), "{ready}");
}

#[tokio::test]
async fn a_replica_is_named() {
    let primary = RedisServer::start(&[]).await;
    let (host, port) = (primary.address().ip().to_string(), primary.address().port().to_string());
    let replica = RedisServer::start(&["--replicaof", &host, &port]).await;
    let (printed, code) = check(&replica.url()).await;
    assert!(code == Some(1) && printed.contains("replica") && printed.contains("primary"), "{printed}");
    let mut fleet = Fleet::prepare(one_relay().relay("STATE_STORE", replica.url())).await;
    fleet.spawn_relay(0).await;
    refused_fast(&fleet, "SM1").await;
    wait_for("the log to name it", BOUND, async || {
        let logs = fleet.logs();
        if logs.contains("READONLY") { Ok(()) } else { Err(logs) }
    })
    .await;
}

#[tokio::test]
async fn a_full_server_is_named_and_takes_nothing_half() {
    let fleet = Fleet::start(one_relay()).await;
    let _: String = fleet.redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    refused_fast(&fleet, "SM1").await;
    assert!(fleet.logs().contains("OOM"), "{}", fleet.logs());
    let (printed, code) = check(&fleet.redis.url()).await;
    assert!(code == Some(1) && printed.contains("OOM"), "{printed}");
    let _: String = fleet.redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(fleet.write(&person(0), "SM1", "help").await, Some(200));
    fleet.reads(&person(0), "*approve* (a)", BOUND).await;
}

#[tokio::test]
async fn a_conversation_of_a_newer_version_is_left_as_it_is() {
    let fleet = Fleet::start(one_relay()).await;
    assert_eq!(fleet.write(&person(0), "SM1", "help").await, Some(200));
    fleet.reads(&person(0), "*approve* (a)", BOUND).await;
    let keys: Vec<String> = fleet.redis.ask(&["KEYS", "{textslash}:v1:conversation:*"]).await;
    given_back(&fleet).await;
    let _: i64 = fleet.redis.ask(&["HSET", &keys[0], "format", "99"]).await;
    let before: Vec<String> = fleet.redis.ask(&["HGETALL", &keys[0]]).await;
    refused_fast(&fleet, "SM2").await;
    let after: Vec<String> = fleet.redis.ask(&["HGETALL", &keys[0]]).await;
    assert_eq!(before, after);
}

/// Hosted Redis outside of Fly.io's network is reached by TLS alone.
#[tokio::test]
async fn over_tls_a_server_is_trusted_by_its_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &path("key.pem"),
            "-out",
            &path("cert.pem"),
        ])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{made:?}");
    let port = free_address().port().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let _server = RedisServer::start(&[
        "--tls-port",
        &port,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ])
    .await;
    let url = format!("rediss://localhost:{port}");
    let plan = one_relay().relay("STATE_STORE", &url).relay("SSL_CERT_FILE", &cert);
    let mut fleet = Fleet::prepare(FleetPlan { published: false, ..plan }).await;
    fleet.start_relay(0).await;
    assert_eq!(fleet.write(&person(0), "SM1", "make a button").await, Some(200));
    fleet.reads(&person(0), "*approve* opens", BOUND).await;

    let (printed, code) = check(&url).await;
    assert!(code == Some(1) && printed.to_lowercase().contains("certificate"), "a stranger is not trusted: {printed}");
}
