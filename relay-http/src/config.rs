//! What the environment says, parsed once and whole: a bad configuration is reported with all its faults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use relay_core::machine::Rules;
use relay_core::settings::{Environment, Fault, Reader};
use relay_core::store::redis::check_address;
use relay_core::store::redis::keys::{Keys, NAMESPACE};
use relay_core::telemetry::Sampling;
pub use relay_core::telemetry::logs::LogFormat;
use secrecy::SecretString;
use url::Url;

use crate::clock;
use crate::links::LinkKey;

pub mod fly;
mod links;
pub mod twilio;

pub use fly::{FlyApp, FlyConfig, VmsConfig};
pub use twilio::{TranscriptionConfig, TwilioConfig};

/// The process environment.
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn value(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Everything a relay is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// `RELAY_BIND`: the address to listen on.
    pub bind: SocketAddr,
    /// `PUBLIC_URL`: how the world reaches this relay. Signatures and picture addresses are built on it.
    pub public_url: PublicUrl,
    /// Where the state is.
    pub store: StoreConfig,
    /// `RELAY_SECRET`: names conversations and pictures. Another one makes every conversation start anew.
    pub relay_secret: SecretString,
    /// `VM_DIRECTORY`, `VM_URL` and others: where the VMs are.
    pub vms: VmsConfig,
    /// `VM_SECRET`: signs both ways between relay and VM, or makes the secret that does.
    pub vm_secret: SecretString,
    /// Present when `TWILIO_ACCOUNT_SID` is set.
    pub twilio: Option<TwilioConfig>,
    /// Present when `TRANSCRIPTION_URL` is set: voice notes are written down there.
    pub transcription: Option<TranscriptionConfig>,
    /// `CONSOLE_TOKEN`: opens the console to other machines than this one.
    pub console_token: Option<SecretString>,
    /// `ADMIN_TOKEN`: opens the control UI to other machines than this one.
    pub admin_token: Option<SecretString>,
    /// `LINK_KEYS`: the first signs links, each of them verifies; empty when none is set.
    pub link_keys: Vec<LinkKey>,
    /// `APPROVAL_TIMEOUT_MS`, `QUEUE_MAX`, `VM_PATIENCE_MS`: the machine's limits.
    pub rules: Rules,
    /// `SHUTDOWN_GRACE_MS`: how long a stopping relay finishes what it holds.
    pub shutdown_grace: Duration,
    /// `LOG_FORMAT`: `text` or `json`.
    pub log_format: LogFormat,
    /// Which machine this is, for whoever watches: `FLY_MACHINE_ID` where Fly sets it.
    pub instance: String,
    /// Whether callers come through Fly.io's proxy.
    pub is_at_fly: bool,
    /// `METRICS_BIND`: the address on which metrics are told.
    pub metrics_bind: Option<SocketAddr>,
    /// Present when `OTEL_EXPORTER_OTLP_ENDPOINT` is set: traces go there.
    pub sampling: Option<Sampling>,
}

/// The address that the world knows, in two forms.
#[derive(Clone, Debug)]
pub struct PublicUrl {
    /// As it was given, without a slash at its end: what Twilio signs is the text, not what a parser makes of it.
    pub given: String,
    /// Parsed.
    pub url: Url,
}

impl PublicUrl {
    /// Whether it is an address of this machine alone.
    pub fn is_local(&self) -> bool {
        matches!(self.url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
    }
}

/// Where the state is: what a relay and an operator's commands have to agree on.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// `STATE_STORE`: `sqlite:PATH`, `sqlite::memory:`, `redis://…` or `rediss://…`.
    pub state_store: StateStore,
    /// `RELAY_NAMESPACE`: tells deployments apart that share a Redis.
    pub namespace: String,
}

/// Which store.
#[derive(Clone, Debug)]
pub enum StateStore {
    /// A SQLite file.
    SqliteFile(PathBuf),
    /// SQLite in memory: gone with the process.
    SqliteMemory,
    /// Redis, by its address, which may hold a password.
    Redis(SecretString),
}

impl StateStore {
    /// What kind of store it is, for people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::SqliteFile(_) | Self::SqliteMemory => "sqlite",
            Self::Redis(_) => "redis",
        }
    }
}

/// What an operator's commands are told from outside: of a relay's settings, those that they need.
#[derive(Clone, Debug)]
pub struct AdminConfig {
    /// Where the state is.
    pub store: StoreConfig,
    /// `RELAY_SECRET`: needed to find a person's conversation by address.
    pub relay_secret: Option<SecretString>,
    /// `PUBLIC_URL`: needed for links.
    pub public_url: Option<PublicUrl>,
    /// `LINK_KEYS`: as the relays have them.
    pub link_keys: Vec<LinkKey>,
    /// Present when `TWILIO_ACCOUNT_SID` is set: needed for what asks Twilio.
    pub twilio: Option<TwilioConfig>,
    /// Present when `VM_DIRECTORY` is `fly`: needed for what asks Fly.io.
    pub fly: Option<FlyApp>,
}

const BIND: &str = "[::]:3000";
const LOCAL_URL: &str = "http://localhost:3000";
const STATE_STORE: &str = "sqlite:textslash.db";
const PUBLIC_URL_CHARS_MAX: usize = 200;
const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);

impl Config {
    /// Read all of it, or list everything that is wrong with it.
    pub fn read(environment: &impl Environment) -> Result<Self, Vec<Fault>> {
        Reader::read(environment, config)
    }
}

impl AdminConfig {
    /// Read all of it, or list everything that is wrong with it.
    pub fn read(environment: &impl Environment) -> Result<Self, Vec<Fault>> {
        Reader::read(environment, |reader| {
            let store = store(reader);
            let relay_secret = optional_secret(reader, "RELAY_SECRET");
            let public_url = match reader.value("PUBLIC_URL") {
                Some(_) => public_url(reader, None).map(Some),
                None => Some(None),
            };
            let link_keys = links::read(reader);
            let with_twilio = reader.value("TWILIO_ACCOUNT_SID").is_some();
            let twilio = if with_twilio { twilio::read(reader).map(Some) } else { Some(None) };
            let fly = fly::of_operators(reader);
            Some(Self {
                store: store?,
                relay_secret: relay_secret?,
                public_url: public_url?,
                link_keys: link_keys?,
                twilio: twilio?,
                fly: fly?,
            })
        })
    }
}

/// Every setting is read before the first missing one makes an end of it.
fn config(reader: &mut Reader) -> Option<Config> {
    let bind = reader.parsed("RELAY_BIND", BIND);
    let with_twilio = reader.value("TWILIO_ACCOUNT_SID").is_some();
    // Twilio signs the address that it was given; nobody can guess that.
    let public_url = public_url(reader, if with_twilio { None } else { Some(LOCAL_URL) });
    let store = store(reader);
    let relay_secret = reader.secret("RELAY_SECRET");
    let vms = fly::vms(reader, public_url.as_ref().map(|public_url| &public_url.url));
    let vm_secret = reader.secret("VM_SECRET");
    let twilio = if with_twilio { twilio::read(reader).map(Some) } else { Some(None) };
    let transcription = twilio::read_transcription(reader);
    let console_token = optional_secret(reader, "CONSOLE_TOKEN");
    let admin_token = optional_secret(reader, "ADMIN_TOKEN");
    let link_keys = links::read(reader);
    let rules = rules(reader);
    let shutdown_grace = reader.millis("SHUTDOWN_GRACE_MS", SHUTDOWN_GRACE);
    let log_format = LogFormat::read(reader);
    let metrics_bind = reader.optional("METRICS_BIND");
    let sampling = Sampling::read(reader);
    Some(Config {
        bind: bind?,
        public_url: public_url?,
        store: store?,
        relay_secret: relay_secret?,
        vms: vms?,
        vm_secret: vm_secret?,
        twilio: twilio?,
        transcription: transcription?,
        console_token: console_token?,
        admin_token: admin_token?,
        link_keys: link_keys?,
        rules: rules?,
        shutdown_grace: shutdown_grace?,
        log_format: log_format?,
        is_at_fly: reader.value("FLY_MACHINE_ID").is_some(),
        instance: reader.value("FLY_MACHINE_ID").unwrap_or_else(|| clock::node().to_string()),
        metrics_bind,
        sampling,
    })
}

fn public_url(reader: &mut Reader, default: Option<&str>) -> Option<PublicUrl> {
    let given = reader.value("PUBLIC_URL").or(default.map(str::to_owned)).unwrap_or_default();
    let url = reader.url("PUBLIC_URL", default)?;
    // Addresses of pages end chat messages, which leave room for so much.
    if url.as_str().len() > PUBLIC_URL_CHARS_MAX {
        return reader.fault("PUBLIC_URL", "is too long");
    }
    Some(PublicUrl { given: given.trim_end_matches('/').to_owned(), url })
}

fn rules(reader: &mut Reader) -> Option<Rules> {
    let default = Rules::default();
    let approval_timeout = reader.millis("APPROVAL_TIMEOUT_MS", default.approval_timeout);
    let vm_patience = reader.millis("VM_PATIENCE_MS", default.vm_patience);
    let queue_max = reader.parsed("QUEUE_MAX", &default.queue_max.to_string());
    let transcription = reader.value("TRANSCRIPTION_URL").is_some();
    Some(Rules {
        approval_timeout: approval_timeout?,
        vm_patience: vm_patience?,
        queue_max: queue_max?,
        transcription,
        ..default
    })
}

fn optional_secret(reader: &mut Reader, name: &'static str) -> Option<Option<SecretString>> {
    match reader.value(name) {
        Some(_) => reader.secret(name).map(Some),
        None => Some(None),
    }
}

fn store(reader: &mut Reader) -> Option<StoreConfig> {
    let state_store = state_store(reader);
    let namespace = reader.value("RELAY_NAMESPACE").unwrap_or_else(|| NAMESPACE.to_owned());
    let namespace = match Keys::is_namespace(&namespace) {
        true => Some(namespace),
        false => reader.fault("RELAY_NAMESPACE", "must be of lower-case letters, digits and dashes, and not long"),
    };
    Some(StoreConfig { state_store: state_store?, namespace: namespace? })
}

fn state_store(reader: &mut Reader) -> Option<StateStore> {
    let value = reader.value("STATE_STORE").unwrap_or_else(|| STATE_STORE.to_owned());
    match value.strip_prefix("sqlite:") {
        Some(":memory:") => Some(StateStore::SqliteMemory),
        Some(path) if !path.is_empty() => Some(StateStore::SqliteFile(PathBuf::from(path))),
        None if value.starts_with("redis") => match check_address(&value) {
            Ok(()) => Some(StateStore::Redis(value.into())),
            Err(error) => reader.fault("STATE_STORE", error.to_string()),
        },
        // What was given is not repeated: it may hold a password.
        _ => reader.fault("STATE_STORE", "must be sqlite:PATH, sqlite::memory:, or redis[s]://…"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn minimal() -> HashMap<&'static str, &'static str> {
        HashMap::from([("RELAY_SECRET", SECRET), ("VM_SECRET", SECRET), ("VM_URL", "http://127.0.0.1:3001")])
    }

    fn faults(variables: HashMap<&'static str, &'static str>) -> Vec<&'static str> {
        Config::read(&variables).unwrap_err().into_iter().map(|fault| fault.name).collect()
    }

    #[test]
    fn a_minimal_environment_is_enough() {
        let config = Config::read(&minimal()).unwrap();
        assert!(config.twilio.is_none());
        assert_eq!(config.rules, Rules::default());
        assert!(matches!(config.store.state_store, StateStore::SqliteFile(path) if path == *"textslash.db"));
        assert_eq!(config.store.namespace, "textslash");
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        assert_eq!(faults(HashMap::new()), ["RELAY_SECRET", "VM_URL", "VM_SECRET"]);
        let mut bad = minimal();
        bad.extend([
            ("RELAY_BIND", "nowhere"),
            ("RELAY_SECRET", "short"),
            ("ADMIN_TOKEN", "short"),
            ("STATE_STORE", "postgres://x"),
            ("RELAY_NAMESPACE", "Text}slash"),
            ("QUEUE_MAX", "many"),
            ("LOG_FORMAT", "xml"),
            ("TWILIO_ACCOUNT_SID", "AC1"),
            ("TWILIO_API_KEY", "SK1"),
        ]);
        assert_eq!(
            faults(bad),
            [
                "RELAY_BIND",
                "PUBLIC_URL",
                "STATE_STORE",
                "RELAY_NAMESPACE",
                "RELAY_SECRET",
                "TWILIO_AUTH_TOKEN",
                "TWILIO_FROM",
                "ALLOWED_PHONE_NUMBERS",
                "TWILIO_API_KEY",
                "ADMIN_TOKEN",
                "QUEUE_MAX",
                "LOG_FORMAT"
            ]
        );
    }

    #[test]
    fn several_auth_tokens_may_sign() {
        let mut variables = minimal();
        variables.extend([
            ("TWILIO_ACCOUNT_SID", "AC1"),
            ("TWILIO_AUTH_TOKEN", "new, old"),
            ("TWILIO_FROM", "whatsapp:+14155238886"),
            ("ALLOWED_PHONE_NUMBERS", "+15551230000,whatsapp:US.abc"),
            ("PUBLIC_URL", "https://relay.example.com"),
        ]);
        let twilio = Config::read(&variables).unwrap().twilio.unwrap();
        assert_eq!(twilio.auth_tokens.len(), 2);
        assert_eq!(twilio.allowed, HashSet::from(["+15551230000".to_owned(), "US.abc".to_owned()]));
    }

    #[test]
    fn a_store_is_a_file_memory_or_redis() {
        let read = |value: &'static str| {
            AdminConfig::read(&HashMap::from([("STATE_STORE", value)])).map(|config| config.store.state_store.kind())
        };
        for (value, kind) in [
            ("sqlite:/data/relay.db", "sqlite"),
            ("sqlite::memory:", "sqlite"),
            ("redis://localhost", "redis"),
            ("redis://relay:hunter2@redis.internal:6379/3", "redis"),
            ("rediss://default:p%40ss@eu1-redis.upstash.io:6379", "redis"),
        ] {
            assert_eq!(read(value), Ok(kind), "{value}");
        }
        for value in ["sqlite:", "relay.db", "redis:", "redis://", "http://localhost", "redis://:hunter2@host/main"] {
            let faults = read(value).unwrap_err();
            assert_eq!(faults[0].name, "STATE_STORE", "{value}");
            assert!(!faults[0].problem.contains("hunter2"));
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let mut variables = minimal();
        variables.insert("STATE_STORE", "redis://relay:hunter2@localhost");
        let printed = format!("{:?}", Config::read(&variables).unwrap());
        assert!(!printed.contains(SECRET) && !printed.contains("hunter2"), "{printed}");
    }
}
