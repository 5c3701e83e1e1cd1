//! The relay's program.

use std::process::ExitCode;

use anyhow::Context;
use relay_core::settings::Fault;
use relay_http::config::{Config, ProcessEnvironment};
use relay_http::{open_store, run, telemetry};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// `EX_USAGE`: the environment is not one to run in.
const BAD_CONFIG: u8 = 64;

fn main() -> ExitCode {
    let config = match Config::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(faults) => return refuse(&faults),
    };
    telemetry::start(config.log_format);
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(config: Config) -> anyhow::Result<()> {
    let store = open_store(&config.state_store)?;
    let listener =
        TcpListener::bind(config.bind).await.with_context(|| format!("RELAY_BIND: can't listen on {}", config.bind))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    run(config, store, listener, shutdown).await
}

#[expect(clippy::print_stderr, reason = "there is no log yet, and a person is looking")]
fn refuse(faults: &[Fault]) -> ExitCode {
    for fault in faults {
        eprintln!("configuration: {fault}");
    }
    ExitCode::from(BAD_CONFIG)
}
