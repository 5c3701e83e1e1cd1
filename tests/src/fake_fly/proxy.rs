//! The private proxy of the app: passes a request to the machine that it names, and starts that first if it is stopped.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use reqwest::Client;

use super::machines::Machines;
use crate::server::{Received, empty};

/// The proxy gives up after this.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) async fn pass(machines: &Arc<Machines>, request: Received) -> Response {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    let Some(url) = reach(machines, &request).await else { return empty(502) };
    let mut headers = request.headers.clone();
    headers.remove("host");
    let url = format!("{url}{}", request.path);
    let client = CLIENT.get_or_init(Client::new);
    let passed = client.request(request.method, url).headers(headers).body(request.body).send().await;
    let Ok(answer) = passed else { return empty(502) };
    let (status, content_type) = (answer.status(), answer.headers().get("content-type").cloned());
    let Ok(body) = answer.bytes().await else { return empty(502) };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert("content-type", content_type);
    }
    response
}

async fn reach(machines: &Arc<Machines>, request: &Received) -> Option<String> {
    machines.reach(request.header("fly-force-instance-id")?, PATIENCE).await
}
