//! What a repository, or a run, may leave behind to be executed, followed or hidden.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use anyhow::Context;

use super::super::testing::{Volume, contents, git, run, write};
use super::super::{GitError, scrub};
use super::{changes, chmod};

#[tokio::test]
async fn nothing_that_a_run_leaves_behind_is_executed() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let tree = repository.worktree();
    let canary = volume.path("canary");
    let payload = volume.path("payload.sh");
    fs::write(&payload, format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", canary.display()))?;
    chmod(&payload, 0o755)?;
    let payload = payload.display().to_string();
    let before = repository.snapshot().await?;
    repository.prepare_for_agent().await?;

    for directory in [tree.to_owned(), tree.join("nested")] {
        fs::create_dir_all(&directory)?;
        git(&directory, &["init", "-q"])?;
        for hook in
            ["pre-commit", "post-checkout", "post-index-change", "pre-push", "reference-transaction", "post-rewrite"]
        {
            write(&directory, &format!(".git/hooks/{hook}"), fs::read(&payload)?)?;
            chmod(&directory.join(".git/hooks").join(hook), 0o755)?;
        }
        for key in [
            "core.fsmonitor",
            "core.sshCommand",
            "core.pager",
            "core.editor",
            "core.askPass",
            "core.alternateRefsCommand",
            "diff.external",
            "diff.evil.command",
            "diff.evil.textconv",
            "filter.evil.clean",
            "filter.evil.smudge",
            "filter.evil.process",
            "merge.evil.driver",
            "gpg.program",
            "credential.helper",
            "uploadpack.packObjectsHook",
            "gc.recentObjectsHook",
        ] {
            git(&directory, &["config", key, &payload])?;
        }
        git(&directory, &["config", "filter.evil.required", "true"])?;
        git(&directory, &["config", "include.path", "../evil.config"])?;
        write(&directory, "evil.config", format!("[core]\n\tfsmonitor = {payload}\n\thooksPath = {tree:?}\n"))?;
        write(
            &directory,
            ".gitattributes",
            "* filter=evil diff=evil merge=evil ident text eol=crlf working-tree-encoding=UTF-16\n",
        )?;
        write(&directory, "work.txt", "$Id$\r\nline\n")?;
    }
    assert!(!canary.exists(), "the payload is set, and was not run by setting it");
    // It fails, as the payload is no proper filter; that it ran is what counts.
    let _ = git(tree, &["status"]);
    assert!(canary.exists(), "a git that trusts the directory does run it");
    fs::remove_file(&canary)?;

    let shown = changes(&repository, &before).await?;
    assert!(shown.diff.contains("+$Id$\r\n"), "contents are taken as they are, and are shown");
    repository.branches().await?;
    repository.read_file("work.txt", 100).await?;
    let branch = repository.park(&run(1)?, &before, &shown.tree, "work").await?;
    repository.restore_shown(&before, &shown.tree).await?;
    repository.bring_back(&run(1)?, &branch).await?;
    assert_eq!(fs::read(tree.join("work.txt"))?, b"$Id$\r\nline\n");
    assert_eq!(changes(&repository, &before).await?.tree, shown.tree);
    repository.snapshot().await?;
    repository.prepare_for_agent().await?;
    repository.checkout("other", true).await?;
    repository.checkout("main", false).await?;
    repository.fetch().await?;
    repository.follow_origin().await?;
    repository.restore(&before).await?;
    assert!(!canary.exists(), "{}", fs::read_to_string(&canary)?);
    Ok(())
}

#[tokio::test]
async fn attributes_cannot_hide_a_change_from_the_diff() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    let before = repository.snapshot().await?;
    write(repository.worktree(), ".gitattributes", "*.rs -diff linguist-generated\n* binary\n")?;
    write(repository.worktree(), "src/main.rs", "fn main() { evil() }\n")?;
    assert!(changes(&repository, &before).await?.diff.contains("+fn main() { evil() }"));
    Ok(())
}

#[tokio::test]
async fn a_git_directory_that_became_something_else_is_never_looked_into() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let place = repository.worktree().join(".git");
    let elsewhere = volume.path("elsewhere");
    fs::create_dir(&elsewhere)?;
    fs::write(elsewhere.join("kept"), "")?;
    let before = repository.snapshot().await?;
    write(repository.worktree(), "new", "x")?;
    let expected = changes(&repository, &before).await?;

    symlink(&elsewhere, &place)?;
    assert_eq!(changes(&repository, &before).await?, expected);
    repository.prepare_for_agent().await?;
    assert!(place.is_dir() && !place.is_symlink() && elsewhere.join("kept").exists());
    fs::remove_dir_all(&place)?;
    fs::write(&place, format!("gitdir: {}\n", elsewhere.display()))?;
    assert_eq!(changes(&repository, &before).await?, expected);
    repository.restore(&before).await?;
    assert!(!place.exists() && elsewhere.join("kept").exists());
    Ok(())
}

#[tokio::test]
async fn a_file_is_never_written_through_a_link_of_the_run() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let (tree, outside) = (repository.worktree(), volume.path("outside"));
    fs::create_dir(&outside)?;
    fs::write(outside.join("main.rs"), "outside\n")?;
    let before = repository.snapshot().await?;
    let expected = contents(tree)?;
    fs::remove_dir_all(tree.join("src"))?;
    symlink(&outside, tree.join("src"))?;
    let shown = changes(&repository, &before).await?;
    repository.restore_shown(&before, &shown.tree).await?;
    assert_eq!(contents(tree)?, expected);
    fs::remove_file(tree.join("README.md"))?;
    symlink(outside.join("main.rs"), tree.join("README.md"))?;
    repository.restore(&before).await?;
    assert_eq!(contents(tree)?, expected);
    assert_eq!(fs::read_to_string(outside.join("main.rs"))?, "outside\n");
    assert_eq!(fs::read_dir(&outside)?.count(), 1);
    Ok(())
}

#[tokio::test]
async fn a_nested_repository_is_plain_files_in_the_diff_and_gone_after_a_restore() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    let tree = repository.worktree();
    // One was there before the run: it is restored with the inside of its git directory.
    write(tree, "old/file", "1\n")?;
    git(&tree.join("old"), &["init", "-q"])?;
    let before = repository.snapshot().await?;
    let expected = contents(tree)?;

    for name in ["with-commit", "without-commit"] {
        write(tree, &format!("{name}/code.rs"), "fn f() {}\n")?;
        git(&tree.join(name), &["init", "-q"])?;
    }
    for directory in ["with-commit", "old"] {
        git(&tree.join(directory), &["add", "-A"])?;
        git(&tree.join(directory), &["commit", "-q", "-m", "nested"])?;
    }
    let shown = changes(&repository, &before).await?;
    assert!(shown.diff.contains("with-commit/code.rs") && shown.diff.contains("without-commit/code.rs"));
    assert!(!shown.diff.contains("160000") && !shown.diff.contains(".git/"));
    assert_eq!(shown.stat.files, 2);
    repository.restore(&before).await?;
    assert_eq!(contents(tree)?, expected);
    Ok(())
}

#[tokio::test]
async fn only_text_inside_the_worktree_is_shown() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let tree = repository.worktree();
    fs::write(volume.path("secret"), "secret")?;
    symlink(volume.path("secret"), tree.join("absolute"))?;
    symlink("../../../../secret", tree.join("relative"))?;
    symlink("src/main.rs", tree.join("inside"))?;
    symlink("/", tree.join("root"))?;
    write(tree, "binary", b"\0\x01")?;
    write(tree, "long", "é".repeat(50))?;
    assert_eq!(repository.read_file("src/main.rs", 1000).await?.text, "fn main() {}\n");
    assert_eq!(repository.read_file("inside", 1000).await?.text, "fn main() {}\n");
    let long = repository.read_file("long", 9).await?;
    assert_eq!((long.text.as_str(), long.bytes, long.cut), ("éééé", 100, true));
    for bad in [
        "absolute",
        "relative",
        "root/etc/passwd",
        "../../../../secret",
        "/etc/passwd",
        "src/../../x",
        "src",
        "binary",
        "",
        ".",
    ] {
        let refused = repository.read_file(bad, 1000).await;
        assert!(matches!(refused, Err(GitError::Invalid(_) | GitError::NotFound(_))), "{bad}: {refused:?}");
    }
    assert!(matches!(repository.read_file("missing", 10).await, Err(GitError::NotFound(_))));
    Ok(())
}

#[tokio::test]
async fn a_git_that_hangs_is_stopped() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let pipe = volume.path("pipe");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0)?;
    let call = repository.git().call("hash-object").arg("--no-filters").arg(&pipe);
    let stopped = call.timeout(Duration::from_millis(200)).output().await;
    assert!(matches!(stopped, Err(GitError::TimedOut { .. })), "{stopped:?}");
    Ok(())
}

#[test]
fn a_complaint_holds_no_secret() {
    let complaint = b"fatal: unable to access 'https://me:hunter2@host/o/r':\n token tok_123 refused\n";
    assert_eq!(
        scrub(complaint, &["tok_123".to_owned().into()]),
        "fatal: unable to access 'https://host/o/r': token *** refused"
    );
    assert_eq!(scrub(b"", &[]), "it gave no reason");
}

#[tokio::test]
async fn what_is_shown_is_what_is_committed_whatever_git_is_told_to_replace() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let git_dir = repository.git().git_dir();
    let before = repository.snapshot().await?;
    write(repository.worktree(), "run.sh", "evil\n")?;
    let object = |text: &str| -> anyhow::Result<String> {
        fs::write(volume.path("object"), text)?;
        let path = volume.path("object").display().to_string();
        Ok(git(git_dir, &["hash-object", "-w", "--no-filters", &path])?.trim().to_owned())
    };
    let (evil, harmless) = (object("evil\n")?, object("harmless\n")?);
    git(git_dir, &["replace", &evil, &harmless])?;
    let shown = repository.changes(&before).await?.context("there are changes")?;
    assert!(shown.diff.contains("+evil") && !shown.diff.contains("harmless"), "{}", shown.diff);
    let commit = repository.commit(&run(1)?, &before, &shown.tree, "message").await?;
    let committed = git(git_dir, &["--no-replace-objects", "show", &format!("{commit}:run.sh")])?;
    assert_eq!(committed, "evil\n");
    Ok(())
}
