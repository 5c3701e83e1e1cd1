//! How a process reads its settings: from an environment that a test can replace, all of them before any fault is
//! reported, so that a bad configuration is told whole. Used by the configuration of relay and VM agent.

use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;

/// Where settings come from. The core itself never reads the process's environment.
pub trait Environment {
    /// The value of `name`, if it is set.
    fn value(&self, name: &str) -> Option<String>;
}

impl Environment for HashMap<&str, &str> {
    fn value(&self, name: &str) -> Option<String> {
        self.get(name).map(|&value| value.to_owned())
    }
}

/// A setting that is missing or cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct Fault {
    /// The variable.
    pub name: &'static str,
    /// What is wrong with it, and what to do.
    pub problem: String,
}

/// A secret shorter than this could be guessed.
pub const SECRET_CHARS_MIN: usize = 32;

/// Reads settings and gathers what is wrong with them. A reading that fails gives `None` and is a fault; the caller goes on
/// reading, and looks at the faults when it is through.
pub struct Reader<'a> {
    environment: &'a dyn Environment,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    /// Read everything with `read`: what it makes, or every fault.
    pub fn read<T>(
        environment: &'a dyn Environment,
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Result<T, Vec<Fault>> {
        let mut reader = Self { environment, faults: Vec::new() };
        match read(&mut reader) {
            Some(config) if reader.faults.is_empty() => Ok(config),
            _ => Err(reader.faults),
        }
    }

    /// The value, if there is one. An empty variable counts as absent: that is how most tools clear one.
    pub fn value(&self, name: &str) -> Option<String> {
        self.environment.value(name).filter(|value| !value.is_empty())
    }

    /// The value, which must be there.
    pub fn required(&mut self, name: &'static str) -> Option<String> {
        let value = self.value(name);
        if value.is_none() {
            self.fault::<()>(name, "required, but not set");
        }
        value
    }

    /// The value, or `default`, as a `T`.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &'static str, default: &str) -> Option<T> {
        let text = self.value(name).unwrap_or_else(|| default.to_owned());
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => self.fault(name, format!("cannot be used: {error}")),
        }
    }

    /// The value as a `T`, if there is one.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Option<T> {
        self.value(name).and_then(|text| self.parsed(name, &text))
    }

    /// A duration in milliseconds.
    pub fn millis(&mut self, name: &'static str, default: Duration) -> Option<Duration> {
        self.parsed(name, &default.as_millis().to_string()).map(Duration::from_millis)
    }

    /// An http or https address; a fault when there is neither one nor a default.
    pub fn url(&mut self, name: &'static str, default: Option<&str>) -> Option<Url> {
        let text = match default {
            Some(default) => self.value(name).unwrap_or_else(|| default.to_owned()),
            None => self.required(name)?,
        };
        match Url::parse(&text) {
            // Twilio leaves them out of what it signs, and they would show wherever the address does.
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                self.fault(name, "must not hold a user name or password")
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Some(url),
            _ => self.fault(name, "must be an http or https address"),
        }
    }

    /// A secret of at least [`SECRET_CHARS_MIN`] characters.
    pub fn secret(&mut self, name: &'static str) -> Option<SecretString> {
        let secret = self.required(name)?;
        if secret.chars().count() < SECRET_CHARS_MIN {
            return self.fault(name, format!("must have at least {SECRET_CHARS_MIN} characters"));
        }
        Some(secret.into())
    }

    /// Values separated by commas; at least one.
    pub fn list(&mut self, name: &'static str) -> Option<Vec<String>> {
        let text = self.required(name)?;
        let items: Vec<String> =
            text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect();
        if items.is_empty() { self.fault(name, "holds nothing but commas") } else { Some(items) }
    }

    /// Note a fault; always `None`.
    pub fn fault<T>(&mut self, name: &'static str, problem: impl Into<String>) -> Option<T> {
        self.faults.push(Fault { name, problem: problem.into() });
        None
    }
}
