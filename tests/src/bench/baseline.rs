//! What a relay is held against: the least that takes a webhook in honestly. axum, the signature, one script call that
//! deduplicates and appends, the answer. It never looks at what it has stored.
//!
//! Runs in a process of its own; the benchmark starts it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use fred::prelude::*;
use fred::types::scripts::Script;
use serde_json::json;
use tokio::net::TcpListener;

use super::webhooks::{AUTH_TOKEN, PUBLIC_URL};
use crate::twilio::signature;

const INGEST: &str = include_str!("baseline.lua");
const LEASE_MS: &str = "10000";

struct Baseline {
    redis: Client,
    ingest: Script,
}

/// Serve on `bind`, with `redis_url` as its store, until killed.
///
/// # Errors
/// When Redis does not answer at the start, or the address is taken.
pub async fn serve(bind: SocketAddr, redis_url: &str) -> anyhow::Result<()> {
    let redis = Builder::from_config(Config::from_url(redis_url)?)
        .with_connection_config(|connection| {
            connection.max_command_attempts = 1;
            connection.tcp.nodelay = Some(true);
        })
        .build()?;
    redis.init().await?;
    let ingest = Script::from_lua(INGEST);
    ingest.load(&redis).await?;
    let app = Router::new()
        .route("/webhook", post(receive))
        .route("/ready", get(async || StatusCode::OK))
        .with_state(Arc::new(Baseline { redis, ingest }));
    axum::serve(TcpListener::bind(bind).await?, app).await?;
    Ok(())
}

async fn receive(State(app): State<Arc<Baseline>>, headers: HeaderMap, body: Bytes) -> Response {
    let params: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
    let params: Vec<(&str, &str)> = params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = signature(AUTH_TOKEN, &format!("{PUBLIC_URL}/webhook"), &params);
    if headers.get("x-twilio-signature").is_none_or(|claimed| claimed.as_bytes() != expected.as_bytes()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let param = |name: &str| params.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| *value);
    match ingest(&app, param("From"), param("MessageSid"), param("Body")).await {
        Ok(()) => ([(header::CONTENT_TYPE, "text/xml")], "<Response/>").into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn ingest(app: &Baseline, from: &str, id: &str, text: &str) -> Result<(), Error> {
    let event = json!({ "id": id, "from": from, "text": text }).to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
    let keys = vec![
        format!("{{baseline}}:c:{from}"),
        format!("{{baseline}}:inbox:{from}"),
        "{baseline}:seen".to_owned(),
        "{baseline}:due".to_owned(),
    ];
    let args = vec![id, &event, "baseline", &now, LEASE_MS, from];
    app.ingest.evalsha::<Value, _, _, _>(&app.redis, keys, args).await.map(drop)
}
