//! Every route and every layer, in order.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, post};
use relay_core::protocol::{BODY_BYTES_MAX, FILE_BYTES_MAX};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::timeout::TimeoutLayer;

use crate::app::App;
use crate::requests;
use crate::routes::{admin, callback, clear_text, console, images, ops, pages, review, runs, webhook};
use crate::web::assets;

/// A webhook is a short form; Twilio's own limit for a text is far below.
const WEBHOOK_BYTES_MAX: usize = 32 * 1024;
/// What a person types into the console at most.
const CONSOLE_BYTES_MAX: usize = 32 * 1024;
/// What a person asks for on the review page at most, as a form writes it.
const REVIEW_BYTES_MAX: usize = 128 * 1024;
/// A request that takes longer is given up; Twilio itself waits fifteen seconds.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A file may come over a mobile network.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(120);

/// The relay's routes.
pub fn router(app: Arc<App>) -> Router {
    // Pages come over mobile networks.
    let web = Router::new()
        .route("/assets/{file}", get(assets::serve))
        .route("/r/{signed}", get(review::show).post(review::answer).layer(DefaultBodyLimit::max(REVIEW_BYTES_MAX)))
        .route("/r/{signed}/rows", get(review::rows))
        .route("/r/{signed}/state", get(review::state))
        .route("/r/{signed}/parts/{part}", get(review::picture))
        .route("/console/invited/{signed}", get(console::invited::show).post(console::invited::accept))
        .route("/console", get(console::page))
        .route("/console/files", get(console::worktree::top))
        .route("/console/files/{*path}", get(console::worktree::look))
        .merge(admin::routes())
        .layer(CompressionLayer::new());
    let bounded = Router::new()
        .route("/webhook", post(webhook::receive).layer(DefaultBodyLimit::max(WEBHOOK_BYTES_MAX)))
        .route(
            "/receipt/{conversation}/{effect}",
            post(webhook::receipt).layer(DefaultBodyLimit::max(WEBHOOK_BYTES_MAX)),
        )
        .route(callback::ROUTE, post(callback::receive).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)))
        .route("/images/{blob}", get(images::serve))
        .route("/pages/{blob}", get(pages::serve))
        .route("/console/session", post(console::sign_in).layer(DefaultBodyLimit::max(CONSOLE_BYTES_MAX)))
        .route("/console/conversations", post(console::conversations::begin))
        .route("/console/leave", post(console::conversations::leave))
        .route("/console/send", post(console::send).layer(DefaultBodyLimit::max(CONSOLE_BYTES_MAX)))
        .route("/health", get(ops::health))
        .route("/ready", get(ops::ready))
        .merge(web)
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT));
    let slow = Router::new()
        .route("/console/files", post(console::files::receive).layer(DefaultBodyLimit::max(FILE_BYTES_MAX)))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, UPLOAD_TIMEOUT));
    // A stream of events has no end of its own.
    let endless = Router::new()
        .route("/runs/{run}", get(runs::follow))
        .route("/runs/{run}/rows", get(runs::rows))
        .layer(CompressionLayer::new())
        .route("/console/events", get(console::events));
    let watched = middleware::from_fn_with_state(Arc::clone(&app), requests::watch);
    let encrypted = middleware::from_fn_with_state(Arc::clone(&app), clear_text::refuse);
    let routes = bounded.merge(slow).merge(endless).layer(encrypted);
    routes.layer(CatchPanicLayer::new()).layer(watched).with_state(app)
}
