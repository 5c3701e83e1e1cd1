use redis::AsyncCommands;
use system_tests::cut::Cut;
use system_tests::redis::{RedisServer, connect};
use system_tests::wait::wait_for;

use super::BOUND;

#[tokio::test]
async fn redis_killed_has_kept_what_it_acknowledged() {
    let mut redis = RedisServer::start(&[]).await;
    let mut connection = redis.connect().await;
    let mut acknowledged = 0;
    for number in 1..=2_000_u32 {
        let _: () = connection.set("number", number).await.expect("an acknowledgement");
        acknowledged = number;
    }
    redis.kill().await;
    assert!(connection.get::<_, u32>("number").await.is_err());
    redis.start_again().await;
    assert_eq!(redis.ask::<u32>(&["GET", "number"]).await, acknowledged);
}

#[tokio::test]
async fn later_arguments_of_redis_win() {
    let redis = RedisServer::start(&["--maxmemory-policy", "allkeys-lru", "--requirepass", "secret"]).await;
    let mut connection = connect(&redis.url_of("default", "secret")).await;
    let policy: Vec<String> =
        redis::cmd("CONFIG").arg(&["GET", "maxmemory-policy"]).query_async(&mut connection).await.expect("an answer");
    assert_eq!(policy[1], "allkeys-lru");
    let mut stranger = connect(&redis.url()).await;
    let refused = redis::cmd("PING").query_async::<String>(&mut stranger).await.expect_err("a password is needed");
    assert!(refused.to_string().contains("NOAUTH"), "{refused}");
}

#[tokio::test]
async fn commands_are_counted_also_inside_scripts() {
    let redis = RedisServer::start(&[]).await;
    let _: String = redis.ask(&["CONFIG", "RESETSTAT"]).await;
    let _: u32 = redis.ask(&["EVAL", "redis.call('INCR', KEYS[1]) return redis.call('INCR', KEYS[1])", "1", "k"]).await;
    let calls = redis.calls().await;
    let of = |name: &str| calls.iter().find(|(called, _)| called == name).map_or(0, |(_, calls)| *calls);
    assert_eq!((of("eval"), of("incr")), (1, 2), "{calls:?}");
}

#[tokio::test]
async fn a_lost_reply_leaves_its_command_done_and_its_connection_closed() {
    let redis = RedisServer::start(&[]).await;
    let cut = Cut::before(redis.address()).await;
    let mut connection = connect(&cut.url()).await;
    let _: u32 = connection.incr("other", 1).await.expect("everything passes");
    cut.lose_replies("INCRBY", 1);
    assert!(redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok(), "another command passes");
    assert!(connection.incr::<_, _, u32>("counter", 1).await.is_err());
    assert_eq!(cut.lost(), 1);
    let mut connection = connect(&cut.url()).await;
    assert_eq!(connection.incr::<_, _, u32>("counter", 1).await.expect("only one was to be lost"), 2);
}

#[tokio::test]
async fn a_cut_ends_the_connections_that_are_there_and_a_freeze_ends_none() {
    let redis = RedisServer::start(&[]).await;
    let cut = Cut::before(redis.address()).await;
    let mut connection = connect(&cut.url()).await;
    cut.freeze();
    let asked = tokio::spawn(async move {
        let slow = redis::cmd("INCR").arg("counter").to_owned();
        slow.query_async::<u32>(&mut connection).await.map_err(|error| error.is_timeout())
    });
    assert_eq!(asked.await.expect("no panic"), Err(true), "no answer, and no end of the connection");
    assert_eq!(redis.ask::<Option<u32>>(&["GET", "counter"]).await, None);
    cut.thaw();
    wait_for("what was held back to pass", BOUND, async || match redis.ask::<Option<u32>>(&["GET", "counter"]).await {
        Some(1) => Ok(()),
        other => Err(other),
    })
    .await;
    let mut connection = connect(&cut.url()).await;
    cut.cut();
    let broken = redis::cmd("PING").query_async::<String>(&mut connection).await.expect_err("the connection is cut");
    assert!(!broken.is_timeout(), "{broken}");
}
