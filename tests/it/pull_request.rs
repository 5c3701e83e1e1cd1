//! Pull requests at a fake GitHub, whose requests are held against GitHub's own schema, and what the person reads when
//! GitHub refuses.

use axum::http::StatusCode;
use serde_json::json;
use system_tests::console::Console;
use system_tests::fake_github::{FakeGithub, Operation};
use system_tests::server::Fault;
use system_tests::stack::{BOUND, Plan, Stack};

use crate::common::shown_tree;

pub(crate) const TOKEN: &str = "ghp_only_for_tests";

pub(crate) fn with_github(github: &FakeGithub, token: Option<&str>) -> Plan {
    let plan = Plan::default()
        .repo(github.clone_url("octo/demo"))
        .vm("GITHUB_API_URL", github.api_url())
        .vm("GITHUB_URL", github.url());
    match token {
        Some(token) => plan.vm("GITHUB_TOKEN", token),
        None => plan,
    }
}

async fn awaiting_approval(plan: Plan) -> (Stack, Console) {
    let stack = Stack::start(plan).await;
    let console = stack.console();
    console.send("add a line to hello.txt", BOUND).await;
    console.wait_for("*approve* opens", BOUND).await;
    (stack, console)
}

pub(crate) async fn github() -> FakeGithub {
    let github = FakeGithub::start(TOKEN).await;
    github.add_repository("octo/demo").await;
    github
}

#[tokio::test]
async fn approve_opens_one_pull_request_and_a_second_approve_none() {
    let github = github().await;
    let (stack, console) = awaiting_approval(with_github(&github, Some(TOKEN))).await;
    console.press("approve", BOUND).await;
    let opened = console.wait_for("is a pull request", BOUND).await;
    console.press("approve", BOUND).await;
    console.wait_for("That button is old. Run 1 is already a pull request", BOUND).await;
    console.send("approve", BOUND).await;
    console.wait_for("Nothing waits for an answer. Run 1 is already a pull request", BOUND).await;
    console.send("reject", BOUND).await;
    let pulls = github.pulls();
    assert_eq!(pulls.len(), 1, "{pulls:#?}");
    assert_eq!(pulls[0].base, "main");
    assert!(
        opened["text"].as_str().is_some_and(|text| text.contains(&format!("/octo/demo/pull/{}", pulls[0].number))),
        "{opened}"
    );
    assert_eq!(github.tree("octo/demo", &pulls[0].head).await, Some(shown_tree(&console.entries())));
    assert!(!stack.logs().contains(TOKEN), "the token is in a log");
}

#[tokio::test]
async fn a_lost_reply_of_github_does_not_open_a_second_one() {
    let github = github().await;
    let (_stack, console) = awaiting_approval(with_github(&github, Some(TOKEN))).await;
    github.inject(Operation::CreatePull, Fault::DropReply);
    console.send("approve", BOUND).await;
    // Either it was looked up at once, or the person is told and approves again: both lead to the one that is open.
    let told = console.wait_for("ull request", BOUND).await;
    if !told["text"].as_str().is_some_and(|text| text.contains("is a pull request")) {
        console.wait_for("could not become a pull request", BOUND).await;
        console.send("approve", BOUND).await;
    }
    console.wait_for("is a pull request", BOUND).await;
    assert_eq!(github.pulls().len(), 1);
}

/// What the person reads, and that the work is kept: the same approval works once the cause is gone.
async fn refused_then_mended(operation: Operation, fault: Fault, says: &str) {
    let github = github().await;
    let (_stack, console) = awaiting_approval(with_github(&github, Some(TOKEN))).await;
    github.inject(operation, fault);
    console.send("approve", BOUND).await;
    let told = console.wait_for("could not become a pull request", BOUND).await;
    let text = told["text"].as_str().expect("a text");
    assert!(text.contains(says), "{says:?} is not in {text:?}");
    assert!(text.contains("The work is kept"), "{text}");
    console.press("approve", BOUND).await;
    console.wait_for("is a pull request", BOUND).await;
    assert_eq!(github.pulls().len(), 1);
}

#[tokio::test]
async fn github_401_is_told_and_the_work_is_kept() {
    let answer = Fault::Answer(StatusCode::UNAUTHORIZED, json!({ "message": "Bad credentials" }));
    refused_then_mended(Operation::CreatePull, answer, "GITHUB_TOKEN").await;
}

#[tokio::test]
async fn github_404_is_told_and_the_work_is_kept() {
    let answer = Fault::Answer(StatusCode::NOT_FOUND, json!({ "message": "Not Found" }));
    refused_then_mended(Operation::CreatePull, answer, "octo/demo").await;
}

#[tokio::test]
async fn github_422_is_told_and_the_work_is_kept() {
    let errors = json!([{ "resource": "PullRequest", "code": "custom", "message": "No commits between main and x" }]);
    let body = json!({ "message": "Validation Failed", "errors": errors });
    refused_then_mended(
        Operation::CreatePull,
        Fault::Answer(StatusCode::UNPROCESSABLE_ENTITY, body),
        "No commits between",
    )
    .await;
}

#[tokio::test]
async fn a_refused_push_is_told_and_the_work_is_kept() {
    let answer = Fault::Answer(StatusCode::FORBIDDEN, json!({ "message": "denied" }));
    refused_then_mended(Operation::Push, answer, "push").await;
}

#[tokio::test]
async fn without_a_token_the_person_is_told_which_variable_to_set() {
    let github = github().await;
    let (_stack, console) = awaiting_approval(with_github(&github, None)).await;
    console.send("approve", BOUND).await;
    let told = console.wait_for("could not become a pull request", BOUND).await;
    assert!(told["text"].as_str().is_some_and(|text| text.contains("GITHUB_TOKEN")), "{told}");
    assert!(github.pulls().is_empty());
}
