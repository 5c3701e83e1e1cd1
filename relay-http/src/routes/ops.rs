//! For whoever runs the relay: `/health` (the process), `/ready` (it can do its work).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::{App, in_time};
use crate::channels::Channel;
use crate::store::reason;

/// 200 as long as the process answers.
pub async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// 200 when the store answers, with what could be better about it; else 503, with the reason.
pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let kind = app.config.store.state_store.kind();
    match in_time(app.store.health()).await {
        Ok(health) => {
            let store = json!({ "kind": kind, "concerns": health.concerns });
            let concerns: Vec<String> = app.twilio.iter().flat_map(|twilio| twilio.concerns()).collect();
            // A relay that can't send can still take messages in: nothing is lost, so it stays in rotation.
            let status = if concerns.is_empty() { "ok" } else { "degraded" };
            let channels = json!({ "twilio": { "concerns": concerns } });
            (StatusCode::OK, Json(json!({ "status": status, "store": store, "channels": channels })))
        }
        Err(error) => {
            let store = json!({ "kind": kind, "reason": reason(&error) });
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable", "store": store })))
        }
    }
}
