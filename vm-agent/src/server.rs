//! The process: what is opened, started and, at the end, stopped.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use relay_core::telemetry::Identity;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, DriverConfig, EventsConfig, GitHubConfig, SandboxConfig};
use crate::driver::AgentDriver;
use crate::driver::acp::{self, Acp};
use crate::driver::claude::{Claude, Settings};
use crate::driver::demo::Demo;
use crate::fence::Fences;
use crate::files;
use crate::github::GitHub;
use crate::images::Images;
use crate::journal::Journal;
use crate::metrics;
use crate::render::Renderer;
use crate::report::{Callback, Outlet, Published, Reporter};
use crate::repositories::Repositories;
use crate::reviews::Reviews;
use crate::routes::{App, LastRequest, router};
use crate::runs::{Runs, Surroundings};
use crate::supervise::Supervision;
use crate::supervise::cgroup::CgroupUse;
use crate::supervise::confinement::Confinement;
use crate::supervise::inside::Inside;
use crate::supervise::sandbox::{Network, Sandbox};
use crate::uploads::Uploads;
use crate::volume::Volume;
use crate::waiting;

/// How often what stands is measured.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);
/// How often an idle process looks at the time.
const IDLE_POLL: Duration = Duration::from_millis(250);
/// How often the end of the process looks whether everything was delivered.
const DELIVERED_POLL: Duration = Duration::from_millis(20);

/// Serve until a signal or idleness ends the process. Everything that was accepted is in the journal by then.
pub async fn serve(config: Config, identity: &Identity) -> anyhow::Result<()> {
    metrics::begin(identity, config.driver.name());
    let (idle_timeout, grace) = (config.idle_timeout, config.shutdown_grace);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(config.bind).await.with_context(|| format!("cannot listen on {}", config.bind))?;
    if let Some(at) = config.metrics_bind {
        let metrics = TcpListener::bind(at).await.with_context(|| format!("METRICS_BIND: cannot listen on {at}"))?;
        tokio::spawn(metrics::serve(metrics));
    }
    let volume = Volume::new(config.data_dir.clone());
    let listener = listener.into_std()?;
    tokio::select! {
        waited = waiting::until_usable(&volume, &listener, &config.secret) => waited?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    }
    let listener = TcpListener::from_std(listener)?;
    let (runs, isolation) = open_runs(&config, volume.clone()).await?;
    let reporter = Reporter::new(runs.clone(), outlet(&config)?);
    let fences = Fences::open(config.data_dir.join("fences.json")).context("cannot read the fences")?;
    let last_request = LastRequest::now();
    let app = Arc::new(App {
        runs: runs.clone(),
        untaken: reporter.untaken(),
        fences,
        secret: config.secret,
        volume,
        isolation,
        last_request,
    });

    tokio::spawn(measure(app.clone()));
    runs.recover();
    tokio::spawn(reporter.run());
    tokio::spawn({
        let runs = runs.clone();
        async move { runs.clone_first_repository().await }
    });
    tracing::info!("listening on {}", listener.local_addr()?);
    let closing = CancellationToken::new();
    let server = axum::serve(listener, router(app.clone())).with_graceful_shutdown(closing.clone().cancelled_owned());
    let server = tokio::spawn(server.into_future());

    tokio::select! {
        _ = interrupt.recv() => tracing::info!("interrupted"),
        _ = terminate.recv() => tracing::info!("told to end"),
        () = idleness(&app, idle_timeout) => tracing::info!("idle"),
    }
    closing.cancel();
    if tokio::time::timeout(grace, wind_up(&runs, server)).await.is_err() {
        tracing::warn!("not everything was wound up in time; the journal has the rest");
    }
    Ok(())
}

/// The runs, and how their agents are isolated, in words.
async fn open_runs(config: &Config, volume: Volume) -> anyhow::Result<(Runs, String)> {
    let agent = config.confinement.user;
    match agent {
        Some(_) => files::let_pass(&config.data_dir).context("cannot let the agent pass through DATA_DIR")?,
        None => tracing::warn!("the agent runs as the user of this process and can reach what that can; see AGENT_UID"),
    }
    let inside = Inside::open().context("this program can't be opened")?;
    let sandbox = sandbox(config, &inside).await;
    let words = sandbox.as_ref().map_or("no sandbox", |sandbox| match sandbox.network() {
        Network::Listed => "a sandbox with a network of listed hosts",
        Network::Open => "a sandbox with the machine's network",
    });
    let confinement = Confinement { cgroup: cgroups(), ..config.confinement };
    let isolation = format!("{}, {words}", confinement.in_words());
    tracing::info!("the agent has {isolation}");
    let github = match &config.github {
        Some(GitHubConfig { token, api_url, web_url }) => {
            Some(GitHub::new(token.clone(), api_url.clone(), web_url.clone()).context("cannot prepare for GitHub")?)
        }
        None => None,
    };
    // The program as it is running, also when its file was replaced meanwhile.
    let supervision =
        Supervision::new("/proc/self/exe".into(), confinement, inside, sandbox, config.sandbox.allowed.clone());
    let supervision = supervision.context("cannot adopt what agents leave behind")?;
    let surroundings = Surroundings {
        renderer: Renderer::new(supervision.clone(), config.chromium.clone(), config.search_path.clone()),
        driver: driver(config, supervision),
        volume,
        repositories: Repositories::new(config.data_dir.clone(), github.clone(), agent),
        repo_url: config.repo_url.clone(),
        github,
        images: Images::open(config.images_dir.clone()).context("cannot open IMAGES_DIR")?,
        reviews: Reviews::open(config.data_dir.join("reviews")).context("cannot make a directory for reviews")?,
        uploads: Uploads::open(config.data_dir.join("files"), agent).context("cannot make a directory for files")?,
        run_timeout: config.run_timeout,
    };
    let journal = Journal::open(config.data_dir.join("runs")).context("cannot read the journal of runs")?;
    Ok((Runs::new(journal, surroundings), isolation))
}

/// Machines without are usual: containers have theirs to read alone.
fn cgroups() -> Option<CgroupUse> {
    let found = CgroupUse::find();
    found.inspect_err(|reason| tracing::info!(reason, "runs have no control groups; they are swept all the same")).ok()
}

/// Less than what is usual is said.
async fn sandbox(config: &Config, inside: &Inside) -> Option<Sandbox> {
    let SandboxConfig { is_wanted, network, .. } = config.sandbox;
    if !is_wanted {
        tracing::warn!("AGENT_SANDBOX is off: the agent sees this machine's processes, files and network");
        return None;
    }
    if network == Network::Open {
        tracing::warn!("AGENT_NETWORK is open: the agent reaches whatever this machine reaches");
    }
    let hidden = vec![config.data_dir.clone(), config.images_dir.clone()];
    match Sandbox::new(hidden, network, config.confinement.user, inside).await {
        Ok(sandbox) => Some(sandbox),
        Err(reason) => {
            tracing::warn!(reason, "no sandbox: the agent sees this machine's processes, files and network");
            None
        }
    }
}

fn outlet(config: &Config) -> anyhow::Result<Outlet> {
    Ok(match &config.events {
        EventsConfig::Callback(relay_url) => {
            let callback = Callback::new(relay_url.clone(), config.secret.clone());
            Outlet::Callback(callback.context("cannot prepare for calls of the relay")?)
        }
        EventsConfig::Published { url, namespace } => {
            Outlet::Published(Published::open(url, namespace).context("EVENTS_URL cannot be used")?)
        }
    })
}

fn driver(config: &Config, supervision: Supervision) -> Arc<dyn AgentDriver> {
    let search_path = config.search_path.clone();
    match &config.driver {
        DriverConfig::Demo => Arc::new(Demo::new(supervision, search_path)),
        DriverConfig::Claude { program, api_key, api_url, turns_max, budget_usd, silence_timeout, model } => {
            let settings = Settings {
                program: program.clone(),
                api_key: api_key.clone(),
                api_url: api_url.clone(),
                home: config.data_dir.join("agent"),
                chromium: config.chromium.clone(),
                search_path,
                turns_max: *turns_max,
                budget_usd: *budget_usd,
                silence_timeout: *silence_timeout,
                inquiry_timeout: config.inquiry_timeout,
                model: model.clone(),
            };
            Arc::new(Claude::new(settings, supervision))
        }
        DriverConfig::Acp { command, api_key, api_url, silence_timeout } => {
            let settings = acp::Settings {
                command: command.clone(),
                api_key: api_key.clone(),
                api_url: api_url.clone(),
                home: config.data_dir.join("agent"),
                chromium: config.chromium.clone(),
                search_path,
                silence_timeout: *silence_timeout,
                inquiry_timeout: config.inquiry_timeout,
            };
            Arc::new(Acp::new(settings, supervision))
        }
    }
}

/// What is not counted when it happens is looked at now and then.
async fn measure(app: Arc<App>) {
    let mut interval = tokio::time::interval(MEASURE_INTERVAL);
    loop {
        interval.tick().await;
        metrics::metrics().stands(app.unreported(), app.volume.free_bytes().ok());
    }
}

/// Returns when nothing has been going on for `timeout`.
async fn idleness(app: &App, timeout: Option<Duration>) {
    let Some(timeout) = timeout else { return std::future::pending().await };
    let mut idle_since = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(IDLE_POLL.min(timeout)).await;
        if app.runs.is_busy() || app.unreported() > 0 {
            idle_since = tokio::time::Instant::now();
        }
        if idle_since.elapsed() >= timeout && app.last_request.age() >= timeout {
            return;
        }
    }
}

/// Answer the requests that were begun, end the run at work, and deliver what there is to report. That a relay takes what
/// was published is not waited for: it does sooner or later, see [`crate::report`].
async fn wind_up(runs: &Runs, server: tokio::task::JoinHandle<std::io::Result<()>>) {
    let (served, ()) = tokio::join!(server, runs.shut_down());
    if let Ok(Err(error)) = served {
        tracing::warn!(%error, "the server ended badly");
    }
    while runs.undelivered() > 0 {
        tokio::time::sleep(DELIVERED_POLL).await;
    }
}
