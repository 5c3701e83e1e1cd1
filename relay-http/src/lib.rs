//! The relay process: takes webhooks in, drives conversations, carries effects out.

pub mod admin;
pub mod app;
pub mod channels;
pub mod clock;
pub mod config;
pub mod directory;
pub mod error;
pub mod guests;
pub mod http;
pub mod identity;
pub mod links;
pub mod listener;
pub mod metrics;
pub mod notes;
pub mod presence;
pub mod requests;
pub mod review;
pub mod router;
pub mod routes;
pub mod server;
pub mod store;
pub mod streams;
pub mod transcription;
pub mod viewers;
pub mod vm;
pub mod web;
pub mod worker;

use std::pin::pin;
use std::sync::Arc;

use anyhow::Context;
use config::Config;
use listener::{ClosingListener, lingered};
use relay_core::store::Store;
use relay_core::telemetry::metrics::Metrics;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use app::App;

/// Held conversations that may wait for the worker; one more waits for its lease to run out.
const TURNS_WAITING_MAX: usize = 1024;

/// Serve on `listener` until `shutdown` completes, then give everything back within the grace period: first the requests in
/// flight are answered, then the turns end.
pub async fn run(
    config: Config,
    metrics: Metrics,
    store: Arc<dyn Store>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let grace = config.shutdown_grace;
    let (turns, held) = mpsc::channel(TURNS_WAITING_MAX);
    let app = Arc::new(App::new(config, metrics, store, turns)?);
    let (stopping, drain) = (app.stopping.clone(), CancellationToken::new());
    let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let (worker, draining) = (Arc::clone(&app), drain.clone());
    tasks.spawn(async move { Ok(worker::run(worker, held, draining).await?) });
    if let Some(at) = app.config.metrics_bind {
        let metrics = TcpListener::bind(at).await.with_context(|| format!("METRICS_BIND: can't listen on {at}"))?;
        let (app, drain) = (Arc::clone(&app), drain.clone());
        tasks.spawn(async move { Ok(metrics::serve(app, metrics, drain).await?) });
    }
    tracing::info!("listening on {}", listener.local_addr()?);
    let listener = ClosingListener::new(listener, stopping.clone())?;
    let mut server = pin!(server::serve(listener, router::router(app), lingered(stopping.clone())));

    tokio::select! {
        () = shutdown => {}
        () = &mut server => {}
        Some(ended) = tasks.join_next() => ended??,
    }
    tracing::info!(grace_ms = grace.as_millis(), "stopping");
    stopping.cancel();
    let finished = tokio::time::timeout(grace, async {
        // A caller who stopped in the middle of a request must not keep the turns from being given back.
        let _ = tokio::time::timeout(grace / 2, server).await;
        drain.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    });
    match finished.await {
        Ok(ended) => ended.inspect(|()| tracing::info!("stopped")),
        Err(_) => {
            tracing::warn!("the grace period ran out; what is held is taken over when its lease ends");
            Ok(())
        }
    }
}
