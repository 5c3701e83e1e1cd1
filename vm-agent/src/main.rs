//! `vm-agent` serves; `vm-agent supervise …` is what it starts for each run, and `vm-agent inside …` what begins in the run's sandbox
//! (see `vm_agent::supervise`).

use std::io;
use std::process::ExitCode;

use relay_core::settings::Fault;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use tracing_subscriber::EnvFilter;
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
    log_to_standard_error();
    hide_from_other_processes();
    let config = match Config::read(&ProcessEnvironment) {
        Ok(config) => config,
        Err(faults) => return misconfigured(&faults),
    };
    let served = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from);
    let served = served.and_then(|runtime| {
        let served = runtime.block_on(server::serve(config));
        // What was not done within the grace period is not waited for.
        runtime.shutdown_background();
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Let no other process of this user, above all no agent, read this one's environment and memory, which hold its secrets.
/// Root still can. A supervisor has nothing to hide: its environment is its agent's.
fn hide_from_other_processes() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "other processes of this user may read the secrets of this one");
    }
}

fn log_to_standard_error() {
    // What the client of Redis says of each of its connections is said once and in our own words.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let filter = filter.add_directive("fred=off".parse().expect("a directive"));
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(io::stderr).init();
}

fn misconfigured(faults: &[Fault]) -> ExitCode {
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
