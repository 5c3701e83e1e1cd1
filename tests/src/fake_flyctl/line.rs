//! flyctl's command line. An option that the command does not have is a failure, as it is with flyctl.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};

/// A command: its words, the options that take a value, those that don't.
const COMMANDS: [(&str, &[&str], &[&str]); 24] = [
    ("auth whoami", &[], &[]),
    ("apps list", &["org"], &["json"]),
    ("apps create", &["org"], &["json"]),
    ("apps destroy", &[], &["yes"]),
    ("ips list", &["app"], &["json"]),
    ("ips allocate-v4", &["app", "region"], &["shared", "yes"]),
    ("ips allocate-v6", &["app", "region", "org", "network"], &["private"]),
    ("ips release", &["app"], &[]),
    ("volumes list", &["app"], &["json"]),
    ("volumes create", &["app", "region", "size"], &["yes"]),
    ("redis list", &["org"], &[]),
    ("redis create", &["name", "org", "region", "plan", "enable-prodpack"], &["no-replicas", "disable-eviction"]),
    ("redis status", &[], &[]),
    ("redis destroy", &[], &["yes"]),
    ("secrets list", &["app"], &["json"]),
    ("secrets import", &["app"], &["stage"]),
    ("secrets deploy", &["app"], &[]),
    ("secrets unset", &["app"], &["stage"]),
    ("tokens create deploy", &["app", "name", "expiry"], &["json"]),
    ("tokens list", &["app", "scope"], &[]),
    ("tokens revoke", &[], &[]),
    ("machine list", &["app"], &["json"]),
    ("scale count", &["app", "region"], &["yes"]),
    ("ssh console", &["app", "command"], &[]),
];
/// The one command of one word.
const DEPLOY: (&str, &[&str], &[&str]) = (
    "deploy",
    &["config", "dockerfile", "app", "primary-region", "image-label", "ha", "env"],
    &["yes", "flycast", "build-only", "push"],
);

/// A command line that flyctl would take.
#[derive(Debug)]
pub(super) struct Line {
    command: &'static str,
    words: Vec<String>,
    options: BTreeMap<String, String>,
    /// Of the one option that may be given several times.
    env: BTreeMap<String, String>,
}

impl Line {
    pub(super) fn parse(words: &[String]) -> anyhow::Result<Self> {
        let starts = |command: &str| {
            let mut parts = command.split(' ');
            parts.clone().count() <= words.len() && parts.by_ref().zip(words).all(|(part, word)| part == word)
        };
        let known = COMMANDS.into_iter().chain([DEPLOY]).find(|(command, ..)| starts(command));
        let (command, valued, flags) = known.with_context(|| format!("unknown command {words:?}"))?;
        let mut line = Self { command, words: Vec::new(), options: BTreeMap::new(), env: BTreeMap::new() };
        let mut rest = words[command.split(' ').count()..].iter();
        while let Some(word) = rest.next() {
            let Some(option) = word.strip_prefix("--") else {
                line.words.push(word.clone());
                continue;
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) if valued.contains(&name) => (name, value.to_owned()),
                None if flags.contains(&option) => (option, String::new()),
                None if valued.contains(&option) => (option, rest.next().context("an option without a value")?.clone()),
                _ => bail!("unknown flag: {word}"),
            };
            if name == "env" {
                let (name, value) = value.split_once('=').context("an environment is NAME=VALUE")?;
                line.env.insert(name.to_owned(), value.to_owned());
                continue;
            }
            line.options.insert(name.to_owned(), value);
        }
        Ok(line)
    }

    pub(super) fn command(&self) -> &'static str {
        self.command
    }

    pub(super) fn is(&self, words: &[&str]) -> bool {
        self.command == words.join(" ")
    }

    /// The word after the command.
    pub(super) fn word(&self) -> anyhow::Result<&str> {
        self.words.first().map(String::as_str).context("an argument is missing")
    }

    pub(super) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    pub(super) fn env(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// What flyctl would ask for at a terminal.
    pub(super) fn required(&self, name: &str) -> anyhow::Result<&str> {
        self.option(name).with_context(|| format!("prompt: non interactive: --{name} must be given"))
    }
}
