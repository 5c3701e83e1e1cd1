//! How a fake VM's reports reach the relays: each until it is taken, in order within the run.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd};
use relay_core::id::ConversationId;
use relay_core::protocol::signature::{self, HEADER};
use relay_core::protocol::{Report, VmEvent};
use relay_core::store::redis::keys::{Keys, NAMESPACE};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::runs::{Runs, now};

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);
/// After a run's last report it is looked whether a relay has taken it, and a relay is woken again if not.
const LOOK_PAUSE: Duration = Duration::from_secs(5);

/// The way of the reports.
#[derive(Clone, Debug)]
pub enum Reports {
    /// The signed HTTP callback, to the relay or the proxy at this address.
    Callback(String),
    /// Published to the Redis at this address, by a client that vm-agent does not use.
    Published(Arc<Publisher>),
}

/// What became of one try.
enum Delivery {
    Taken,
    Refused(u16),
    Failed,
}

/// Deliver what comes in, for ever.
pub(super) async fn deliver(runs: Arc<Runs>, mut waiting: mpsc::UnboundedReceiver<Report>) {
    let mut untaken = None;
    loop {
        let look_at = untaken.as_ref().map_or_else(|| Instant::now() + 720 * LOOK_PAUSE, |(_, _, at)| *at);
        match timeout_at(look_at, waiting.recv()).await {
            Ok(Some(report)) => {
                let way = deliver_surely(&runs, &report).await;
                if let (Some(Reports::Published(publisher)), true) = (way, is_last(&report.event)) {
                    untaken = Some((publisher, report.conversation, Instant::now() + LOOK_PAUSE));
                }
            }
            Ok(None) => return,
            Err(_) => {
                if let Some((publisher, conversation, _)) = untaken.take()
                    && !publisher.taken(&conversation).await.unwrap_or(false)
                {
                    untaken = Some((publisher, conversation, Instant::now() + LOOK_PAUSE));
                }
            }
        }
    }
}

/// Try until it is delivered; by which way it was.
async fn deliver_surely(runs: &Runs, report: &Report) -> Option<Reports> {
    loop {
        let way = runs.way(&report.run).await?;
        let delivery = match &way {
            Reports::Callback(url) => call_back(runs, url, report).await,
            Reports::Published(publisher) => {
                publisher.publish(report).await.map_or(Delivery::Failed, |()| Delivery::Taken)
            }
        };
        match delivery {
            Delivery::Taken => return Some(way),
            Delivery::Failed => sleep(PAUSE).await,
            Delivery::Refused(status) => {
                runs.violated(format!("a report of {} is refused with {status}", report.run));
                return None;
            }
        }
    }
}

/// Whether the run is silent after this, until somebody asks something of it.
fn is_last(event: &VmEvent) -> bool {
    matches!(event, VmEvent::Finished { .. } | VmEvent::Decided { .. })
}

async fn call_back(runs: &Runs, url: &str, report: &Report) -> Delivery {
    let body = serde_json::to_vec(report).expect("plain data with text keys");
    let path = format!("/callback/{}", report.run);
    let signed = signature::sign(runs.secret(), now(), "POST", &path, &body);
    let call = runs.client().post(format!("{url}{path}")).header("content-type", "application/json");
    let answer = call.header(HEADER, signed).timeout(CALL_TIMEOUT).body(body).send().await;
    match answer.map(|answer| answer.status().as_u16()) {
        Ok(204) => Delivery::Taken,
        Ok(status @ (400 | 413 | 422)) => Delivery::Refused(status),
        Ok(_) | Err(_) => Delivery::Failed,
    }
}

/// Publishes to one Redis; an error ends the connection, and the next call makes another.
pub struct Publisher {
    client: redis::Client,
    keys: Keys,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Publish to the deployment without a name of its own on the Redis at `url`, which need not be up.
    ///
    /// # Panics
    /// When that is no address.
    pub fn new(url: &str) -> Self {
        let client = redis::Client::open(url).expect("a Redis address");
        Self { client, keys: Keys::new(NAMESPACE), connection: Mutex::default() }
    }

    async fn publish(&self, report: &Report) -> RedisResult<()> {
        let body = serde_json::to_string(report).expect("plain data with text keys");
        self.ask::<u64>(&["RPUSH", &self.keys.reports(&report.conversation), &body]).await?;
        self.ask::<u64>(&["RPUSH", &self.keys.wake(), report.conversation.as_str()]).await?;
        self.ask::<u64>(&["PUBLISH", &self.keys.live(&report.conversation), &body]).await.map(drop)
    }

    /// Whether everything that was published about a conversation was taken; when not, a relay is woken.
    async fn taken(&self, conversation: &ConversationId) -> RedisResult<bool> {
        let left: u64 = self.ask(&["LLEN", &self.keys.reports(conversation)]).await?;
        if left > 0 {
            self.ask::<u64>(&["RPUSH", &self.keys.wake(), conversation.as_str()]).await?;
        }
        Ok(left == 0)
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> RedisResult<T> {
        let late = || redis::RedisError::from((redis::ErrorKind::Io, "no answer in time"));
        let mut connection = self.connect().await?;
        let call = cmd(command[0]).arg(&command[1..]).to_owned();
        let answer = timeout(CALL_TIMEOUT, call.query_async(&mut connection)).await.unwrap_or_else(|_| Err(late()));
        if answer.is_err() {
            *self.connection.lock().await = None;
        }
        answer
    }

    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let mut connection = self.connection.lock().await;
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        Ok(connection.insert(self.client.get_multiplexed_async_connection().await?).clone())
    }
}
