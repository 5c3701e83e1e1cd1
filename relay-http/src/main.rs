//! The relay's program: `relay` runs one, `relay admin` looks into what relays keep.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use relay_core::settings::Fault;
use relay_core::telemetry::metrics::Metrics;
use relay_core::telemetry::{Exporter, Identity, logs};
use relay_http::admin::{self, Admin};
use relay_http::config::{AdminConfig, Config, ProcessEnvironment};
use relay_http::{run, store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// `EX_USAGE`: the environment is not one to run in.
const BAD_CONFIG: u8 = 64;

/// Runs a relay of Textslash. Its settings are environment variables; README.md lists them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Look into the store, and mend what is stuck. Needs STATE_STORE and RELAY_NAMESPACE as the relays have them.
    #[command(subcommand)]
    Admin(Admin),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        None => run_relay(),
        Some(Command::Admin(command)) => run_admin(command),
    }
}

fn run_relay() -> ExitCode {
    let config = match Config::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(faults) => return refuse(&faults),
    };
    let identity =
        Identity { service: "textslash-relay", version: env!("CARGO_PKG_VERSION"), instance: config.instance.clone() };
    let exporter = match config.sampling.as_ref().map(|sampling| Exporter::start(&identity, sampling)).transpose() {
        Ok(exporter) => exporter,
        Err(error) => return refuse(&[unusable_endpoint(&error)]),
    };
    logs::start(config.log_format, &std::env::var("RUST_LOG").unwrap_or_default(), std::io::stdout, exporter.as_ref());
    let served = serve(config, &identity);
    if let Err(error) = &served {
        tracing::error!("{error:#}");
    }
    if let Some(exporter) = exporter {
        exporter.end();
    }
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[tokio::main]
async fn run_admin(command: Admin) -> ExitCode {
    let config = match AdminConfig::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(faults) => return refuse(&faults),
    };
    match admin::run(command, &config).await {
        Ok(report) => {
            // Whoever has read enough may close the pipe.
            let _ = std::io::stderr().write_all(report.aside.as_bytes());
            let _ = std::io::stdout().write_all(report.text.as_bytes());
            if report.is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn serve(config: Config, identity: &Identity) -> anyhow::Result<()> {
    let metrics = if config.metrics_bind.is_some() { Metrics::new(identity) } else { Metrics::off() };
    let opened = store::open(&config.store, &metrics)?;
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
    run(config, metrics, opened.store.clone(), listener, shutdown).await
}

fn unusable_endpoint(error: &impl std::fmt::Display) -> Fault {
    Fault { name: "OTEL_EXPORTER_OTLP_ENDPOINT", problem: format!("cannot be used: {error}") }
}

#[expect(clippy::print_stderr, reason = "there is no log yet, and a person is looking")]
fn refuse(faults: &[Fault]) -> ExitCode {
    for fault in faults {
        eprintln!("configuration: {fault}");
    }
    ExitCode::from(BAD_CONFIG)
}
