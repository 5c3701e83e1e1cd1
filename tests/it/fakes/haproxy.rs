use std::collections::BTreeMap;

use system_tests::haproxy::{Balance, Haproxy};
use system_tests::server::{Server, json};
use system_tests::stack::free_address;

use super::client;

async fn named(name: &'static str) -> Server {
    Server::start(move |_| async move { json(200, name.into()) }).await
}

fn address(server: &Server) -> std::net::SocketAddr {
    server.url().trim_start_matches("http://").parse().expect("an address")
}

#[tokio::test]
async fn each_server_in_turn_and_none_that_is_dead() {
    let (one, two) = (named("one").await, named("two").await);
    let dead = free_address();
    let edge = Haproxy::before(&[address(&one), dead, address(&two)], Balance::RoundRobin).await;
    let mut answers = BTreeMap::<String, usize>::new();
    for _ in 0..12 {
        let answer = client().post(edge.url()).body("once").send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        *answers.entry(answer.json().await.expect("JSON")).or_default() += 1;
    }
    assert!(answers["one"] >= 4 && answers["two"] >= 4, "{answers:?}");
    assert_eq!(one.requests().len() + two.requests().len(), 12, "nothing is sent twice");
}

#[tokio::test]
async fn a_request_that_a_server_may_have_seen_is_not_sent_to_another() {
    let one = Server::start(|_| async { std::panic::resume_unwind(Box::new("cut off on purpose")) }).await;
    let two = named("two").await;
    let edge = Haproxy::before(&[address(&one), address(&two)], Balance::RoundRobin).await;
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(client().post(edge.url()).body("once").send().await.expect("an answer").status().as_u16());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
    assert_eq!((one.requests().len(), two.requests().len()), (1, 1));
}
