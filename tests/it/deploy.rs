//! What a deployment is made of: the images, what Fly.io and compose are told, and the proxy in front.

mod compose;
mod fly;
mod fly_sh;
mod fly_toml;
mod images;
mod rolling;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// This file or folder of the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The settings of one program: those in the README's table below this heading.
fn settings_of(program: &str) -> BTreeSet<String> {
    let readme = read("README.md");
    let table = readme.split(&format!("\n### {program}\n")).nth(1).and_then(|rest| rest.split("\n#").next());
    let rows = table.expect("the README has a table for each program").lines().filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| row.split('|').nth(1))
        .flat_map(|names| names.split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// Whether a setting of this name holds what nobody else may know, or whom a deployment is for.
fn is_secret(name: &str) -> bool {
    const OTHERS: [&str; 4] =
        ["STATE_STORE", "ALLOWED_PHONE_NUMBERS", "TWILIO_ACCOUNT_SID", "OTEL_EXPORTER_OTLP_HEADERS"];
    OTHERS.contains(&name) || ["SECRET", "TOKEN", "KEY", "PASSWORD"].iter().any(|word| name.contains(word))
}
