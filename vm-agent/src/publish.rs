//! An approved diff on its way to a pull request: commit, push, open.
//!
//! Every step finds what an earlier try left, so that after a crash at any point the same call again gives the same
//! commit, the same branch and the same pull request. Nothing here touches the worktree.

use relay_core::id::{RunId, TreeHash};
use relay_core::protocol::DecisionResult;

use tracing::Instrument;

use crate::git::park::branch_of;
use crate::git::repository::Repository;
use crate::git::snapshot::Snapshot;
use crate::git::{GitError, is_unreachable};
use crate::github::{GitHub, GitHubError};

/// What a pull request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRequestText {
    /// One line; also the commit's.
    pub title: String,
    /// Markdown; also the commit's, below the title.
    pub body: String,
}

/// Why work did not reach its pull request. The text says what happened and what to do; the work is kept.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Origin is on GitHub, which lets nobody push without a token.
    #[error(
        "The repository is on GitHub, and the VM has no token to push with. \
         Set `GITHUB_TOKEN` on the VM (permissions *Contents: write* and *Pull requests: write*), then approve again. \
         The work is kept on the local branch `{branch}`."
    )]
    NoToken {
        /// Where the work is.
        branch: String,
    },
    /// The commit could not be made.
    #[error("{0} The work is kept.")]
    Commit(#[source] GitError),
    /// Origin did not take it, or could not be asked.
    #[error("{reason} The work is kept on the local branch `{branch}`.")]
    Push {
        /// Where the work is.
        branch: String,
        /// What happened and what to do.
        reason: String,
    },
    /// Origin has the branch, and no pull request.
    #[error("The branch `{branch}` is pushed, but there is no pull request yet. {source}")]
    PullRequest {
        /// The branch at origin.
        branch: String,
        /// GitHub's answer.
        source: GitHubError,
    },
    /// Origin has no other branch.
    #[error(
        "The branch `{branch}` is pushed. It is the first one of the repository, \
         so there is nothing to open a pull request against."
    )]
    NoBase {
        /// The branch at origin.
        branch: String,
    },
}

/// What origin said about its branches.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heads {
    default: Option<String>,
    has_started_on: bool,
}

/// Commit exactly `tree` upon the commit that the run started from, push it to origin as `textslash/<run>`, and open a
/// pull request into the branch that the run started on (or origin's default one). Without a pull request when origin
/// is not on GitHub: the note says so.
pub async fn publish(
    repository: &Repository,
    run: &RunId,
    before: &Snapshot,
    tree: &TreeHash,
    text: &PullRequestText,
    github: Option<&GitHub>,
) -> Result<DecisionResult, PublishError> {
    let branch = branch_of(run);
    let message = format!("{}\n\n{}\n", text.title.trim(), text.body.trim());
    let commit = repository.commit(run, before, tree, message.trim()).await.map_err(PublishError::Commit)?;
    let push_failed = |error| PublishError::Push { branch: branch.clone(), reason: explain_push(&error) };
    let origin = repository.origin().await.map_err(push_failed)?;
    let target = github.and_then(|github| Some((github, github.repository(&origin)?)));
    if target.is_none() && origin.repository_on(&GitHub::default_web_url()).is_some() {
        return Err(PublishError::NoToken { branch });
    }
    let heads = heads(repository, &before.branch).await.map_err(push_failed)?;
    push(repository, commit.as_str(), &branch).await.map_err(push_failed)?;
    let Some((github, (owner, name))) = target else {
        let note = "The repository's origin is not on GitHub, so there is no pull request to open.".to_owned();
        return Ok(DecisionResult::Pushed { branch, note });
    };
    let base = if heads.has_started_on { Some(before.branch.clone()) } else { heads.default };
    let Some(base) = base.filter(|base| *base != branch) else {
        return Err(PublishError::NoBase { branch });
    };
    match github.open_pull_request(&owner, &name, &branch, &base, text.title.trim(), text.body.trim()).await {
        Ok(pull) => Ok(DecisionResult::PullRequest { url: pull.url, branch }),
        Err(source) => Err(PublishError::PullRequest { branch, source }),
    }
}

async fn heads(repository: &Repository, started_on: &str) -> Result<Heads, GitError> {
    let (call, url) = repository.call_origin("ls-remote").await?;
    let wanted = format!("refs/heads/{started_on}");
    let listing = call.args(["--symref", "--", &url, "HEAD", &wanted]).output().await?;
    let mut heads = Heads::default();
    for line in String::from_utf8_lossy(&listing).lines() {
        match line.split_once('\t') {
            Some((target, "HEAD")) if target.starts_with("ref: ") => {
                heads.default = target.strip_prefix("ref: refs/heads/").map(str::to_owned);
            }
            Some((_, name)) if name == wanted => heads.has_started_on = true,
            _ => {}
        }
    }
    Ok(heads)
}

async fn push(repository: &Repository, commit: &str, branch: &str) -> Result<(), GitError> {
    let (call, url) = repository.call_origin("push").await?;
    let call = call.args(["--quiet", "--no-verify", "--no-follow-tags", "--no-signed", "--", &url]);
    let span = tracing::info_span!("git push");
    call.arg(format!("{commit}:refs/heads/{branch}")).output().instrument(span).await?;
    Ok(())
}

/// What happened and what to do, for people.
fn explain_push(error: &GitError) -> String {
    let GitError::Failed { complaint, .. } = error else { return error.to_string() };
    let says = |words: &[&str]| words.iter().any(|word| complaint.contains(word));
    if says(&["non-fast-forward", "fetch first", "stale info"]) {
        "Origin has a branch of the same name with other work, which is left alone. \
         Delete or rename it there, then approve again."
            .to_owned()
    } else if says(&["without `workflow` scope", "without `workflows` permission"]) {
        "GitHub does not let this token change workflow files. \
         Give it the permission *Workflows: write*, then approve again."
            .to_owned()
    } else if says(&["protected branch", "GH006", "GH013", "hook declined"]) {
        format!("Origin's rules do not allow this branch. It says: {complaint}")
    } else if says(&["Authentication failed", "could not read Username", "Invalid username", "error: 401"]) {
        "Origin did not accept the credentials. Set a valid `GITHUB_TOKEN` on the VM, then approve again.".to_owned()
    } else if says(&["Permission", "denied", "error: 403", "not allowed"]) {
        format!("Origin does not let me push. A token needs the permission *Contents: write*. It says: {complaint}")
    } else if says(&["not found", "does not exist", "does not appear to be a git repository"]) {
        "Origin is not there, or the token may not see it. Check the repository's address and the token, then approve again."
            .to_owned()
    } else if is_unreachable(complaint) {
        "Origin could not be reached. Approve again in a few minutes.".to_owned()
    } else {
        format!("The push failed. Git says: {complaint}")
    }
}

#[cfg(test)]
mod tests;
