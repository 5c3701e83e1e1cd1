//! A stand-in for GitHub: real git over smart HTTP at `{url}/{owner}/{name}.git`, and pull requests over REST at
//! `{url}/api`. As at GitHub, anyone may read a public repository, and writing takes a token; the fake's repositories
//! are all public and its one token may do everything. Request and answer bodies are held against GitHub's schemas.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderValue, Method};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;

use crate::server::{self, Fault, Faults, Received, Server};

mod git;
mod pulls;
mod schema;

pub use pulls::Pull;

/// What a fault can be put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Listing pull requests.
    ListPulls,
    /// Creating a pull request.
    CreatePull,
    /// The request of a git push that carries the objects.
    Push,
}

/// The fake, until dropped.
#[derive(Debug)]
pub struct FakeGithub {
    server: Server,
    hub: Arc<Hub>,
}

#[derive(Debug)]
struct Hub {
    root: TempDir,
    token: String,
    url: OnceLock<String>,
    pulls: Mutex<Vec<Pull>>,
    faults: Faults<Operation>,
}

enum Access {
    Anonymous,
    Granted,
    Bad,
}

impl FakeGithub {
    /// Start it on a port of its own, without repositories; `token` is the one that it accepts.
    pub async fn start(token: &str) -> Self {
        let root = tempfile::Builder::new().prefix("textslash-github-").tempdir().expect("a temporary directory");
        let hub = Arc::new(Hub {
            root,
            token: token.to_owned(),
            url: OnceLock::new(),
            pulls: Mutex::default(),
            faults: Faults::default(),
        });
        let serving = hub.clone();
        let server = Server::start(move |request| {
            let hub = serving.clone();
            async move { hub.answer(&request).await }
        })
        .await;
        hub.url.set(server.url()).expect("set once, here");
        Self { server, hub }
    }

    /// What stands in for `https://github.com`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// What stands in for `https://api.github.com`.
    pub fn api_url(&self) -> String {
        self.hub.api_url()
    }

    /// Add the repository `owner/name`, with one commit on `main` that holds README.md; its bare directory.
    pub async fn add_repository(&self, name: &str) -> PathBuf {
        let path = self.hub.root.path().join(format!("{name}.git"));
        git::create(&path).await;
        path
    }

    /// Where to clone `owner/name` from and push to.
    pub fn clone_url(&self, name: &str) -> String {
        format!("{}/{name}.git", self.url())
    }

    /// The branches of `owner/name`, sorted.
    pub async fn branches(&self, name: &str) -> Vec<String> {
        let Some(path) = git::existing(self.hub.root.path(), name) else { return Vec::new() };
        let listed = git::ask(&path, &["for-each-ref", "--format=%(refname:short)", "refs/heads"]).await;
        listed.unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The hash of the tree that a branch of `owner/name` points at.
    pub async fn tree(&self, name: &str, branch: &str) -> Option<String> {
        let path = git::existing(self.hub.root.path(), name)?;
        git::ask(&path, &["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}^{{tree}}")]).await
    }

    /// The content of a file on a branch of `owner/name`, without white space at its ends.
    pub async fn file(&self, name: &str, branch: &str, file: &str) -> Option<String> {
        let path = git::existing(self.hub.root.path(), name)?;
        git::ask(&path, &["cat-file", "blob", &format!("refs/heads/{branch}:{file}")]).await
    }

    /// Every pull request, oldest first.
    pub fn pulls(&self) -> Vec<Pull> {
        self.hub.pulls().clone()
    }

    /// Close a pull request.
    pub fn close_pull(&self, repository: &str, number: u64) {
        let mut pulls = self.hub.pulls();
        let found = pulls.iter_mut().find(|pull| pull.repository == repository && pull.number == number);
        found.expect("the pull request to close is there").open = false;
    }

    /// One of the next requests for `operation`, in the order of these calls, meets this fault.
    pub fn inject(&self, operation: Operation, fault: Fault) {
        self.hub.faults.push(operation, fault);
    }

    /// Every request so far, of git and REST alike, in order.
    pub fn requests(&self) -> Vec<Received> {
        self.server.requests()
    }
}

impl Hub {
    async fn answer(&self, request: &Received) -> Response {
        let access = self.access(request);
        if let Some(path) = request.path.strip_prefix("/api/") {
            return self.answer_api(request, path, &access).await;
        }
        let pushing = request.path.ends_with("/git-receive-pack") || request.query.contains("service=git-receive-pack");
        if matches!(access, Access::Bad) || (pushing && !matches!(access, Access::Granted)) {
            let mut refusal = server::empty(401);
            refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"GitHub\""));
            return refusal;
        }
        let serve = git::serve(self.root.path(), request);
        if pushing && request.method == Method::POST {
            self.faults.around(Operation::Push, serve).await
        } else {
            serve.await
        }
    }

    async fn answer_api(&self, request: &Received, path: &str, access: &Access) -> Response {
        if request.header("user-agent").is_none_or(str::is_empty) {
            return api_error(
                403,
                "Request forbidden by administrative rules. Please make sure your request has a User-Agent header",
            );
        }
        match access {
            Access::Bad => return api_error(401, "Bad credentials"),
            Access::Anonymous if request.method != Method::GET => return api_error(401, "Requires authentication"),
            Access::Anonymous | Access::Granted => {}
        }
        let parts: Vec<&str> = path.split('/').collect();
        let ["repos", owner, name, "pulls"] = parts[..] else { return api_error(404, "Not Found") };
        let repository = format!("{owner}/{name}");
        if git::existing(self.root.path(), &repository).is_none() {
            return api_error(404, "Not Found");
        }
        match request.method {
            Method::GET => {
                self.faults.around(Operation::ListPulls, async { pulls::list(self, &repository, request) }).await
            }
            Method::POST => self.faults.around(Operation::CreatePull, pulls::create(self, &repository, request)).await,
            _ => api_error(404, "Not Found"),
        }
    }

    fn access(&self, request: &Received) -> Access {
        let Some(given) = request.header("authorization") else { return Access::Anonymous };
        let basic = format!("Basic {}", STANDARD.encode(format!("x-access-token:{}", self.token)));
        let bearer = [format!("Bearer {}", self.token), format!("token {}", self.token)];
        if given == basic || bearer.iter().any(|bearer| bearer == given) { Access::Granted } else { Access::Bad }
    }

    fn url(&self) -> &str {
        self.url.get().map_or("", String::as_str)
    }

    fn api_url(&self) -> String {
        format!("{}/api", self.url())
    }

    fn pulls(&self) -> MutexGuard<'_, Vec<Pull>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keep a new pull request under the next number; `None` when an open one has the same branches.
    fn open(&self, mut pull: Pull) -> Option<Pull> {
        let mut pulls = self.pulls();
        let same =
            |of: &Pull| of.open && (&of.repository, &of.head, &of.base) == (&pull.repository, &pull.head, &pull.base);
        if pulls.iter().any(same) {
            return None;
        }
        pull.number = pulls.iter().filter(|of| of.repository == pull.repository).count() as u64 + 1;
        pulls.push(pull.clone());
        Some(pull)
    }

    /// The commit that a branch points at.
    async fn tip(&self, repository: &str, branch: &str) -> Option<String> {
        let path = git::existing(self.root.path(), repository)?;
        git::ask(&path, &["rev-parse", "--verify", "--quiet", &format!("refs/heads/{branch}^{{commit}}")]).await
    }
}

fn api_error(status: u16, message: &str) -> Response {
    let body =
        json!({"message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string()});
    server::json(status, body)
}
