//! What an agent has that no shell has: a look at a page, and a picture for the person.
//!
//! The tools are an MCP server (Model Context Protocol, over HTTP) that runs where the agent does, as its user and in its sandbox
//! ([`crate::supervise::inside`] starts it): it can reach and read what the agent can, and nothing else. Only pictures cross over to
//! vm-agent, by a socket of the run's own ([`pictures`]).

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

pub mod browser;
mod mcp;
pub mod pictures;

use mcp::Tools;

/// The name of the server; a tool of it is `mcp__vm__…` to Claude Code.
const SERVER: &str = "vm";
const TOKEN_BYTES: usize = 32;

/// What the tools of a run need to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// Where pictures go.
    pub pictures: PathBuf,
    /// Where the agent is told how it reaches the tools; see [`Orders::settings`].
    pub directory: PathBuf,
    /// Pictures are taken from here.
    pub worktree: PathBuf,
    /// Chromium; a page can't be looked at without.
    pub chromium: PathBuf,
    /// The proxy that pages are fetched by, if there is one.
    pub proxy: Option<String>,
}

impl Orders {
    /// The file that tells an agent of the server, as Claude Code's `--mcp-config` takes it.
    pub fn settings(&self) -> PathBuf {
        settings_in(&self.directory)
    }
}

fn settings_in(directory: &Path) -> PathBuf {
    directory.join("mcp.json")
}

/// Serve from now on, in the background, and write down where.
pub async fn serve(orders: Orders) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let token = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>());
    let url = format!("http://{}/mcp", listener.local_addr()?);
    let headers = json!({"Authorization": format!("Bearer {token}")});
    let settings = json!({"mcpServers": {SERVER: {"type": "http", "url": url, "headers": headers}}});
    std::fs::write(orders.settings(), settings.to_string())?;
    let tools = Tools::new(orders);
    let sessions = Arc::new(LocalSessionManager::default());
    let service =
        StreamableHttpService::new(move || Ok(tools.clone()), sessions, StreamableHttpServerConfig::default());
    let router = Router::new()
        .nest_service("/mcp", service)
        .layer(middleware::from_fn_with_state(Arc::<str>::from(token), only_the_agent));
    tokio::spawn(async move {
        // It ends with the agent.
        let _ = axum::serve(listener, router).await;
    });
    Ok(())
}

/// Outside of a sandbox others may reach the port.
async fn only_the_agent(State(token): State<Arc<str>>, request: Request, next: Next) -> Response {
    let presented =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match presented.is_some_and(|presented| presented.ct_eq(token.as_bytes()).into()) {
        true => next.run(request).await,
        false => StatusCode::UNAUTHORIZED.into_response(),
    }
}
