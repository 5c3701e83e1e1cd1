//! What an agent has that no shell has: a look at a page, and a picture for the person.
//!
//! The tools are an MCP server (Model Context Protocol, over HTTP) that runs where the agent does, as its user and in its sandbox
//! ([`crate::supervise::inside`] starts it): it can reach and read what the agent can, and nothing else. Only pictures cross over to
//! vm-agent, by a socket of the run's own ([`pictures`]).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
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
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

pub mod browser;
mod mcp;
pub mod pictures;

use mcp::Tools;

/// The name of the server; a tool of it is `mcp__vm__…` to Claude Code.
pub const SERVER: &str = "vm";
const TOKEN_BYTES: usize = 32;
const SETTINGS_BYTES_MAX: u64 = 16 * 1024;

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

/// Where the tools are, and what has to be presented to use them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    #[serde(rename = "type")]
    kind: String,
    /// Their address.
    pub url: String,
    /// Headers of every request.
    pub headers: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    mcp_servers: BTreeMap<String, Server>,
}

impl Orders {
    /// The server, once the agent's first process has written down where it is. The directory is the agent's: what lies there
    /// may be something else by now, and is not followed, waited for, or read without end.
    pub fn server(&self) -> io::Result<Server> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(self.settings())?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut text = String::new();
        file.take(SETTINGS_BYTES_MAX).read_to_string(&mut text)?;
        let mut settings: Settings = serde_json::from_str(&text)?;
        settings.mcp_servers.remove(SERVER).ok_or_else(|| io::Error::other("it names another server"))
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
    let headers = BTreeMap::from([("Authorization".to_owned(), format!("Bearer {token}"))]);
    let server = Server { kind: "http".to_owned(), url, headers };
    let settings = Settings { mcp_servers: BTreeMap::from([(SERVER.to_owned(), server)]) };
    std::fs::write(orders.settings(), serde_json::to_vec(&settings)?)?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn the_server_is_where_it_was_written_down_and_nothing_else_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let orders = Orders {
            pictures: path("pictures.sock"),
            directory: directory.path().to_owned(),
            worktree: path("tree"),
            chromium: "chromium".into(),
            proxy: None,
        };
        assert!(orders.server().is_err());
        serve(orders.clone()).await.unwrap();
        let server = orders.server().unwrap();
        assert!(server.url.starts_with("http://127.0.0.1:") && server.headers["Authorization"].starts_with("Bearer "));
        std::fs::rename(orders.settings(), path("elsewhere.json")).unwrap();
        symlink(path("elsewhere.json"), orders.settings()).unwrap();
        assert!(orders.server().is_err(), "a link is not followed");
        std::fs::remove_file(orders.settings()).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, orders.settings(), rustix::fs::Mode::RUSR).unwrap();
        assert!(orders.server().is_err(), "a pipe is not waited for");
    }
}
