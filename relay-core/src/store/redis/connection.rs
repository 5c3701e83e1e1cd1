//! How a client of Redis is set up: what it may try again by itself (nothing), how long it waits, and when it takes a
//! connection for dead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fred::clients::{Client, SubscriberClient};
use fred::error::{Error, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface, HeartbeatInterface};
use fred::types::Builder;
use fred::types::config::{Config, ReconnectPolicy, TcpConfig, UnresponsiveConfig};
use socket2::TcpKeepalive;
use url::Url;

use super::keys::Keys;

/// A call that takes longer has failed, whatever became of it: a webhook is refused while its sender still listens.
const COMMAND_TIMEOUT: Duration = Duration::from_millis(1_200);
/// A call waits this long for a connection that is being made again; after that it is not made at all.
const CONNECTION_TIMEOUT: Duration = Duration::from_millis(600);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which an answer is due for this long is dead, though nobody closed it.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(3);
const UNRESPONSIVE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// An idle connection is tried this often. Hosted Redis closes those that are silent for minutes; a ping is not billed.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(20);
const RECONNECT_DELAY_MIN_MS: u32 = 10;
const RECONNECT_DELAY_MAX_MS: u32 = 2_000;
const RECONNECT_JITTER_MS: u32 = 20;
/// Commands that may wait for a connection.
const BUFFERED_COMMANDS_MAX: usize = 10_000;
/// Messages from subscriptions that may wait to be read; whoever falls behind further looks at everything instead.
const MESSAGES_WAITING_MAX: usize = 1_024;
const UPSTASH_HOST: &str = ".upstash.io";

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is not one. It is not repeated here, for it may hold a password.
    #[error("must be redis[s]://[USER:PASSWORD@]HOST[:PORT][/DATABASE]")]
    Address,
    /// The client writes them into its greeting as they are.
    #[error("a user or password of Redis must not have white space, quotes or control characters")]
    Credentials,
    /// The namespace is not one.
    #[error("a namespace has lower-case letters, digits and dashes")]
    Namespace,
}

/// A Redis server, and how to connect to it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    config: Config,
    /// Upstash takes one lock over everything for each script, unless the script says that its keys suffice.
    pub(super) is_upstash: bool,
    /// Keyspace events carry the number of the database in the channel's name.
    pub(super) database: u8,
}

impl Server {
    pub(super) fn parse(url: &str, namespace: &str) -> Result<Self, OpenError> {
        if !Keys::is_namespace(namespace) {
            return Err(OpenError::Namespace);
        }
        let address = Url::parse(url).map_err(|_| OpenError::Address)?;
        let database = address.path().trim_start_matches('/');
        let is_ours = matches!(address.scheme(), "redis" | "rediss") && address.has_host();
        if !is_ours || !(database.is_empty() || database.parse::<u8>().is_ok()) {
            return Err(OpenError::Address);
        }
        let mut config = Config::from_url_centralized(url).map_err(|_| OpenError::Address)?;
        let awkward = |text: &Option<String>| {
            text.iter().any(|text| text.contains(|c: char| c.is_whitespace() || c.is_control() || "'\"".contains(c)))
        };
        if awkward(&config.username) || awkward(&config.password) {
            return Err(OpenError::Credentials);
        }
        config.version = fred::types::RespVersion::RESP3;
        // A server that is not there yet is one to wait for.
        config.fail_fast = false;
        let is_upstash = config.server.hosts().iter().any(|server| server.host.ends_with(UPSTASH_HOST));
        Ok(Self { database: config.database.unwrap_or(0), is_upstash, config })
    }

    /// A connection that is made again whenever it is lost.
    pub(super) fn connect(&self) -> Connection {
        let client = self.builder().build().expect("a configuration is given");
        let connection =
            Connection { client, trouble: Arc::default(), commands: Arc::default(), connects: Arc::default() };
        connection.note_trouble();
        connection.client.connect();
        keep_alive(connection.client.clone());
        connection
    }

    /// A client for a call that blocks: nothing else may wait behind it.
    pub(super) fn blocking_client(&self) -> Client {
        let mut builder = self.builder();
        builder.with_performance_config(|performance| performance.default_command_timeout = Duration::ZERO);
        let client = builder.build().expect("a configuration is given");
        client.connect();
        client
    }

    /// A client for subscriptions, which its caller renews after each reconnect. Not connected yet.
    pub(super) fn subscriber(&self) -> SubscriberClient {
        self.builder().build_subscriber_client().expect("a configuration is given")
    }

    fn builder(&self) -> Builder {
        let mut policy = ReconnectPolicy::new_exponential(0, RECONNECT_DELAY_MIN_MS, RECONNECT_DELAY_MAX_MS, 3);
        policy.set_jitter(RECONNECT_JITTER_MS);
        let mut builder = Builder::from_config(self.config.clone());
        builder
            .set_policy(policy)
            .with_connection_config(|connection| {
                // A script whose reply was lost must not run a second time behind its caller's back.
                connection.max_command_attempts = 1;
                connection.connection_timeout = CONNECT_TIMEOUT;
                connection.internal_command_timeout = CONNECT_TIMEOUT;
                connection.max_command_buffer_len = BUFFERED_COMMANDS_MAX;
                connection.reconnect_on_auth_error = true;
                connection.unresponsive =
                    UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE_AFTER), interval: UNRESPONSIVE_CHECK_INTERVAL };
                connection.tcp = TcpConfig {
                    nodelay: Some(true),
                    keepalive: Some(
                        TcpKeepalive::new().with_time(HEARTBEAT_INTERVAL).with_interval(UNRESPONSIVE_AFTER),
                    ),
                    ..TcpConfig::default()
                };
            })
            .with_performance_config(|performance| {
                performance.default_command_timeout = COMMAND_TIMEOUT;
                performance.broadcast_channel_capacity = MESSAGES_WAITING_MAX;
            });
        builder
    }
}

/// A client that connects by itself, again and again, and never sends a command twice.
#[derive(Clone)]
pub(super) struct Connection {
    client: Client,
    /// Why there is no connection; nothing while there is one.
    trouble: Arc<Mutex<Option<Error>>>,
    commands: Arc<AtomicU64>,
    connects: Arc<AtomicU64>,
}

impl Connection {
    /// The client for one command, once it is connected. An error names what keeps it from connecting.
    pub(super) async fn ready(&self) -> Result<&Client, Error> {
        self.count(1);
        if self.client.is_connected() {
            return Ok(&self.client);
        }
        let connected = tokio::time::timeout(CONNECTION_TIMEOUT, self.client.wait_for_connect());
        if let Ok(Ok(())) = connected.await {
            return Ok(&self.client);
        }
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(trouble.unwrap_or_else(|| Error::new(ErrorKind::IO, "not connected yet")))
    }

    /// Note that a command made the server carry out so many.
    pub(super) fn count(&self, commands: u64) {
        self.commands.fetch_add(commands, Ordering::Relaxed);
    }

    /// Commands so far.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// How often the connection was made again.
    pub(super) fn reconnects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Keep in mind why there is no connection, for as long as there is none. Whoever calls says it in the log.
    fn note_trouble(&self) {
        let (mut errors, mut connected) = (self.client.error_rx(), self.client.reconnect_rx());
        let (trouble, connects) = (Arc::clone(&self.trouble), Arc::clone(&self.connects));
        #[expect(clippy::disallowed_methods, reason = "a connection is lost and made again beside everything else")]
        tokio::spawn(async move {
            loop {
                let now = tokio::select! {
                    Ok((error, _)) = errors.recv() => Some(error),
                    Ok(_) = connected.recv() => {
                        connects.fetch_add(1, Ordering::Relaxed);
                        None
                    }
                    else => return,
                };
                *trouble.lock().unwrap_or_else(PoisonError::into_inner) = now;
            }
        });
    }
}

/// Ping for as long as the client is there: an idle connection that has died without a word is noticed.
pub(super) fn keep_alive(client: impl HeartbeatInterface + Send + Sync + 'static) {
    #[expect(
        clippy::disallowed_methods,
        reason = "a heartbeat runs beside everything else, for as long as the process"
    )]
    tokio::spawn(async move { client.enable_heartbeat(HEARTBEAT_INTERVAL, false).await });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_work_is_refused_without_repeating_it() {
        let parse = |url: &str| Server::parse(url, "textslash");
        for good in ["redis://localhost", "rediss://default:p%40ss@fly-x.upstash.io:6379/0", "redis://[::1]:6394/2"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        assert!(parse("rediss://default:x@fly-x.upstash.io").unwrap().is_upstash);
        assert!(!parse("redis://upstash.io.example.com").unwrap().is_upstash);
        assert_eq!(parse("redis://h/2").unwrap().database, 2);
        for bad in ["", "localhost", "http://localhost", "redis://", "redis://h/many", "redis-cluster://h"] {
            assert!(matches!(parse(bad), Err(OpenError::Address)), "{bad}");
        }
        for awkward in ["redis://u:a%20b@h", "redis://u:a%27b@h", "redis://u:a%0db@h", "redis://u%22:a@h"] {
            let refused = parse(awkward).unwrap_err();
            assert!(matches!(refused, OpenError::Credentials) && !refused.to_string().contains("a%"), "{awkward}");
        }
        assert!(matches!(Server::parse("redis://h", "A"), Err(OpenError::Namespace)));
    }
}
