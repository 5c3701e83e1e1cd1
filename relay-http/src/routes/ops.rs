//! For whoever runs the relay: `/health` (the process), `/ready` (it can do its work).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use relay_core::store::StoreError;
use serde_json::{Value, json};

use crate::app::{App, in_time};
use crate::channels::Channel;
use crate::store::reason;

/// 200 as long as the process answers.
pub async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// 200 when the store answers and nobody has drained this relay, with what could be better about it; else 503, with the reason.
pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let kind = app.config.store.state_store.kind();
    match concerns(&app).await {
        Ok(Concerns { store, twilio }) => {
            // A relay that can't send can still take messages in: nothing is lost, so it stays in rotation.
            let (code, status) = match twilio.is_empty() {
                _ if app.presence.is_drained() => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
                true => (StatusCode::OK, "ok"),
                false => (StatusCode::OK, "degraded"),
            };
            let store = json!({ "kind": kind, "concerns": store });
            let channels = json!({ "twilio": { "concerns": twilio } });
            (code, Json(json!({ "status": status, "store": store, "channels": channels })))
        }
        Err(error) => {
            let store = json!({ "kind": kind, "reason": reason(&error) });
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable", "store": store })))
        }
    }
}

/// What could be better, one sentence each.
pub struct Concerns {
    /// About the store.
    pub store: Vec<String>,
    /// About WhatsApp.
    pub twilio: Vec<String>,
}

/// What could be better about this relay, if its store answers.
pub async fn concerns(app: &App) -> Result<Concerns, StoreError> {
    let store = in_time(app.store.health()).await?.concerns;
    Ok(Concerns { store, twilio: app.twilio.iter().flat_map(|twilio| twilio.concerns()).collect() })
}
