//! What the environment says, parsed once and whole: a bad configuration is reported with all its faults.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use relay_core::machine::Rules;
use secrecy::SecretString;
use url::Url;

/// Where variables come from: the process environment, or a map in tests.
pub trait Environment {
    /// The variable's value, if it is set and not empty.
    fn var(&self, name: &str) -> Option<String>;
}

/// The process environment.
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

/// Everything a relay is told from outside.
#[derive(Clone, Debug)]
pub struct Config {
    /// `RELAY_BIND`: the address to listen on.
    pub bind: SocketAddr,
    /// `PUBLIC_URL`: how the world reaches this relay. Signatures and picture addresses are built on it.
    pub public_url: Url,
    /// `STATE_STORE`: `sqlite:PATH` or `sqlite::memory:`.
    pub state_store: StateStore,
    /// `RELAY_SECRET`: names conversations and pictures. Another one makes every conversation start anew.
    pub relay_secret: SecretString,
    /// `VM_URL`: where the VM's agent answers.
    pub vm_url: Url,
    /// `VM_SECRET`: signs both ways between relay and VM.
    pub vm_secret: SecretString,
    /// Present when `TWILIO_ACCOUNT_SID` is set.
    pub twilio: Option<TwilioConfig>,
    /// `CONSOLE_TOKEN`: opens the console to other machines than this one.
    pub console_token: Option<SecretString>,
    /// `APPROVAL_TIMEOUT_MS`, `QUEUE_MAX`, `VM_PATIENCE_MS`: the machine's limits.
    pub rules: Rules,
    /// `SHUTDOWN_GRACE_MS`: how long a stopping relay finishes what it holds.
    pub shutdown_grace: Duration,
    /// `LOG_FORMAT`: `text` or `json`.
    pub log_format: LogFormat,
}

/// Which store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateStore {
    /// A SQLite file.
    SqliteFile(PathBuf),
    /// SQLite in memory: gone with the process.
    SqliteMemory,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// WhatsApp by way of Twilio.
#[derive(Clone, Debug)]
pub struct TwilioConfig {
    /// `TWILIO_ACCOUNT_SID`
    pub account_sid: String,
    /// `TWILIO_AUTH_TOKEN`: one, or several with commas while one is being replaced; any of them may sign a webhook.
    pub auth_tokens: Vec<SecretString>,
    /// `TWILIO_API_KEY` and `TWILIO_API_SECRET`: used for sending instead of the auth token.
    pub api_key: Option<(String, SecretString)>,
    /// `TWILIO_FROM`: our sender, `whatsapp:+…`.
    pub from: String,
    /// `TWILIO_API_URL`
    pub api_url: Url,
    /// `ALLOWED_PHONE_NUMBERS`: who may write, with commas; `+…` or `whatsapp:…`.
    pub allowed: Vec<String>,
}

/// A fault of the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {why}")]
pub struct ConfigFault {
    /// The variable.
    pub name: &'static str,
    /// What is wrong with it.
    pub why: String,
}

const SECRET_CHARS_MIN: usize = 32;

impl Config {
    /// Parse all of it, or say everything that is wrong.
    pub fn parse(environment: &impl Environment) -> Result<Self, Vec<ConfigFault>> {
        let mut reader = Reader { environment, faults: Vec::new() };
        let config = reader.config();
        match config {
            Some(config) if reader.faults.is_empty() => Ok(config),
            _ => Err(reader.faults),
        }
    }
}

struct Reader<'a, E> {
    environment: &'a E,
    faults: Vec<ConfigFault>,
}

impl<E: Environment> Reader<'_, E> {
    fn config(&mut self) -> Option<Config> {
        // Every variable is read before any is found missing, so that all faults are reported.
        let bind = self.parsed("RELAY_BIND", Some("[::]:3000"));
        let twilio_sid = self.environment.var("TWILIO_ACCOUNT_SID");
        let public_url = match (&twilio_sid, self.environment.var("PUBLIC_URL")) {
            (Some(_), None) => self.fault("PUBLIC_URL", "required with Twilio: the https address that Twilio calls"),
            (_, url) => self.url("PUBLIC_URL", &url.unwrap_or_else(|| "http://localhost:3000".into())),
        };
        let state_store = self.state_store();
        let relay_secret = self.secret("RELAY_SECRET");
        let vm_url = self.required("VM_URL").and_then(|url| self.url("VM_URL", &url));
        let vm_secret = self.secret("VM_SECRET");
        let twilio = match twilio_sid {
            Some(account_sid) => self.twilio(account_sid).map(Some),
            None => Some(None),
        };
        let rules = self.rules();
        let shutdown_grace = self.millis("SHUTDOWN_GRACE_MS", Duration::from_secs(20));
        let log_format = match self.environment.var("LOG_FORMAT").as_deref() {
            None | Some("text") => Some(LogFormat::Text),
            Some("json") => Some(LogFormat::Json),
            Some(_) => self.fault("LOG_FORMAT", "must be text or json"),
        };
        Some(Config {
            bind: bind?,
            public_url: public_url?,
            state_store: state_store?,
            relay_secret: relay_secret?,
            vm_url: vm_url?,
            vm_secret: vm_secret?,
            twilio: twilio?,
            console_token: self.environment.var("CONSOLE_TOKEN").map(SecretString::from),
            rules: rules?,
            shutdown_grace: shutdown_grace?,
            log_format: log_format?,
        })
    }

    fn twilio(&mut self, account_sid: String) -> Option<TwilioConfig> {
        let auth_tokens = self.required("TWILIO_AUTH_TOKEN").map(|tokens| list(&tokens));
        let from = self.required("TWILIO_FROM");
        let allowed = self.required("ALLOWED_PHONE_NUMBERS").map(|numbers| list(&numbers));
        let api_url = self.environment.var("TWILIO_API_URL").unwrap_or_else(|| "https://api.twilio.com".into());
        let api_url = self.url("TWILIO_API_URL", &api_url);
        let api_key = match (self.environment.var("TWILIO_API_KEY"), self.environment.var("TWILIO_API_SECRET")) {
            (Some(key), Some(secret)) => Some(Some((key, SecretString::from(secret)))),
            (None, None) => Some(None),
            _ => self.fault("TWILIO_API_KEY", "goes with TWILIO_API_SECRET: set both or neither"),
        };
        Some(TwilioConfig {
            account_sid,
            auth_tokens: auth_tokens?.into_iter().map(SecretString::from).collect(),
            api_key: api_key?,
            from: from?,
            api_url: api_url?,
            allowed: allowed?,
        })
    }

    fn rules(&mut self) -> Option<Rules> {
        let default = Rules::default();
        let approval_timeout = self.millis("APPROVAL_TIMEOUT_MS", default.approval_timeout);
        let vm_patience = self.millis("VM_PATIENCE_MS", default.vm_patience);
        let queue_max = self.parsed("QUEUE_MAX", Some(&default.queue_max.to_string()));
        Some(Rules { approval_timeout: approval_timeout?, vm_patience: vm_patience?, queue_max: queue_max?, ..default })
    }

    fn state_store(&mut self) -> Option<StateStore> {
        let value = self.environment.var("STATE_STORE").unwrap_or_else(|| "sqlite:textslash.db".into());
        match value.strip_prefix("sqlite:") {
            Some(":memory:") => Some(StateStore::SqliteMemory),
            Some(path) if !path.is_empty() => Some(StateStore::SqliteFile(PathBuf::from(path))),
            _ => self.fault("STATE_STORE", "must be sqlite:PATH or sqlite::memory:"),
        }
    }

    fn required(&mut self, name: &'static str) -> Option<String> {
        match self.environment.var(name) {
            Some(value) => Some(value),
            None => self.fault(name, "required, but not set"),
        }
    }

    fn secret(&mut self, name: &'static str) -> Option<SecretString> {
        let value = self.required(name)?;
        if value.len() < SECRET_CHARS_MIN {
            return self.fault(name, format!("must have at least {SECRET_CHARS_MIN} characters"));
        }
        Some(SecretString::from(value))
    }

    fn url(&mut self, name: &'static str, value: &str) -> Option<Url> {
        match Url::parse(value) {
            // Twilio leaves them out of what it signs, and they would show in every picture's address.
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.fault(name, "must not hold a user name or password")
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            _ => self.fault(name, "must be an http or https address"),
        }
    }

    fn millis(&mut self, name: &'static str, default: Duration) -> Option<Duration> {
        self.parsed::<u64>(name, Some(&default.as_millis().to_string())).map(Duration::from_millis)
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, name: &'static str, default: Option<&str>) -> Option<T> {
        let value = match (self.environment.var(name), default) {
            (Some(value), _) => value,
            (None, Some(default)) => default.to_owned(),
            (None, None) => return self.fault(name, "required, but not set"),
        };
        match value.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => self.fault(name, error.to_string()),
        }
    }

    fn fault<T>(&mut self, name: &'static str, why: impl Into<String>) -> Option<T> {
        self.faults.push(ConfigFault { name, why: why.into() });
        None
    }
}

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    struct Map(HashMap<&'static str, &'static str>);

    impl Environment for Map {
        fn var(&self, name: &str) -> Option<String> {
            self.0.get(name).map(|&value| value.to_owned())
        }
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn minimal() -> HashMap<&'static str, &'static str> {
        HashMap::from([("RELAY_SECRET", SECRET), ("VM_SECRET", SECRET), ("VM_URL", "http://127.0.0.1:3001")])
    }

    fn faults(variables: HashMap<&'static str, &'static str>) -> Vec<&'static str> {
        Config::parse(&Map(variables)).unwrap_err().into_iter().map(|fault| fault.name).collect()
    }

    #[test]
    fn a_minimal_environment_is_enough() {
        let config = Config::parse(&Map(minimal())).unwrap();
        assert!(config.twilio.is_none());
        assert_eq!(config.rules, Rules::default());
        assert_eq!(config.state_store, StateStore::SqliteFile("textslash.db".into()));
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        assert_eq!(faults(HashMap::new()), ["RELAY_SECRET", "VM_URL", "VM_SECRET"]);
        let mut bad = minimal();
        bad.extend([
            ("RELAY_BIND", "nowhere"),
            ("RELAY_SECRET", "short"),
            ("STATE_STORE", "postgres://x"),
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
                "RELAY_SECRET",
                "TWILIO_AUTH_TOKEN",
                "TWILIO_FROM",
                "ALLOWED_PHONE_NUMBERS",
                "TWILIO_API_KEY",
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
        let twilio = Config::parse(&Map(variables)).unwrap().twilio.unwrap();
        assert_eq!(twilio.auth_tokens.len(), 2);
        assert_eq!(twilio.allowed, ["+15551230000", "whatsapp:US.abc"]);
    }

    #[test]
    fn secrets_do_not_print() {
        assert!(!format!("{:?}", Config::parse(&Map(minimal())).unwrap()).contains(SECRET));
    }
}
