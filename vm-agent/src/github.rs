//! GitHub: which addresses are its, how git is let in, and the one thing that is asked of its API: a pull request.
//!
//! The token is sent to GitHub's two addresses and nowhere else, and is in no message and no log.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use relay_core::telemetry::calls::{Call, Unanswered};
use tracing::Instrument;

use crate::git::remote::RemoteUrl;

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Characters of GitHub's own words that are passed on.
const REASON_CHARS_MAX: usize = 500;
/// Characters of a title and of a body that GitHub takes.
const TITLE_CHARS_MAX: usize = 250;
const BODY_CHARS_MAX: usize = 60_000;
/// Redirects that are followed, within the same host.
const REDIRECTS_MAX: usize = 3;

/// GitHub as one token sees it.
#[derive(Clone)]
pub struct GitHub {
    token: SecretString,
    api_url: Url,
    web_url: Url,
    client: Client,
}

/// Shows the addresses alone.
impl fmt::Debug for GitHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GitHub({}, {})", self.web_url, self.api_url)
    }
}

/// A pull request that is there.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PullRequest {
    /// Where people read it.
    #[serde(rename = "html_url")]
    pub url: String,
    /// Its number in the repository.
    pub number: u64,
    #[serde(default)]
    state: String,
}

/// Why GitHub did not do what was asked. The text says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub enum GitHubError {
    /// The client could not be made: no certificates to check GitHub's with.
    #[error("The connection to GitHub could not be set up: {0}")]
    Setup(#[source] reqwest::Error),
    /// 401.
    #[error(
        "GitHub did not accept the token: it is wrong or has expired. \
         Set a new `GITHUB_TOKEN` on the VM, then approve again."
    )]
    Unauthorized,
    /// 403, and not for haste.
    #[error(
        "GitHub does not let this token open pull requests in {repository}: {reason} \
         Give it the permission *Pull requests: write*, then approve again."
    )]
    Forbidden {
        /// `owner/name`.
        repository: String,
        /// GitHub's words.
        reason: String,
    },
    /// 403 or 429, for haste.
    #[error("GitHub asks to slow down. Approve again in a few minutes.")]
    RateLimited,
    /// 404.
    #[error(
        "GitHub knows no repository {repository} that this token may see. \
         Check the address, and that `GITHUB_TOKEN` may read it, then approve again."
    )]
    NotFound {
        /// `owner/name`.
        repository: String,
    },
    /// 422, and not because the pull request is there.
    #[error("GitHub refused the pull request: {reason}")]
    Refused {
        /// GitHub's words.
        reason: String,
    },
    /// Another status; 5xx above all.
    #[error("GitHub answered with an error ({status}). Approve again in a few minutes.")]
    Unavailable {
        /// The HTTP status.
        status: u16,
    },
    /// No answer in time.
    #[error("GitHub did not answer in time. Approve again in a few minutes.")]
    TimedOut,
    /// No connection.
    #[error("GitHub could not be reached. Approve again in a few minutes.")]
    Unreachable(#[source] reqwest::Error),
    /// An answer that is no pull request, or too long.
    #[error("GitHub's answer was not understood. Look at {repository} on GitHub before you approve again.")]
    Unreadable {
        /// `owner/name`.
        repository: String,
    },
}

#[derive(Serialize)]
struct NewPullRequest<'a> {
    title: String,
    head: &'a str,
    base: &'a str,
    body: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Complaint {
    message: String,
    errors: Vec<serde_json::Value>,
}

impl GitHub {
    /// GitHub at `api_url` (`https://api.github.com`) and `web_url` (`https://github.com`), by `token`.
    pub fn new(token: SecretString, api_url: Url, web_url: Url) -> Result<Self, GitHubError> {
        let same_host = Policy::custom(|attempt| {
            let same = attempt.previous().last().is_some_and(|last| last.origin() == attempt.url().origin());
            if same && attempt.previous().len() <= REDIRECTS_MAX { attempt.follow() } else { attempt.stop() }
        });
        let client = Client::builder()
            .redirect(same_host)
            .timeout(CALL_TIMEOUT)
            .user_agent(concat!("textslash-vm-agent/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(GitHubError::Setup)?;
        Ok(Self { token, api_url, web_url, client })
    }

    /// GitHub's own web address, by which its repositories are known when there is no token.
    pub fn default_web_url() -> Url {
        Url::parse("https://github.com").expect("a constant address is well formed")
    }

    /// Owner and name of the repository, when it is one of GitHub's.
    pub(crate) fn repository(&self, remote: &RemoteUrl) -> Option<(String, String)> {
        remote.repository_on(&self.web_url)
    }

    /// Where git finds the repository by http, when it is one of GitHub's.
    pub(crate) fn push_url(&self, remote: &RemoteUrl) -> Option<Url> {
        let (owner, name) = self.repository(remote)?;
        let mut url = self.web_url.clone();
        url.path_segments_mut().ok()?.pop_if_empty().push(&owner).push(&format!("{name}.git"));
        Some(url)
    }

    /// A setting of git, and its value, that let one process in at GitHub's address and no other.
    pub(crate) fn git_header(&self) -> (String, String) {
        let base = self.web_url.as_str().trim_end_matches('/');
        (format!("http.{base}/.extraHeader"), format!("Authorization: Basic {}", self.basic()))
    }

    /// What must not be in a message.
    pub(crate) fn secrets(&self) -> Vec<SecretString> {
        vec![self.token.clone(), SecretString::from(self.basic())]
    }

    fn basic(&self) -> String {
        STANDARD.encode(format!("x-access-token:{}", self.token.expose_secret()))
    }

    /// The pull request of the branch `head` into `base`. One that exists for this branch, open or closed, is given
    /// back instead of a second one.
    pub async fn open_pull_request(
        &self,
        owner: &str,
        repo: &str,
        head: &str,
        base: &str,
        title: &str,
        body: &str,
    ) -> Result<PullRequest, GitHubError> {
        let repository = format!("{owner}/{repo}");
        let pulls = self.pulls_url(owner, repo);
        let there = || self.find(&pulls, &repository, format!("{owner}:{head}"));
        if let Some(found) = there().await? {
            return Ok(found);
        }
        let (title, body) = (shortened(title, TITLE_CHARS_MAX), shortened(body, BODY_CHARS_MAX));
        let request = self.client.post(pulls.clone()).json(&NewPullRequest { title, head, base, body });
        match self.call(request, &repository).await {
            Ok(answer) => parse(&answer, &repository),
            // Made by a call whose answer was lost.
            Err(GitHubError::Refused { reason }) if reason.contains("already exists") => {
                there().await?.ok_or(GitHubError::Refused { reason })
            }
            Err(error) => Err(error),
        }
    }

    async fn find(&self, pulls: &Url, repository: &str, head: String) -> Result<Option<PullRequest>, GitHubError> {
        let query = [("head", head.as_str()), ("state", "all"), ("per_page", "10")];
        let answer = self.call(self.client.get(pulls.clone()).query(&query), repository).await?;
        let found: Vec<PullRequest> = parse(&answer, repository)?;
        let open = found.iter().position(|pull| pull.state == "open").unwrap_or(0);
        Ok(found.into_iter().nth(open))
    }

    fn pulls_url(&self, owner: &str, repo: &str) -> Url {
        let mut url = self.api_url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["repos", owner, repo, "pulls"]);
        }
        url
    }

    async fn call(&self, request: RequestBuilder, repository: &str) -> Result<Vec<u8>, GitHubError> {
        let request = request
            .bearer_auth(self.token.expose_secret())
            .header(ACCEPT, "application/vnd.github+json")
            .header("X-GitHub-Api-Version", "2022-11-28");
        let request = request.build().map_err(unreachable)?;
        let mut call = Call::new(request.method().as_str(), request.url(), "/repos/{owner}/{repo}/pulls");
        let sent = self.client.execute(request).instrument(call.span().clone()).await;
        let mut answer = sent.map_err(|error| unanswered(&mut call, error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        call.answered(status.as_u16());
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| unanswered(&mut call, error))? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(GitHubError::Unreadable { repository: repository.to_owned() });
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() { Ok(bytes) } else { Err(explain(status, &headers, &bytes, repository)) }
    }
}

fn unanswered(call: &mut Call, error: reqwest::Error) -> GitHubError {
    call.unanswered(Unanswered::told(error.is_connect(), error.is_timeout()));
    unreachable(error)
}

fn unreachable(error: reqwest::Error) -> GitHubError {
    if error.is_timeout() { GitHubError::TimedOut } else { GitHubError::Unreachable(error.without_url()) }
}

fn parse<T: for<'de> Deserialize<'de>>(answer: &[u8], repository: &str) -> Result<T, GitHubError> {
    serde_json::from_slice(answer).map_err(|_| GitHubError::Unreadable { repository: repository.to_owned() })
}

fn explain(status: StatusCode, headers: &HeaderMap, answer: &[u8], repository: &str) -> GitHubError {
    let repository = repository.to_owned();
    let spent = headers.get("x-ratelimit-remaining").is_some_and(|left| left == "0");
    let limited = spent || headers.contains_key("retry-after");
    match status {
        StatusCode::UNAUTHORIZED => GitHubError::Unauthorized,
        StatusCode::TOO_MANY_REQUESTS => GitHubError::RateLimited,
        StatusCode::FORBIDDEN if limited => GitHubError::RateLimited,
        StatusCode::FORBIDDEN => GitHubError::Forbidden { repository, reason: reason(answer) },
        StatusCode::NOT_FOUND => GitHubError::NotFound { repository },
        StatusCode::UNPROCESSABLE_ENTITY => GitHubError::Refused { reason: reason(answer) },
        other => GitHubError::Unavailable { status: other.as_u16() },
    }
}

/// GitHub's own words, as one bounded sentence.
fn reason(answer: &[u8]) -> String {
    let complaint: Complaint = serde_json::from_slice(answer).unwrap_or_default();
    let details = complaint.errors.iter().filter_map(|error| match error {
        serde_json::Value::String(text) => Some(text.clone()),
        other => ["message", "code"].iter().find_map(|key| other.get(key)?.as_str().map(str::to_owned)),
    });
    let words: Vec<String> =
        std::iter::once(complaint.message).chain(details).filter(|text| !text.is_empty()).collect();
    let text = if words.is_empty() { "it gave no reason".to_owned() } else { words.join(": ") };
    format!("{}.", shortened(text.trim_end_matches('.'), REASON_CHARS_MAX))
}

fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    text.chars().take(chars_max - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
