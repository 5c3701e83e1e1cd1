//! The REST half of the fake: listing and creating pull requests, strict where GitHub is strict. Both what comes in and
//! what goes out is held against GitHub's own schemas.

use axum::response::Response;
use serde_json::{Value, json};

use super::Hub;
use super::schema::{PULLS, faults};
use crate::server::{self, Received};

const CREATE_DOC: &str = "https://docs.github.com/rest/pulls/pulls#create-a-pull-request";

/// A pull request as the fake keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pull {
    /// `owner/name` of the repository.
    pub repository: String,
    /// Its number, from 1.
    pub number: u64,
    /// The title.
    pub title: String,
    /// The text; empty when none was given.
    pub body: String,
    /// The branch to be merged.
    pub head: String,
    /// The branch to merge into.
    pub base: String,
    /// Whether it is a draft.
    pub draft: bool,
    /// Whether it is open.
    pub open: bool,
}

/// `GET /repos/{owner}/{repo}/pulls`. As at GitHub, a `head` without `owner:` filters nothing.
pub(super) fn list(hub: &Hub, repository: &str, request: &Received) -> Response {
    let query = request.query_pairs();
    let of = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let owner = owner(repository);
    let state = of("state").unwrap_or("open");
    if !["open", "closed", "all"].contains(&state) {
        return invalid(json!([{"resource": "PullRequest", "field": "state", "code": "invalid"}]));
    }
    let wanted = |pull: &&Pull| {
        let head_fits = of("head").is_none_or(|head| match head.split_once(':') {
            Some((user, branch)) => user == owner && branch == pull.head,
            None => true,
        });
        let state_fits = state == "all" || (state == "open") == pull.open;
        pull.repository == repository && state_fits && head_fits && of("base").is_none_or(|base| base == pull.base)
    };
    let pulls = hub.pulls();
    let found: Value = pulls.iter().rev().filter(wanted).map(|pull| shown(hub, pull, &PULLS.list_example)).collect();
    checked(200, found)
}

/// `POST /repos/{owner}/{repo}/pulls`.
pub(super) async fn create(hub: &Hub, repository: &str, request: &Received) -> Response {
    let Ok(asked) = serde_json::from_slice::<Value>(&request.body) else {
        return server::json(
            400,
            json!({"message": "Problems parsing JSON", "documentation_url": CREATE_DOC, "status": "400"}),
        );
    };
    let faults = faults(&PULLS.create_request, &asked);
    if !faults.is_empty() {
        return refusal(&format!("Invalid request.\n\n{}", faults.join("\n")), None);
    }
    if asked["title"].as_str().is_none_or(|title| title.trim().is_empty()) && asked["issue"].is_null() {
        return invalid(json!([{"resource": "PullRequest", "field": "title", "code": "missing_field"}]));
    }
    let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
    let (head, base) = (text("head"), text("base"));
    let head = head.strip_prefix(&format!("{}:", owner(repository))).unwrap_or(&head).to_owned();
    let (at_head, at_base) = (hub.tip(repository, &head).await, hub.tip(repository, &base).await);
    for (field, tip) in [("head", &at_head), ("base", &at_base)] {
        if tip.is_none() {
            return invalid(json!([{"resource": "PullRequest", "field": field, "code": "invalid"}]));
        }
    }
    if at_head == at_base {
        return refused(&format!("No commits between {base} and {head}"));
    }
    let pull = Pull {
        repository: repository.to_owned(),
        number: 0,
        title: text("title"),
        body: text("body"),
        head,
        base,
        draft: asked["draft"] == true,
        open: true,
    };
    let already = format!("A pull request already exists for {}:{}.", owner(repository), pull.head);
    match hub.open(pull) {
        Some(pull) => checked(201, shown(hub, &pull, &PULLS.create_example)),
        None => refused(&already),
    }
}

/// The pull request in GitHub's words: its example with what is true here in the fields that a client may look at.
fn shown(hub: &Hub, pull: &Pull, example: &Value) -> Value {
    let (repository, number) = (&pull.repository, pull.number);
    let mut shown = example.clone();
    let set = [
        ("url", json!(format!("{}/repos/{repository}/pulls/{number}", hub.api_url()))),
        ("html_url", json!(format!("{}/{repository}/pull/{number}", hub.url()))),
        ("id", json!(1_000_000 + number)),
        ("number", json!(number)),
        ("state", json!(if pull.open { "open" } else { "closed" })),
        ("title", json!(pull.title)),
        ("body", json!(pull.body)),
        ("draft", json!(pull.draft)),
        ("merged_at", Value::Null),
        ("closed_at", Value::Null),
        // GitHub's own examples of these break GitHub's own schema.
        ("requested_teams", json!([])),
    ];
    for (field, value) in set {
        shown[field] = value;
    }
    for (side, branch) in [("head", &pull.head), ("base", &pull.base)] {
        shown[side]["ref"] = json!(branch);
        shown[side]["label"] = json!(format!("{}:{branch}", owner(repository)));
        shown[side]["repo"]["full_name"] = json!(repository);
    }
    shown
}

/// An answer that keeps to GitHub's schema; a fake that does not is at fault itself, and says so.
fn checked(status: u16, body: Value) -> Response {
    let schema = match status {
        200 => &PULLS.list_response,
        201 => &PULLS.create_response,
        _ => &PULLS.refusal,
    };
    let faults = faults(schema, &body);
    if faults.is_empty() {
        server::json(status, body)
    } else {
        server::json(500, json!({"message": "The fake's own answer breaks GitHub's schema", "faults": faults}))
    }
}

fn refused(message: &str) -> Response {
    invalid(json!([{"resource": "PullRequest", "code": "custom", "message": message}]))
}

fn invalid(errors: Value) -> Response {
    refusal("Validation Failed", Some(errors))
}

fn refusal(message: &str, errors: Option<Value>) -> Response {
    let mut body = json!({"message": message, "documentation_url": CREATE_DOC, "status": "422"});
    if let Some(errors) = errors {
        body["errors"] = errors;
    }
    checked(422, body)
}

fn owner(repository: &str) -> &str {
    repository.split('/').next().unwrap_or_default()
}
