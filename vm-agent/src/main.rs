//! `vm-agent` serves; `vm-agent supervise …` is what it starts for each run, and `vm-agent inside …` what begins in the run's sandbox
//! (see `vm_agent::supervise`).

use std::io;
use std::process::ExitCode;

use relay_core::settings::Fault;
use relay_core::telemetry::{Exporter, Identity, logs};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use vm_agent::config::{Config, ProcessEnvironment};
use vm_agent::server;
use vm_agent::supervise::inside::{self, INSIDE};
use vm_agent::supervise::{SUPERVISE, supervisor};

/// `EX_USAGE` of sysexits.h: the configuration has to be changed first.
const EXIT_CONFIG: u8 = 64;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(word) if word == SUPERVISE => supervisor::main(args),
        Some(word) if word == INSIDE => inside::main(args),
        Some(_) => usage(),
        None => serve(),
    }
}

fn serve() -> ExitCode {
    // First of all: no other process of this user, above all no agent, may read this one's environment and memory, which hold its
    // secrets. Root still can. A supervisor has nothing to hide: its environment is its agent's.
    let hidden = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let config = match Config::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(faults) => return misconfigured(&faults),
    };
    let version = env!("CARGO_PKG_VERSION");
    let identity = Identity { service: "textslash-vm", version, instance: config.instance.clone() };
    let exporter = match config.sampling.as_ref().map(|sampling| Exporter::start(&identity, sampling)).transpose() {
        Ok(exporter) => exporter,
        Err(error) => return misconfigured(&[unusable_endpoint(&error)]),
    };
    logs::start(config.log_format, &std::env::var("RUST_LOG").unwrap_or_default(), io::stderr, exporter.as_ref());
    if let Err(error) = hidden {
        tracing::warn!(%error, "other processes of this user may read the secrets of this one");
    }
    let served = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from);
    let served = served.and_then(|runtime| {
        let served = runtime.block_on(server::serve(config, &identity));
        // What was not done within the grace period is not waited for.
        runtime.shutdown_background();
        served
    });
    if let Err(error) = &served {
        tracing::error!("{error:#}");
    }
    if let Some(exporter) = exporter {
        exporter.end();
    }
    if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn unusable_endpoint(error: &impl std::fmt::Display) -> Fault {
    Fault { name: "OTEL_EXPORTER_OTLP_ENDPOINT", problem: format!("cannot be used: {error}") }
}

fn misconfigured(faults: &[Fault]) -> ExitCode {
    tracing_subscriber::fmt().with_ansi(false).with_writer(io::stderr).init();
    for fault in faults {
        tracing::error!("{fault}");
    }
    ExitCode::from(EXIT_CONFIG)
}

fn usage() -> ExitCode {
    tracing_subscriber::fmt().with_ansi(false).with_writer(io::stderr).init();
    tracing::error!("vm-agent takes no arguments; it is configured by environment variables");
    ExitCode::from(EXIT_CONFIG)
}
