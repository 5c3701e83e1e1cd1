//! Relays are seen and drained from any of them.

use std::time::Duration;

use reqwest::Client;
use reqwest::redirect::Policy;
use system_tests::fleet::{Fleet, FleetPlan, person};
use system_tests::stack::BOUND;
use system_tests::wait::{wait_for, wait_until};

use super::TOKEN;

/// An operator's tool, at one relay.
struct Tool {
    client: Client,
    relay: String,
}

impl Tool {
    fn at(relay: String) -> Self {
        Self { client: Client::builder().redirect(Policy::none()).build().expect("a client"), relay }
    }

    async fn page(&self, path: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.relay)).bearer_auth(TOKEN);
        request.send().await.expect("an answer").text().await.expect("a text")
    }

    async fn order(&self, path: &str) -> String {
        let request = self.client.post(format!("{}{path}", self.relay)).bearer_auth(TOKEN);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 303, "{path}");
        answer.headers()["location"].to_str().expect("a text").to_owned()
    }

    async fn ready(&self) -> (u16, String) {
        let answer = self.client.get(format!("{}/ready", self.relay)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    /// The names of all relays that this one knows.
    async fn nodes(&self) -> Vec<String> {
        let page = self.page("/admin/machines").await;
        let parts = page.split("/admin/nodes/").skip(1);
        parts.map(|part| part.split('/').next().expect("a name").to_owned()).collect()
    }
}

/// How often a relay took a conversation that was due or left behind.
async fn claims(fleet: &Fleet, relay: usize) -> u64 {
    let counters = fleet.counters(relay).await;
    let taken = counters.iter().filter(|(name, _)| name.contains("leases") && !name.contains("arrival"));
    taken.map(|(_, count)| count).sum()
}

#[tokio::test]
async fn a_relay_is_drained_from_another_and_its_work_goes_elsewhere() {
    let mut fleet = Fleet::start(FleetPlan::default().relay("ADMIN_TOKEN", TOKEN)).await;
    let (a, b) = (Tool::at(fleet.relay(0).url()), Tool::at(fleet.relay(1).url()));
    let nodes = wait_for("both relays to be known", BOUND, async || {
        let nodes = a.nodes().await;
        if nodes.len() == 2 { Ok(nodes) } else { Err(nodes) }
    })
    .await;
    assert_eq!((a.ready().await.0, b.ready().await.0), (200, 200));
    // Which of them is B shows when it is drained.
    for node in &nodes {
        a.order(&format!("/admin/nodes/{node}/drain")).await;
        wait_until("one of them to be drained", BOUND, async || a.ready().await.0 == 503 || b.ready().await.0 == 503)
            .await;
        if b.ready().await.0 == 503 {
            break;
        }
        a.order(&format!("/admin/nodes/{node}/undrain")).await;
        assert_eq!(a.ready().await.0, 200, "this one learns of it at once");
    }
    assert_eq!((a.ready().await.0, b.ready().await.0), (200, 503));
    assert!(b.ready().await.1.contains("\"draining\""));
    assert_eq!(reqwest::get(format!("{}/health", fleet.relay(1).url())).await.expect("an answer").status(), 200);
    let drained = a.page("/admin/machines").await;
    assert!(drained.contains("drained") && drained.contains("/undrain"), "{drained}");

    // What comes to A is worked on by A alone, all that the VM publishes included.
    let before = claims(&fleet, 1).await;
    for round in 0..3 {
        assert_eq!(fleet.write_via(0, &person(0), &format!("SM{round}"), "do something").await, Some(200));
        fleet.reads(&person(0), &format!("(run {}", round + 1), BOUND).await;
        assert_eq!(fleet.write_via(0, &person(0), &format!("SR{round}"), "reject").await, Some(200));
        let done = format!("Run {} is rolled back", round + 1);
        fleet.reads(&person(0), &done, BOUND).await;
    }
    assert_eq!(claims(&fleet, 1).await, before, "{}", fleet.logs());
    // What comes to B all the same is not lost.
    assert_eq!(fleet.write_via(1, &person(0), "SM9", "status").await, Some(200));
    fleet.reads(&person(0), "Nothing is running", BOUND).await;

    let undrain = drained.split("action=\"").find(|part| part.contains("/undrain\"")).expect("the form");
    a.order(undrain.split('"').next().expect("an address")).await;
    wait_until("it to be ready again", BOUND, async || b.ready().await.0 == 200).await;
    fleet.stop(1).await;
    assert_eq!(a.nodes().await.len(), 1, "one that was stopped says so");
    assert!(a.page("/admin/deeds").await.contains("drain relay"));
    fleet.start_relay(1).await;
    wait_until("it to say that it is there", BOUND, async || a.nodes().await.len() == 2).await;
    fleet.kill(1).await;
    let killed = async || a.page("/admin/machines").await.contains("silent");
    let patience = Duration::from_secs(20);
    wait_until("one that was killed to be known as silent", patience, killed).await;
}
