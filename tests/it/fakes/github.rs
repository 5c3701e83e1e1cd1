use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use system_tests::fake_github::{FakeGithub, Operation};
use system_tests::server::Fault;
use tempfile::TempDir;
use tokio::process::Command;

use super::client;

const TOKEN: &str = "ghp_not_a_real_token";
const REPOSITORY: &str = "octo/sample";

/// Run git as a person would who has no configuration; whether it succeeded, and what it wrote to stderr.
async fn git(directory: &Path, token: Option<&str>, args: &[&str]) -> (bool, String) {
    let mut command = Command::new("git");
    command.current_dir(directory).args(args).stdin(Stdio::null());
    command.envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_TERMINAL_PROMPT", "0")]);
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "A Person").env(format!("GIT_{role}_EMAIL"), "person@example.com");
    }
    if let Some(token) = token {
        let header = format!("Authorization: Basic {}", STANDARD.encode(format!("x-access-token:{token}")));
        command
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "http.extraHeader")
            .env("GIT_CONFIG_VALUE_0", header);
    }
    let output = command.output().await.expect("git runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A clone with a commit on the branch `work` that changes README.md.
async fn clone_with_work(github: &FakeGithub) -> TempDir {
    let place = tempfile::tempdir().expect("a temporary directory");
    let url = github.clone_url(REPOSITORY);
    let (cloned, said) = git(place.path(), None, &["clone", "--quiet", &url, "."]).await;
    assert!(cloned, "reading takes no token: {said}");
    std::fs::write(place.path().join("README.md"), "# changed\n").expect("the clone can be written");
    for args in [&["checkout", "--quiet", "-b", "work"][..], &["commit", "--quiet", "-am", "Work"]] {
        let (done, said) = git(place.path(), None, args).await;
        assert!(done, "{said}");
    }
    place
}

/// The fake with the branch `work` pushed.
async fn with_pushed_work() -> FakeGithub {
    let github = FakeGithub::start(TOKEN).await;
    github.add_repository(REPOSITORY).await;
    let clone = clone_with_work(&github).await;
    let (pushed, said) = git(clone.path(), Some(TOKEN), &["push", "--quiet", "origin", "work"]).await;
    assert!(pushed, "{said}");
    github
}

async fn create(github: &FakeGithub, token: &str, repository: &str, body: &Value) -> (u16, Value) {
    let url = format!("{}/repos/{repository}/pulls", github.api_url());
    let answer = client().post(url).bearer_auth(token).json(body).send().await.expect("the fake answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn list(github: &FakeGithub, query: &str) -> Vec<u64> {
    let url = format!("{}/repos/{REPOSITORY}/pulls?{query}", github.api_url());
    let answer = client().get(url).bearer_auth(TOKEN).send().await.expect("the fake answers");
    assert_eq!(answer.status(), 200);
    let pulls: Vec<Value> = answer.json().await.expect("JSON");
    pulls.iter().map(|pull| pull["number"].as_u64().expect("a number")).collect()
}

fn wanted() -> Value {
    json!({"title": "Work", "head": "work", "base": "main", "body": "What was done"})
}

#[tokio::test]
async fn pushing_takes_the_token_and_stores_the_branch() {
    let github = FakeGithub::start(TOKEN).await;
    github.add_repository(REPOSITORY).await;
    let clone = clone_with_work(&github).await;
    for token in [None, Some("wrong")] {
        let (pushed, said) = git(clone.path(), token, &["push", "--quiet", "origin", "work"]).await;
        assert!(!pushed, "pushed with {token:?}");
        assert!(said.contains("fatal"), "{said}");
    }
    assert_eq!(github.branches(REPOSITORY).await, ["main"]);
    let (pushed, said) = git(clone.path(), Some(TOKEN), &["push", "--quiet", "origin", "work"]).await;
    assert!(pushed, "{said}");
    assert_eq!(github.branches(REPOSITORY).await, ["main", "work"]);
    assert_eq!(github.file(REPOSITORY, "work", "README.md").await.as_deref(), Some("# changed"));
    assert_ne!(github.tree(REPOSITORY, "work").await, github.tree(REPOSITORY, "main").await);
    assert_eq!(github.tree(REPOSITORY, "absent").await, None);
}

#[tokio::test]
async fn a_pull_request_is_created_once_and_listed() {
    let github = with_pushed_work().await;
    let (status, pull) = create(&github, TOKEN, REPOSITORY, &wanted()).await;
    assert_eq!((status, &pull["number"]), (201, &json!(1)), "{pull}");
    assert_eq!(pull["html_url"], format!("{}/{REPOSITORY}/pull/1", github.url()));
    assert_eq!((&pull["head"]["ref"], &pull["base"]["ref"]), (&json!("work"), &json!("main")));

    let (status, refusal) = create(&github, TOKEN, REPOSITORY, &wanted()).await;
    assert_eq!(status, 422);
    assert_eq!(refusal["errors"][0]["message"], "A pull request already exists for octo:work.");
    assert_eq!(github.pulls().len(), 1);

    assert_eq!(list(&github, "head=octo:work&state=all").await, [1]);
    assert_eq!(list(&github, "head=octo:other").await, [0; 0]);
    assert_eq!(list(&github, "head=other").await, [1], "a head without its owner filters nothing");
    github.close_pull(REPOSITORY, 1);
    assert_eq!(list(&github, "head=octo:work").await, [0; 0]);
    assert_eq!(list(&github, "head=octo:work&state=closed").await, [1]);
    assert_eq!(create(&github, TOKEN, REPOSITORY, &wanted()).await.1["number"], 2);
}

#[tokio::test]
async fn what_github_refuses_is_refused() {
    let github = with_pushed_work().await;
    assert_eq!(create(&github, "wrong", REPOSITORY, &wanted()).await.0, 401);
    assert_eq!(create(&github, TOKEN, "octo/absent", &wanted()).await.0, 404);
    for (field, value, expected) in [
        ("head", json!("absent"), "\"field\":\"head\""),
        ("base", json!("absent"), "\"field\":\"base\""),
        ("head", json!("main"), "No commits between main and main"),
        ("head", json!(5), "Invalid request"),
        ("draft", json!("yes"), "Invalid request"),
        ("title", json!(["Work"]), "Invalid request"),
        ("title", json!(""), "missing_field"),
    ] {
        let mut body = wanted();
        body[field] = value;
        let (status, refusal) = create(&github, TOKEN, REPOSITORY, &body).await;
        assert_eq!(status, 422, "{body} was answered {refusal}");
        assert!(refusal.to_string().contains(expected), "{body} was answered {refusal}");
    }
    for field in ["head", "base", "title"] {
        let mut body = wanted();
        body.as_object_mut().expect("an object").remove(field);
        assert_eq!(create(&github, TOKEN, REPOSITORY, &body).await.0, 422, "{body}");
    }
    assert_eq!(github.pulls(), []);
}

#[tokio::test]
async fn faults_happen_once_and_where_they_were_put() {
    let github = with_pushed_work().await;
    let down = Fault::Answer(StatusCode::BAD_GATEWAY, json!({"message": "Server Error"}));
    github.inject(Operation::CreatePull, down);
    github.inject(Operation::CreatePull, Fault::DropReply);
    assert_eq!(list(&github, "").await, [0; 0], "listing meets no fault of creating");
    assert_eq!(create(&github, TOKEN, REPOSITORY, &wanted()).await.0, 502);
    assert_eq!(github.pulls(), []);

    let url = format!("{}/repos/{REPOSITORY}/pulls", github.api_url());
    let lost = client().post(url).bearer_auth(TOKEN).json(&wanted()).send().await;
    assert!(lost.is_err(), "the reply is dropped");
    assert_eq!(github.pulls().len(), 1, "after the work was done");
    assert_eq!(create(&github, TOKEN, REPOSITORY, &wanted()).await.0, 422);
}

#[tokio::test]
async fn a_push_whose_reply_is_dropped_has_arrived() {
    let github = FakeGithub::start(TOKEN).await;
    github.add_repository(REPOSITORY).await;
    let clone = clone_with_work(&github).await;
    github.inject(Operation::Push, Fault::DropReply);
    let (pushed, _) = git(clone.path(), Some(TOKEN), &["push", "--quiet", "origin", "work"]).await;
    assert!(!pushed);
    assert_eq!(github.branches(REPOSITORY).await, ["main", "work"]);
}

#[tokio::test]
async fn a_black_hole_never_answers() {
    let github = with_pushed_work().await;
    github.inject(Operation::ListPulls, Fault::BlackHole);
    let url = format!("{}/repos/{REPOSITORY}/pulls", github.api_url());
    let answer = client().get(url).bearer_auth(TOKEN).timeout(Duration::from_millis(300)).send().await;
    assert!(answer.expect_err("no answer comes").is_timeout());
    assert_eq!(list(&github, "").await, [0; 0]);
}
