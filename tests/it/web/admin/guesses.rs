//! Guessing the token.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use reqwest::Client;
use reqwest::redirect::Policy;
use system_tests::fleet::{Fleet, FleetPlan};

use super::TOKEN;

const GUESSES: usize = 1_000;
/// On their way at the same time.
const AT_ONCE: usize = 20;

/// Somebody who calls from this address.
fn caller(address: &str) -> Client {
    let address: IpAddr = address.parse().expect("an address");
    Client::builder().redirect(Policy::none()).local_address(address).build().expect("a client")
}

async fn give(client: &Client, relay: &str, token: &str) -> reqwest::Response {
    let form = [("token", token)];
    client.post(format!("{relay}/admin/session")).form(&form).send().await.expect("the relay answers")
}

#[tokio::test]
async fn a_thousand_guesses_at_two_relays_are_slowed_and_whoever_knows_the_token_comes_in() {
    let fleet = Fleet::start(FleetPlan::default().relay("ADMIN_TOKEN", TOKEN)).await;
    let relays = [fleet.relay(0).url(), fleet.relay(1).url()];
    let (thief, operator) = (caller("127.0.0.1"), caller("127.0.0.2"));
    let guesses = futures::stream::iter(0..GUESSES).map(|number| {
        let (relay, token) = (&relays[number % 2], format!("guess-number-{number:06}-of-many-guesses"));
        let thief = &thief;
        async move { give(thief, relay, &token).await }
    });
    let answers: Vec<reqwest::Response> = guesses.buffer_unordered(AT_ONCE).collect().await;
    let looked_at = answers.iter().filter(|answer| answer.status() == 401).count();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status() == 429).collect();
    assert_eq!(looked_at + refused.len(), GUESSES, "nothing else");
    // Those that filled the line, and one each few seconds: it makes no difference how many come at once.
    assert!(looked_at < AT_ONCE, "{looked_at} were looked at");
    let waits: Vec<u64> = refused.iter().map(|answer| number(answer)).collect();
    assert!(waits.iter().all(|wait| *wait >= 1), "each is told when to come again: {waits:?}");

    let began = Instant::now();
    let right = give(&operator, &relays[0], TOKEN).await;
    assert_eq!(right.status(), 303, "from elsewhere");
    assert!(began.elapsed() < Duration::from_secs(2), "at once: {:?}", began.elapsed());
    let cookie = right.headers()["set-cookie"].to_str().expect("a text").split(';').next().expect("a pair").to_owned();
    let page = operator.get(format!("{}/admin", relays[1])).header("cookie", cookie).send().await.expect("an answer");
    assert_eq!(page.status(), 200, "a session of one relay is one of all");

    let logs = fleet.logs();
    assert!(logs.contains("a wrong token") && logs.contains("is not looked at"), "{logs}");
    assert!(!logs.contains("guess-number") && !logs.contains(TOKEN), "what was typed is not logged");
}

fn number(answer: &reqwest::Response) -> u64 {
    answer.headers()["retry-after"].to_str().expect("a text").parse().expect("seconds")
}

/// Before it is slow, too: people make mistakes.
#[tokio::test]
async fn a_few_mistakes_cost_no_time_and_more_of_them_ever_more() {
    let fleet = Fleet::start(FleetPlan { relays: 1, ..FleetPlan::default() }.relay("ADMIN_TOKEN", TOKEN)).await;
    let (relay, client) = (fleet.relay(0).url(), caller("127.0.0.1"));
    let mut took = Vec::new();
    for _ in 0..8 {
        let began = Instant::now();
        assert_eq!(give(&client, &relay, "wrong").await.status(), 401);
        took.push(began.elapsed());
    }
    assert!(took[..5].iter().all(|took| *took < Duration::from_millis(1_500)), "{took:?}");
    assert!(took[7] > took[5] + Duration::from_millis(500), "{took:?}");
    assert_eq!(give(&client, &relay, TOKEN).await.status(), 303, "the right one still counts");
}
