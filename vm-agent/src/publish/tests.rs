use std::os::unix::fs::PermissionsExt;

use url::Url;

use super::*;
use crate::git::fetch::Fetches;
use crate::git::testing::{Volume, git, run, write};
use crate::repositories::UrlTrust;

fn text() -> PullRequestText {
    PullRequestText { title: "Add a file".to_owned(), body: "Because it was asked for.".to_owned() }
}

async fn work(repository: &Repository) -> anyhow::Result<(Snapshot, TreeHash)> {
    let before = repository.snapshot().await?;
    write(repository.worktree(), "new.txt", "new\n")?;
    let changes = repository.changes(&before).await?;
    Ok((before, changes.map(|changes| changes.tree).ok_or_else(|| anyhow::anyhow!("nothing changed"))?))
}

#[tokio::test]
async fn a_remote_that_is_not_github_gets_exactly_the_tree_and_a_note() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let (before, tree) = work(&repository).await?;
    // What happens to the worktree after the diff was shown does not matter.
    write(repository.worktree(), "new.txt", "changed after it was shown\n")?;
    volume.commit_at_origin("main", "moved.txt", "origin moved on\n")?;
    let run = run(1)?;
    let first = publish(&repository, &run, &before, &tree, &text(), None).await?;
    let DecisionResult::Pushed { branch, note } = &first else { anyhow::bail!("{first:?}") };
    assert!(branch == "textslash/0123abcd-1" && note.contains("not on GitHub"));
    let commit = volume.origin(&["rev-parse", branch])?;
    assert_eq!(volume.origin(&["rev-parse", &format!("{branch}^{{tree}}")])?.trim(), tree.as_str());
    assert_eq!(
        volume.origin(&["rev-parse", &format!("{branch}^")])?.trim(),
        before.base.as_ref().map_or("", |it| it.as_str())
    );
    assert_eq!(volume.origin(&["log", "-1", "--format=%B", branch])?.trim(), "Add a file\n\nBecause it was asked for.");

    let second = publish(&repository, &run, &before, &tree, &text(), None).await?;
    assert_eq!(second, first);
    assert_eq!(volume.origin(&["rev-parse", branch])?, commit);
    Ok(())
}

#[tokio::test]
async fn the_commit_is_the_same_wherever_an_earlier_try_broke_off() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let (before, tree) = work(&repository).await?;
    let run = run(1)?;
    let committed = repository.commit(&run, &before, &tree, "Add a file").await?;
    git(repository.git().git_dir(), &["update-ref", "-d", "refs/heads/textslash/0123abcd-1"])?;
    assert_eq!(
        repository.commit(&run, &before, &tree, "Add a file").await?,
        committed,
        "before the branch was written"
    );
    publish(&repository, &run, &before, &tree, &text(), None).await?;
    assert_eq!(
        volume.origin(&["rev-parse", "textslash/0123abcd-1"])?.trim(),
        committed.as_str(),
        "after it was written"
    );
    Ok(())
}

#[tokio::test]
async fn a_push_that_is_refused_says_why_and_keeps_the_work() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let (before, tree) = work(&repository).await?;
    let run = run(1)?;
    volume.commit_at_origin("textslash/0123abcd-1", "other.txt", "someone else's\n")?;
    let refused = publish(&repository, &run, &before, &tree, &text(), None).await;
    let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("same name") && said.contains("kept on the local branch"), "{said}");
    volume.origin(&["update-ref", "-d", "refs/heads/textslash/0123abcd-1"])?;

    let hook = volume.path("origin.git/hooks/pre-receive");
    write(&volume.path("origin.git"), "hooks/pre-receive", "#!/bin/sh\necho no pushes on Fridays >&2\nexit 1\n")?;
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))?;
    let refused = publish(&repository, &run, &before, &tree, &text(), None).await;
    let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("no pushes on Fridays"), "{said}");
    std::fs::remove_file(hook)?;

    std::fs::rename(volume.path("origin.git"), volume.path("away.git"))?;
    let refused = publish(&repository, &run, &before, &tree, &text(), None).await;
    let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("Origin is not there"), "{said}");
    std::fs::rename(volume.path("away.git"), volume.path("origin.git"))?;
    assert!(publish(&repository, &run, &before, &tree, &text(), None).await.is_ok(), "the same decision again works");
    Ok(())
}

#[tokio::test]
async fn another_tree_is_never_put_on_the_branch_of_a_run() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    let (before, tree) = work(&repository).await?;
    repository.park(&run(1)?, &before, &tree, "work").await?;
    let other = TreeHash::parse(git(repository.git().git_dir(), &["rev-parse", "HEAD^{tree}"])?.trim())?;
    let refused = publish(&repository, &run(1)?, &before, &other, &text(), None).await;
    assert!(matches!(refused, Err(PublishError::Commit(_))), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn github_without_a_token_names_the_variable() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    let (before, tree) = work(&repository).await?;
    for url in ["https://github.com/o/r", "git@github.com:o/r.git"] {
        git(repository.git().git_dir(), &["config", "remote.origin.url", url])?;
        let refused = publish(&repository, &run(1)?, &before, &tree, &text(), None).await;
        let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(said.contains("`GITHUB_TOKEN`"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_token_for_github_does_not_reach_another_remote() -> anyhow::Result<()> {
    let volume = Volume::with_origin()?;
    let api = Url::parse("http://127.0.0.1:9")?;
    let github = GitHub::new("tok".to_owned().into(), api, GitHub::default_web_url())?;
    let repositories = crate::repositories::Repositories::new(volume.path("data"), Some(github.clone()), None);
    let repository = repositories.clone_url(&volume.origin_url(), UrlTrust::Operator).await?;
    let (before, tree) = work(&repository).await?;
    let hook = volume.path("origin.git/hooks/pre-receive");
    write(&volume.path("origin.git"), "hooks/pre-receive", "#!/bin/sh\nenv > environment\n")?;
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))?;
    let result = publish(&repository, &run(1)?, &before, &tree, &text(), Some(&github)).await?;
    assert!(matches!(result, DecisionResult::Pushed { .. }));
    let environment = std::fs::read_to_string(volume.path("origin.git/environment"))?;
    assert!(!environment.contains("Basic") && !environment.contains("tok\n"), "{environment}");
    Ok(())
}

#[test]
fn known_refusals_of_a_push_are_explained() {
    let cases = [
        ("! [rejected] x -> x (fetch first)", "same name"),
        (
            "remote: Permission to o/r.git denied to x. fatal: unable to access: The requested URL returned error: 403",
            "Contents: write",
        ),
        ("fatal: Authentication failed for 'https://github.com/o/r/'", "GITHUB_TOKEN"),
        ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", "GITHUB_TOKEN"),
        (
            "refusing to allow a Personal Access Token to create or update workflow `x` without `workflow` scope",
            "Workflows: write",
        ),
        ("remote: error: GH006: Protected branch update failed", "rules"),
        ("fatal: Could not resolve host: github.com", "could not be reached"),
        ("remote: Repository not found.", "Origin is not there"),
        ("something new", "something new"),
    ];
    for (complaint, expected) in cases {
        let said = explain_push(&GitError::Failed { what: "push", complaint: complaint.to_owned() });
        assert!(said.contains(expected), "{complaint}: {said}");
    }
}

#[tokio::test]
async fn githubs_address_gets_the_token_and_a_refusal_of_it_is_explained() -> anyhow::Result<()> {
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let refuse = move |request: axum::extract::Request| async move {
        let header = request.headers().get("authorization").and_then(|it| it.to_str().ok()).map(str::to_owned);
        // Fails only once the test is over.
        let _ = sender.send((request.uri().path().to_owned(), header));
        (axum::http::StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic realm=\"GitHub\"")])
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let site = Url::parse(&format!("http://{}", listener.local_addr()?))?;
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(refuse)).await });

    let (_volume, repository) = Volume::with_clone().await?;
    let (before, tree) = work(&repository).await?;
    let origin = format!("{site}o/r");
    git(repository.git().git_dir(), &["config", "remote.origin.url", &origin])?;
    let github = GitHub::new("tok_secret".to_owned().into(), site.clone(), site)?;
    let root = repository.git().git_dir().with_file_name("");
    let repository = Repository::open(root, Some(github.clone()), None, Fetches::default())?;
    let refused = publish(&repository, &run(1)?, &before, &tree, &text(), Some(&github)).await;
    let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("`GITHUB_TOKEN`") && !said.contains("tok_secret"), "{said}");
    let (path, header) = seen.recv().await.ok_or_else(|| anyhow::anyhow!("nobody asked"))?;
    assert_eq!(path, "/o/r.git/info/refs");
    assert_eq!(header, Some(github.git_header().1.trim_start_matches("Authorization: ").to_owned()));
    Ok(())
}
