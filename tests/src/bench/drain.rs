//! Waits until a relay has done all that it took in.

use std::time::{Duration, Instant};

use anyhow::Context;

use super::fakes::Fake;
use super::redis::Redis;
use super::servers::{Server, admin};

/// What is processed after the last answer is waited for this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);
const DRAIN_POLL: Duration = Duration::from_millis(500);

/// What a relay did after its last answer to a webhook.
pub(super) struct Drain {
    /// How long it took, in seconds.
    pub(super) took: f64,
    /// Connections to Twilio.
    pub(super) connections: usize,
    /// Messages sent from the start.
    pub(super) sent: usize,
}

/// Wait until every message has had its effect: `runs` runs are started, and nothing waits in any conversation. Lines that
/// wait for the same person come as one message.
pub(super) async fn drained(
    relay: &Server,
    redis: &Redis,
    twilio: &Fake,
    vm: &Fake,
    runs: usize,
) -> anyhow::Result<Drain> {
    let started = Instant::now();
    let all = async {
        vm.called(runs).await;
        while waiting(redis).await? > 0 {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        anyhow::Ok(twilio.calls())
    };
    let Ok(calls) = tokio::time::timeout(DRAIN_TIMEOUT, all).await else {
        let (sent, runs) = (twilio.calls().count, vm.calls().count);
        anyhow::bail!("only {sent} messages sent and {runs} runs started:\n{}", relay.program.log_end());
    };
    let calls = calls?;
    Ok(Drain { took: started.elapsed().as_secs_f64(), connections: calls.connections, sent: calls.count })
}

/// Events and effects that wait in all conversations, as an operator is told.
async fn waiting(redis: &Redis) -> anyhow::Result<u64> {
    let url = redis.url();
    let listing = admin(&["conversations", "--limit", "1", "--json"], &[("STATE_STORE", &url)]).await?;
    let count = |name: &str| listing["stats"][name].as_u64().with_context(|| format!("{name} is not told"));
    Ok(count("inbox")? + count("outbox")?)
}
