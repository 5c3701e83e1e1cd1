//! The log: one line an event, to standard output. `RUST_LOG` chooses what is written.

use std::io::{IsTerminal, stdout};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Start writing the log.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_target(false).with_ansi(stdout().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
