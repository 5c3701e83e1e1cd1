//! For whoever runs the relay: `/health` (the process), `/ready` (it can do its work).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::clock;

/// 200 as long as the process answers.
pub async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// 200 when the store answers, else 503.
pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    match app.store.stats(clock::now()).await {
        Ok(stats) => (StatusCode::OK, Json(json!({ "status": "ok", "store": stats }))),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable", "store": error.to_string() })))
        }
    }
}
