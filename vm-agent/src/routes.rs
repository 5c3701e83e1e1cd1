//! Every route of the VM. All requests are signed, but for a bare `/health` from something that only wants to know whether
//! the process is up. Nothing here takes longer than a moment: what takes time is a run, and is reported.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use relay_core::id::{BlobId, ConversationId, Fence, RunId, TreeHash};
use relay_core::protocol::worktree::DIRECTORY_CONTENT_TYPE;
use relay_core::protocol::{
    ApproveRequest, BODY_BYTES_MAX, CancelRequest, Command, CommandRequest, FILE_BYTES_MAX, Health, RefusalReason,
    ReplyRequest, signature,
};
use relay_core::telemetry::calls;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;
use tracing::Instrument;

use crate::clock;
use crate::fence::Fences;
use crate::git::worktree::Found;
use crate::images::ImageName;
use crate::metrics::{Layer, metrics};
use crate::refusal::Refused;
use crate::requests;
use crate::reviews::part_type;
use crate::runs::Runs;
use crate::volume::Volume;

/// How long a request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the routes need.
#[derive(Debug)]
pub struct App {
    /// The runs.
    pub runs: Runs,
    /// Conversations with reports that were delivered and that no relay is known to have taken.
    pub untaken: watch::Receiver<usize>,
    /// The fences.
    pub fences: Fences,
    /// Signs requests both ways.
    pub secret: SecretString,
    /// The volume.
    pub volume: Volume,
    /// What the agent is confined by, in words.
    pub isolation: String,
    /// When the last signed request came.
    pub last_request: LastRequest,
}

impl App {
    /// What no relay is known to have taken: reports that wait to be delivered, and conversations with delivered ones.
    pub fn unreported(&self) -> usize {
        self.runs.undelivered() + *self.untaken.borrow()
    }
}

/// When the last signed request came.
#[derive(Debug)]
pub struct LastRequest(Mutex<Instant>);

impl LastRequest {
    /// The start of the process counts as a request.
    pub fn now() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// How long it is ago.
    pub fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    let signed = Router::new()
        .route("/command", post(command))
        .route("/approve", post(approve))
        .route("/reply", post(reply))
        .route("/cancel", post(cancel))
        .route("/runs/{id}", get(run_status))
        .route("/files/{id}", put(file).get(has_file))
        .route("/images/{name}", get(image))
        .route("/worktree", get(worktree))
        .route("/reviews/{run}/{tree}/{part}", get(review))
        .layer(middleware::from_fn_with_state(app.clone(), only_signed))
        // The size is checked where the signature is.
        .layer(DefaultBodyLimit::disable());
    Router::new()
        .route("/health", get(health))
        .merge(signed)
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn(requests::watch))
        .with_state(app)
}

/// Let a request through when it is signed, with its body read up to the limit.
async fn only_signed(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let bytes_max = if parts.uri.path().starts_with("/files/") { FILE_BYTES_MAX } else { BODY_BYTES_MAX };
    let body = to_bytes(body, bytes_max).await.map_err(|_| Refused::too_large())?;
    app.verify(&parts.method, &parts.uri, &parts.headers, &body)?;
    let span = requests::span(&parts);
    let response = next.run(Request::from_parts(parts, Body::from(body))).instrument(span.clone()).await;
    calls::answered(&span, response.status().as_u16());
    Ok(response)
}

impl App {
    fn verify(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<(), Refused> {
        verify(&self.secret, method, uri, headers, body)?;
        self.last_request.renew();
        Ok(())
    }
}

impl App {
    /// Let a relay through that holds the conversation. What was held back on the disk is for this, too: a full one must not keep
    /// anybody from cancelling.
    fn pass(&self, conversation: &ConversationId, fence: Fence) -> Result<(), Refused> {
        self.fences.pass(conversation, fence).or_else(|refused| {
            let is_disk = refused.reason == RefusalReason::Unavailable;
            if is_disk && self.volume.give_up_reserve() { self.fences.pass(conversation, fence) } else { Err(refused) }
        })
    }
}

/// Whether a request is signed with `secret`.
pub fn verify(
    secret: &SecretString,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), Refused> {
    let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str());
    let signed = headers.get(signature::HEADER).and_then(|value| value.to_str().ok());
    let secret = secret.expose_secret().as_bytes();
    signature::verify(secret, clock::now(), method.as_str(), path, body, signed).map_err(|error| {
        metrics().refused(Layer::Signature);
        tracing::warn!(%error, %method, "request refused");
        Refused::new(RefusalReason::Signature, format!("{error}. Check that relay and VM share one secret."))
    })
}

async fn command(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, Refused> {
    let CommandRequest { conversation, fence, command } = read(&body)?;
    app.pass(&conversation, fence)?;
    match command {
        Command::Run { run, task } => {
            let accepted = app.runs.start(&conversation, run, task)?;
            Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
        }
        Command::Ask { question } => Ok(Json(app.runs.ask(conversation, question).await?).into_response()),
    }
}

async fn approve(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, Refused> {
    let request: ApproveRequest = read(&body)?;
    app.pass(&request.conversation, request.fence)?;
    Ok((StatusCode::ACCEPTED, Json(app.runs.decide(&request)?)).into_response())
}

async fn reply(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, Refused> {
    let request: ReplyRequest = read(&body)?;
    app.pass(&request.conversation, request.fence)?;
    Ok((StatusCode::ACCEPTED, Json(app.runs.reply(request)?)).into_response())
}

async fn cancel(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, Refused> {
    let request: CancelRequest = read(&body)?;
    app.pass(&request.conversation, request.fence)?;
    Ok((StatusCode::ACCEPTED, Json(app.runs.cancel(&request)?)).into_response())
}

async fn run_status(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response, Refused> {
    let run = RunId::parse(id).map_err(|error| Refused::not_found(error.to_string()))?;
    Ok(Json(app.runs.status(&run)?).into_response())
}

/// A file that a person sent, for a run that is to come.
async fn file(State(app): State<Arc<App>>, Path(id): Path<String>, body: Bytes) -> Result<StatusCode, Refused> {
    let id = BlobId::parse(id).map_err(|error| Refused::invalid(error.to_string()))?;
    app.runs.uploads().keep(&id, &body).map_err(|error| Refused::disk(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether it is here.
async fn has_file(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, Refused> {
    let id = BlobId::parse(id).map_err(|error| Refused::invalid(error.to_string()))?;
    if app.runs.uploads().has(&id).map_err(|error| Refused::disk(&error))? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Refused::not_found("That file never came, or is gone."))
    }
}

async fn image(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Response, Refused> {
    let missing = || Refused::not_found("There is no such picture on this VM.");
    let name = ImageName::parse(&name).ok_or_else(missing)?;
    let bytes = app.runs.images().read(&name).map_err(|error| Refused::disk(&error))?.ok_or_else(missing)?;
    let headers = [(header::CONTENT_TYPE, name.kind().media_type()), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, bytes).into_response())
}

/// A part of a review: rows, or a picture.
async fn review(State(app): State<Arc<App>>, Path(part): Path<(String, String, u32)>) -> Result<Response, Refused> {
    let missing = || Refused::not_found("There is no such review on this VM.");
    let (run, tree, part) = part;
    let (Ok(run), Ok(tree)) = (RunId::parse(run), TreeHash::parse(tree)) else { return Err(missing()) };
    let bytes = app.runs.reviews().read(&run, &tree, part).map_err(|error| Refused::disk(&error))?;
    let bytes = bytes.ok_or_else(missing)?;
    let headers = [(header::CONTENT_TYPE, part_type(&bytes)), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, bytes).into_response())
}

/// Which place of the worktree is looked at.
#[derive(Deserialize)]
struct Place {
    #[serde(default)]
    path: String,
}

/// A directory of the worktree, or a file's bytes.
async fn worktree(State(app): State<Arc<App>>, Query(place): Query<Place>) -> Result<Response, Refused> {
    let nosniff = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    Ok(match app.runs.look(&place.path).await? {
        Found::Directory(directory) => {
            ([(header::CONTENT_TYPE, DIRECTORY_CONTENT_TYPE), nosniff], Json(directory)).into_response()
        }
        Found::File(bytes) => ([(header::CONTENT_TYPE, "application/octet-stream"), nosniff], bytes).into_response(),
    })
}

/// Unsigned: that the process is up. Signed: what it is doing.
async fn health(
    State(app): State<Arc<App>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    if !headers.contains_key(signature::HEADER) {
        return Ok(is_up());
    }
    app.verify(&method, &uri, &headers, b"")?;
    let volume_trouble = app.volume.trouble();
    let health = Health {
        driver: app.runs.driver().to_owned(),
        driver_version: app.runs.driver_version().await,
        isolation: app.isolation.clone(),
        active_run: app.runs.active_run(),
        repository: app.runs.repository().await,
        unreported_events: app.unreported(),
        last_delivered_at: app.runs.last_delivered_at(),
        free_bytes: app.volume.free_bytes().unwrap_or_default(),
        volume_trouble: volume_trouble.map(|trouble| trouble.to_string()),
    };
    Ok(Json(health).into_response())
}

/// For whoever only wants to know whether the process is up.
pub fn is_up() -> Response {
    Json(serde_json::json!({"status": "ok"})).into_response()
}

/// The signature was right, so a body that cannot be read comes from a relay of another version.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        tracing::warn!(%error, "a signed request cannot be read");
        Refused::invalid("The VM does not understand this request. Relay and VM may be of different versions.")
    })
}
