use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::*;
use crate::git::remote::UrlTrust;

/// A stand-in for GitHub's API: answers each call with the next of the prepared answers, and remembers what it was
/// asked.
struct FakeApi {
    github: GitHub,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

type Answers = Arc<Mutex<Vec<Response>>>;
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

async fn answer(State((answers, asked)): State<(Answers, Asked)>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let right = head.headers.get(header::AUTHORIZATION).is_some_and(|it| it == "Bearer tok")
        && head.headers.get(ACCEPT).is_some_and(|it| it == "application/vnd.github+json")
        && head.headers.get("x-github-api-version").is_some_and(|it| it == "2022-11-28")
        && head.headers.contains_key(header::USER_AGENT);
    if !right {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut asked = asked.lock().expect("no test panics while it holds this");
    asked.push((format!("{} {}", head.method, head.uri), body));
    let mut answers = answers.lock().expect("no test panics while it holds this");
    if answers.is_empty() { StatusCode::IM_A_TEAPOT.into_response() } else { answers.remove(0) }
}

impl FakeApi {
    async fn with(answers: Vec<Response>) -> anyhow::Result<Self> {
        let asked = Asked::default();
        let state = (Arc::new(Mutex::new(answers)), asked.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = Url::parse(&format!("http://{}/api", listener.local_addr()?))?;
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer).with_state(state)).await });
        Ok(Self { github: GitHub::new("tok".to_owned().into(), url, GitHub::default_web_url())?, asked })
    }

    async fn open(&self) -> Result<PullRequest, GitHubError> {
        self.github.open_pull_request("o", "r", "textslash/a-1", "main", "Title", "Body").await
    }

    fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().expect("no test panics while it holds this").clone()
    }
}

fn pull(number: u64, state: &str) -> Value {
    json!({ "html_url": format!("https://github.com/o/r/pull/{number}"), "number": number, "state": state, "more": [] })
}

fn found(pulls: &[Value]) -> Response {
    Json(pulls).into_response()
}

fn refused(status: u16, body: Value) -> anyhow::Result<Response> {
    Ok((StatusCode::from_u16(status)?, Json(body)).into_response())
}

const LOOK: &str = "GET /api/repos/o/r/pulls?head=o%3Atextslash%2Fa-1&state=all&per_page=10";

#[tokio::test]
async fn a_pull_request_is_opened_when_there_is_none() -> anyhow::Result<()> {
    let api = FakeApi::with(vec![found(&[]), (StatusCode::CREATED, Json(pull(7, "open"))).into_response()]).await?;
    assert_eq!(api.open().await?.url, "https://github.com/o/r/pull/7");
    let body = json!({ "title": "Title", "head": "textslash/a-1", "base": "main", "body": "Body" });
    assert_eq!(api.asked(), [(LOOK.to_owned(), Value::Null), ("POST /api/repos/o/r/pulls".to_owned(), body)]);
    Ok(())
}

#[tokio::test]
async fn one_that_is_there_is_given_back_the_open_one_first() -> anyhow::Result<()> {
    let api = FakeApi::with(vec![found(&[pull(3, "closed"), pull(5, "open")]), found(&[pull(3, "closed")])]).await?;
    assert_eq!(api.open().await?.number, 5);
    assert_eq!(api.open().await?.number, 3);
    assert_eq!(api.asked().len(), 2, "none was made");
    Ok(())
}

#[tokio::test]
async fn one_whose_answer_was_lost_is_found_again() -> anyhow::Result<()> {
    let exists = json!({ "message": "Validation Failed",
        "errors": [{ "resource": "PullRequest", "code": "custom", "message": "A pull request already exists for o:textslash/a-1." }] });
    let api = FakeApi::with(vec![found(&[]), refused(422, exists)?, found(&[pull(9, "open")])]).await?;
    assert_eq!(api.open().await?.number, 9);
    Ok(())
}

#[tokio::test]
async fn every_refusal_says_what_to_do() -> anyhow::Result<()> {
    let cases = [
        (401, json!({ "message": "Bad credentials" }), "new `GITHUB_TOKEN`"),
        (403, json!({ "message": "Resource not accessible by personal access token" }), "Pull requests: write"),
        (404, json!({ "message": "Not Found" }), "o/r"),
        (
            422,
            json!({ "message": "Validation Failed", "errors": ["No commits between main and x"] }),
            "No commits between",
        ),
        (429, json!({}), "few minutes"),
        (502, json!("not what is expected"), "502"),
    ];
    for (status, body, expected) in cases {
        let api = FakeApi::with(vec![found(&[]), refused(status, body)?]).await?;
        let text = api.open().await.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(expected) && !text.contains("tok "), "{status}: {text}");
    }
    let limited = [("x-ratelimit-remaining", "0")];
    let api = FakeApi::with(vec![(StatusCode::FORBIDDEN, limited, "").into_response()]).await?;
    assert!(matches!(api.open().await, Err(GitHubError::RateLimited)));
    let api = FakeApi::with(vec![found(&[]), "nonsense".into_response()]).await?;
    assert!(matches!(api.open().await, Err(GitHubError::Unreadable { .. })));
    let api = FakeApi::with(vec!["x".repeat(ANSWER_BYTES_MAX + 1).into_response()]).await?;
    assert!(matches!(api.open().await, Err(GitHubError::Unreadable { .. })));
    Ok(())
}

#[tokio::test]
async fn a_redirect_to_another_host_is_not_followed() -> anyhow::Result<()> {
    let other = FakeApi::with(vec![found(&[pull(1, "open")])]).await?;
    let elsewhere = other.github.pulls_url("o", "r").to_string();
    let moved = (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, elsewhere)]).into_response();
    let api = FakeApi::with(vec![moved]).await?;
    assert!(matches!(api.open().await, Err(GitHubError::Unavailable { status: 307 })));
    assert!(other.asked().is_empty());
    let moved = (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/api/repositories/1/pulls")]).into_response();
    let api = FakeApi::with(vec![moved, found(&[pull(4, "open")])]).await?;
    assert_eq!(api.open().await?.number, 4, "one within the host is");
    Ok(())
}

#[tokio::test]
async fn a_github_that_is_not_there_is_said_to_be_unreachable() -> anyhow::Result<()> {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let github =
        GitHub::new("tok".to_owned().into(), Url::parse(&format!("http://{nobody}"))?, GitHub::default_web_url())?;
    let failed = github.open_pull_request("o", "r", "h", "b", "t", "").await;
    assert!(matches!(failed, Err(GitHubError::Unreachable(_))), "{failed:?}");
    Ok(())
}

#[test]
fn git_is_let_in_at_githubs_address_only() -> anyhow::Result<()> {
    let api = Url::parse("https://api.github.com")?;
    let github = GitHub::new("tok".to_owned().into(), api, GitHub::default_web_url())?;
    let ssh = RemoteUrl::parse("git@github.com:o/r.git", UrlTrust::Person)?;
    assert_eq!(github.push_url(&ssh).map(String::from).as_deref(), Some("https://github.com/o/r.git"));
    assert_eq!(github.push_url(&RemoteUrl::parse("https://example.org/o/r", UrlTrust::Person)?), None);
    let (key, value) = github.git_header();
    assert_eq!(key, "http.https://github.com/.extraHeader");
    assert_eq!(value, format!("Authorization: Basic {}", STANDARD.encode("x-access-token:tok")));
    assert!(!format!("{github:?}").contains("tok"));
    Ok(())
}

#[test]
fn long_texts_are_shortened_by_characters() {
    assert_eq!(shortened("üüü", 3), "üüü");
    assert_eq!(shortened("üüüü", 3), "üü…");
}
