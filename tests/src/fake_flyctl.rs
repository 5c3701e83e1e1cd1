//! A stand-in for flyctl: keeps what would be at Fly in a file, answers as flyctl does, writes down every call, and fails at
//! the one it is told to. It is as strict as flyctl without a terminal: whatever would be asked is a failure.

pub mod commands;
mod line;
pub mod state;

use std::env;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use line::Line;
use state::State;

/// The folder of the stand-in, as its processes find it in their environment.
pub const FOLDER: &str = "FAKE_FLY_FOLDER";
/// Which call fails, counted from one, and whether it is carried out all the same: `7:undone`, `7:done`.
pub const FAILS: &str = "FAKE_FLY_FAILS";
/// What must not be in the environment of any child of the script.
const SECRETS: [&str; 4] = ["TWILIO_AUTH_TOKEN", "TWILIO_API_SECRET", "ANTHROPIC_API_KEY", "GITHUB_TOKEN"];

/// Where the state is, in the stand-in's folder.
pub fn state_path(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

/// Where the calls are, in the stand-in's folder.
pub fn calls_path(folder: &Path) -> PathBuf {
    folder.join("calls")
}

/// One call, and what flyctl prints.
pub fn call(words: &[String]) -> anyhow::Result<String> {
    let folder = PathBuf::from(env::var(FOLDER).with_context(|| format!("{FOLDER} is not set"))?);
    let line = Line::parse(words)?;
    let input = if line.is(&["secrets", "import"]) { input()? } else { Vec::new() };
    let number = write_down(&folder, words, &input)?;
    if let Some(name) = SECRETS.into_iter().find(|name| env::var_os(name).is_some()) {
        bail!("{name} is in the environment of flyctl");
    }
    let failure = env::var(FAILS).unwrap_or_default();
    let (fails_at, how) = failure.split_once(':').unwrap_or(("0", ""));
    let fails = fails_at.parse::<usize>()? == number;
    if fails && how == "undone" {
        bail!("told to fail before call {number} is carried out");
    }
    let path = state_path(&folder);
    let mut state = State::load(&path)?;
    let told = commands::carry_out(&line, &input, &mut state)?;
    state.save(&path)?;
    if fails {
        bail!("told to fail after call {number} was carried out");
    }
    Ok(told)
}

/// What `secrets import` reads: names and values.
fn input() -> anyhow::Result<Vec<(String, String)>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().map(|line| pair(line).context("secrets must be NAME=VALUE pairs")).collect()
}

/// Appends the call; values that were read are left out. Its number comes back.
fn write_down(folder: &Path, words: &[String], input: &[(String, String)]) -> anyhow::Result<usize> {
    let mut text = format!("flyctl {}", words.join(" "));
    for (name, _) in input {
        write!(text, " < {name}=***")?;
    }
    let path = calls_path(folder);
    writeln!(OpenOptions::new().create(true).append(true).open(&path)?, "{text}")?;
    Ok(fs::read_to_string(&path)?.lines().count())
}
