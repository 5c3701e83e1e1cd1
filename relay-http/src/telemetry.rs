//! The log: one line an event, to standard output. `RUST_LOG` chooses what is written.

use std::io::{IsTerminal, stdout};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

const DEFAULT: &str = "info";
/// The client of Redis.
const CLIENT: &str = "fred";

/// Start writing the log.
pub fn start(format: LogFormat) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(&std::env::var("RUST_LOG").unwrap_or_default()))
        .with_target(false)
        .with_ansi(stdout().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// What the client of Redis says of each of its connections, the store says once and in our own words; whoever wants all of
/// it names `fred`.
fn filter(asked: &str) -> EnvFilter {
    let asked = if EnvFilter::try_new(asked).is_ok() && !asked.is_empty() { asked } else { DEFAULT };
    if asked.contains(CLIENT) { EnvFilter::new(asked) } else { EnvFilter::new(format!("{asked},{CLIENT}=off")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_of_redis_speaks_only_when_it_is_asked() {
        let text = |asked| filter(asked).to_string();
        assert_eq!(text(""), "fred=off,info");
        assert_eq!(text("no filter=="), "fred=off,info");
        assert_eq!(text("debug"), "fred=off,debug");
        assert_eq!(text("info,fred=trace"), "fred=trace,info");
    }
}
