//! The agent's way to the API, without the key: an HTTP server on a Unix socket, one per run, that puts the key in.
//!
//! The agent knows a token that is good for this run only, and the socket is its user's alone. The proxy lets through the two calls that an agent needs, with
//! that token, and replaces it by the real key on the way to the API. The key is never in the agent's environment, its
//! files, or an answer. An agent that knows no sockets reaches it by a port ([`crate::supervise::inside`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::IncomingStream;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::net::UnixListener;
use url::Url;

use crate::metrics::{Layer, metrics};
use crate::supervise::confinement::AgentUser;
use crate::supervise::socket::{PrivateSocket, caller};

/// Bytes of one call to the model at most: the API's own limit for a request to `/v1/messages`.
const BODY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long the API may take until it starts to answer, or pause within an answer.
const UPSTREAM_SILENCE_MAX: Duration = Duration::from_secs(600);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TOKEN_BYTES: usize = 32;

/// Of the API, and what its calls' paths begin with.
const VERSION: &str = "/v1";
const API_KEY: &str = "x-api-key";

/// What the agent may say to the API about itself; everything else stays here.
const FORWARDED: [&str; 5] = ["content-type", "anthropic-version", "anthropic-beta", "user-agent", "x-app"];
/// What the agent needs of the API's answer.
const RETURNED: [&str; 5] = ["content-type", "request-id", "retry-after", "retry-after-ms", "x-should-retry"];

/// A proxy for one run. Dropping it closes the socket and removes it.
#[derive(Debug)]
pub struct Proxy {
    socket: PrivateSocket,
    token: String,
}

struct Upstream {
    /// Who may call.
    uid: u32,
    token: String,
    key: SecretString,
    address: Url,
    client: reqwest::Client,
}

/// Who calls, as the kernel knows it.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: caller(stream.io()) }
    }
}

impl Proxy {
    /// Listen on a new socket that only `agent`, or this process's own user, can reach; calls go to `address` with `key`.
    pub fn start(key: SecretString, address: Url, agent: Option<AgentUser>) -> anyhow::Result<Self> {
        let token = format!("run-{}", BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>()));
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(UPSTREAM_SILENCE_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let presented = token.clone();
        let socket = PrivateSocket::serve("api.sock", agent, |listener, uid| async move {
            let app = router(Upstream { uid, token: presented, key, address, client });
            if let Err(error) = axum::serve(listener, app.into_make_service_with_connect_info::<Peer>()).await {
                tracing::error!(%error, "the API proxy ended");
            }
        })?;
        Ok(Self { socket, token })
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.socket.path()
    }

    /// The directory of that socket.
    pub fn directory(&self) -> &Path {
        self.socket.directory()
    }

    /// What the agent must present, as its bearer token or its API key.
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// Some agents hold the version for a part of the address that they are given, and leave it out.
fn router(upstream: Upstream) -> Router {
    let calls = Router::new().route("/messages", post(forward)).route("/messages/count_tokens", post(forward));
    calls.clone().nest(VERSION, calls).layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(Arc::new(upstream))
}

async fn forward(
    State(upstream): State<Arc<Upstream>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if peer.uid != Some(upstream.uid) {
        metrics().refused(Layer::Key);
        tracing::warn!(uid = peer.uid, "another user calls the API proxy of a run");
        return StatusCode::FORBIDDEN.into_response();
    }
    if !upstream.knows(&headers) {
        metrics().refused(Layer::Key);
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match upstream.call(&uri, &headers, body).await {
        Ok(answer) => answer,
        Err(error) => {
            // Without the address, which an operator may have put a credential into.
            tracing::warn!(error = %error.without_url(), "the API cannot be reached");
            (StatusCode::BAD_GATEWAY, "the API cannot be reached from the VM").into_response()
        }
    }
}

impl Upstream {
    fn knows(&self, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let key = headers.get(API_KEY).map(HeaderValue::as_bytes);
        [bearer, key].into_iter().flatten().any(|presented| presented.ct_eq(self.token.as_bytes()).into())
    }

    async fn call(&self, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Result<Response, reqwest::Error> {
        let mut address = self.address.clone();
        let call = uri.path().strip_prefix(VERSION).unwrap_or(uri.path());
        address.set_path(&format!("{}{VERSION}{call}", self.address.path().trim_end_matches('/')));
        address.set_query(uri.query());
        let request = self.client.post(address).header(API_KEY, self.key.expose_secret()).body(body);
        let answer = request.headers(only(headers, &FORWARDED)).send().await?;
        let (status, headers) = (answer.status(), only(answer.headers(), &RETURNED));
        Ok((status, headers, Body::from_stream(answer.bytes_stream())).into_response())
    }
}

fn only(headers: &HeaderMap, names: &[&'static str]) -> HeaderMap {
    let kept = names.iter().filter_map(|name| Some((HeaderName::from_static(name), headers.get(*name)?.clone())));
    kept.collect()
}

#[cfg(test)]
mod tests;
