//! The whole of git's part: snapshot, changes, restore, park, with worktrees as wild as a run can leave them.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use relay_core::id::ConversationId;
use relay_core::protocol::{DIFF_BYTES_MAX, DiffStat};

use super::GitError;
use super::repository::Session;
use super::testing::{Volume, contents, git, run, write};
use crate::repositories::{Changes, Repository, Snapshot};

mod changed_files;
mod hostile;
mod review;

fn chmod(path: &Path, mode: u32) -> anyhow::Result<()> {
    Ok(fs::set_permissions(path, Permissions::from_mode(mode))?)
}

async fn changes(repository: &Repository, before: &Snapshot) -> anyhow::Result<Changes> {
    repository.changes(before).await?.context("the run changed something")
}

/// Files of every kind that were there before the run, committed or not.
fn settle_in(tree: &Path) -> anyhow::Result<()> {
    write(tree, "src/lib.rs", "pub fn one() -> u32 {\n    1 // edited by hand\n}\n")?;
    write(tree, "notes.txt", "untracked\n")?;
    write(tree, "target/debug/app", b"\x7fELF\0\xff")?;
    write(tree, "target/debug/run.sh", "#!/bin/sh\n")?;
    chmod(&tree.join("target/debug/run.sh"), 0o750)?;
    write(tree, "private.log", "ignored and private\n")?;
    chmod(&tree.join("private.log"), 0o600)?;
    fs::create_dir_all(tree.join("empty/within"))?;
    chmod(&tree.join("empty"), 0o700)?;
    symlink("../src/main.rs", tree.join("docs/link"))?;
    symlink("/nowhere/at all/", tree.join("dangling"))?;
    write(tree, "untracked-dir/one", "1")?;
    write(tree, "untracked-dir/two", "")?;
    Ok(())
}

/// Everything that a run can do to files.
fn go_wild(tree: &Path) -> anyhow::Result<()> {
    write(tree, "README.md", "# Changed\n")?;
    fs::remove_file(tree.join("src/main.rs"))?;
    fs::rename(tree.join("src/lib.rs"), tree.join("src/renamed.rs"))?;
    chmod(&tree.join("docs/a.txt"), 0o755)?;
    // A file becomes a directory, a directory a file, a link a file, a file a link, a directory a link.
    fs::remove_file(tree.join("notes.txt"))?;
    write(tree, "notes.txt/inner/deep", "deep\n")?;
    fs::remove_dir_all(tree.join("untracked-dir"))?;
    write(tree, "untracked-dir", "now a file\n")?;
    fs::remove_file(tree.join("docs/link"))?;
    write(tree, "docs/link", "now a file\n")?;
    fs::remove_file(tree.join("private.log"))?;
    symlink("/etc/passwd", tree.join("private.log"))?;
    fs::remove_dir_all(tree.join("target"))?;
    symlink("/tmp", tree.join("target"))?;
    fs::remove_file(tree.join("dangling"))?;
    symlink("/nowhere/at all", tree.join("dangling"))?;
    fs::remove_dir_all(tree.join("empty"))?;
    chmod(&tree.join("docs"), 0o711)?;
    for name in
        ["new\nline", "quote\"d", "'", "-dash", "--force", "tab\t", "back\\slash", " ", "a b", "ümläut", ":(top)x", "*"]
    {
        write(tree, name, format!("{name:?}"))?;
    }
    for name in [&b"latin\xe9"[..], b"\xff\xfe"] {
        fs::write(tree.join(OsStr::from_bytes(name)), "not UTF-8 in its name")?;
    }
    write(tree, "empty.txt", "")?;
    write(tree, "binary", b"\0\x01\xff\r\n\0")?;
    write(tree, "crlf.txt", "one\r\ntwo\r\n")?;
    write(tree, "tool", "#!/bin/sh\n")?;
    chmod(&tree.join("tool"), 0o755)?;
    write(tree, "locked/secret", "x")?;
    chmod(&tree.join("locked/secret"), 0o000)?;
    chmod(&tree.join("locked"), 0o000)?;
    write(tree, ".GIT/config", "odd name\n")?;
    symlink("elsewhere", tree.join(".gitmodules"))?;
    fs::create_dir_all(tree.join("left/empty"))?;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )?;
    Ok(())
}

#[tokio::test]
async fn a_wild_run_is_undone_byte_for_byte() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    settle_in(repository.worktree())?;
    let before = repository.snapshot().await?;
    let expected = contents(repository.worktree())?;
    repository.prepare_for_agent().await?;

    go_wild(repository.worktree())?;
    changes(&repository, &before).await?;
    repository.restore(&before).await?;
    assert_eq!(contents(repository.worktree())?, expected);
    assert!(!repository.worktree().join(".git").exists(), "the agent's own git directory goes too");

    repository.restore(&before).await?;
    assert_eq!(contents(repository.worktree())?, expected, "a second restore changes nothing");
    assert_eq!(repository.changes(&before).await?, None);
    Ok(())
}

#[tokio::test]
async fn the_committed_tree_is_the_shown_one_and_holds_what_the_run_did() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    settle_in(repository.worktree())?;
    let before = repository.snapshot().await?;
    go_wild(repository.worktree())?;
    let shown = changes(&repository, &before).await?;
    let branch = repository.park(&run(1)?, &before, &shown.tree, "work").await?;

    let git_dir = repository.git().git_dir();
    assert_eq!(git(git_dir, &["rev-parse", &format!("{branch}^{{tree}}")])?.trim(), shown.tree.as_str());
    let listing = git(git_dir, &["ls-tree", "-r", "-z", &branch])?;
    let modes: Vec<(&str, &str)> =
        listing.split_terminator('\0').filter_map(|line| Some((&line[..6], line.split_once('\t')?.1))).collect();
    for expected in [
        ("100644", "README.md"),
        ("100755", "docs/a.txt"),
        ("100644", "src/renamed.rs"),
        ("100644", "notes.txt/inner/deep"),
        ("100644", "untracked-dir"),
        ("100644", "docs/link"),
        ("120000", "dangling"),
        ("100755", "tool"),
        ("100644", "new\nline"),
        ("100644", "--force"),
        ("100644", "binary"),
        ("100644", "locked/secret"),
        // Changed by the run, and ignored by no rule once it is a link and not a directory.
        ("120000", "target"),
    ] {
        assert!(modes.contains(&expected), "{expected:?} in {modes:?}");
    }
    for absent in ["src/main.rs", "src/lib.rs", "private.log", "pipe", ".GIT/config", ".gitmodules", "notes.txt"] {
        assert!(!modes.iter().any(|(_, path)| *path == absent), "{absent}");
    }
    for (path, text) in [("binary", &b"\0\x01\xff\r\n\0"[..]), ("crlf.txt", b"one\r\ntwo\r\n")] {
        let object = repository.git().call("cat-file").args(["blob", &format!("{branch}:{path}")]).output().await?;
        assert_eq!(object, text, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn files_that_the_run_did_not_touch_stay_out_of_the_diff() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    settle_in(repository.worktree())?;
    let before = repository.snapshot().await?;
    write(repository.worktree(), "target/debug/app", "rebuilt")?;
    write(repository.worktree(), "more.log", "ignored")?;
    fs::create_dir(repository.worktree().join("new-and-empty"))?;
    assert_eq!(repository.changes(&before).await?, None, "only ignored files changed");

    write(repository.worktree(), "README.md", "# Changed\nmore\n")?;
    let shown = changes(&repository, &before).await?;
    assert_eq!(shown.stat, DiffStat { files: 1, insertions: 2, deletions: 1 });
    assert!(shown.diff.contains("+# Changed") && !shown.diff_cut);
    assert!(!shown.diff.contains("edited by hand"), "what was edited before the run is not the run's work");
    let reread: Snapshot = serde_json::from_str(&serde_json::to_string(&before)?)?;
    assert_eq!(changes(&repository, &reread).await?, shown);
    Ok(())
}

#[tokio::test]
async fn the_agent_gets_a_git_of_its_own_that_knows_the_history() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    volume.commit_at_origin("feature", "f", "f")?;
    repository.fetch().await?;
    let before = repository.snapshot().await?;
    repository.prepare_for_agent().await?;
    let tree = repository.worktree();
    assert_eq!(git(tree, &["status", "--porcelain"])?, "");
    assert_eq!(git(tree, &["log", "--format=%s"])?, "first\n");
    assert_eq!(git(tree, &["branch", "--show-current"])?, "main\n");
    assert_eq!(git(tree, &["show", "origin/feature:f"])?, "f");

    write(tree, "src/main.rs", "fn main() { two() }\n")?;
    git(tree, &["commit", "-q", "-a", "-m", "the agent's own"])?;
    let shown = changes(&repository, &before).await?;
    assert!(shown.diff.contains("two()"), "a commit of the agent hides nothing");
    assert!(!repository.git().git_dir().join("hooks").exists());
    repository.prepare_for_agent().await?;
    assert_eq!(git(tree, &["log", "--format=%s"])?, "first\n", "the next run starts anew");
    let with_git = repository.snapshot().await?;
    repository.restore(&with_git).await?;
    assert!(!tree.join(".git").exists(), "it is no part of a snapshot");
    Ok(())
}

#[tokio::test]
async fn parked_work_comes_back_as_it_was() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    settle_in(repository.worktree())?;
    let before = repository.snapshot().await?;
    let expected = contents(repository.worktree())?;
    let tree = repository.worktree();
    write(tree, "src/lib.rs", "pub fn two() {}\n")?;
    write(tree, "notes.txt", "changed, and was never committed\n")?;
    write(tree, "new/dir/file", "new\n")?;
    fs::remove_file(tree.join("README.md"))?;
    write(tree, "kept.log", "ignored, made by the run\n")?;
    let shown = changes(&repository, &before).await?;

    let branch = repository.park(&run(1)?, &before, &shown.tree, "work").await?;
    assert_eq!(branch, "textslash/0123abcd-1");
    let commit = git(repository.git().git_dir(), &["rev-parse", &branch])?;
    repository.restore_shown(&before, &shown.tree).await?;
    let mut left = contents(tree)?;
    assert!(left.remove(Path::new("kept.log")).is_some(), "ignored files that the run made stay");
    assert_eq!(left, expected);

    assert_eq!(repository.park(&run(1)?, &before, &shown.tree, "other words").await?, branch);
    assert_eq!(git(repository.git().git_dir(), &["rev-parse", &branch])?, commit, "parked once");

    let again = repository.snapshot().await?;
    for _ in 0..2 {
        repository.bring_back(&run(1)?, &branch).await?;
        let back = changes(&repository, &again).await?;
        assert_eq!((back.tree, back.diff), (shown.tree.clone(), shown.diff.clone()));
    }
    repository.restore(&again).await?;
    write(tree, "notes.txt", "changed since")?;
    let refused = repository.bring_back(&run(1)?, &branch).await;
    assert!(matches!(&refused, Err(GitError::Invalid(text)) if text.contains("notes.txt")), "{refused:?}");
    assert!(tree.join("README.md").exists(), "a refusal touches nothing");
    let missing = repository.bring_back(&run(9)?, "textslash/0123abcd-9").await;
    assert!(matches!(missing, Err(GitError::NotFound(_))));
    Ok(())
}

#[tokio::test]
async fn an_untracked_file_in_the_way_of_parked_work_is_not_lost() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    let tree = repository.worktree();
    let before = repository.snapshot().await?;
    write(tree, "thing/file", "made by the run")?;
    fs::remove_file(tree.join("README.md"))?;
    let shown = changes(&repository, &before).await?;
    let branch = repository.park(&run(1)?, &before, &shown.tree, "work").await?;
    repository.restore(&before).await?;
    for (path, blocked) in [("thing", true), ("thing/file/below", true), ("thing/other", false)] {
        write(tree, path, "made since")?;
        assert_eq!(repository.bring_back(&run(1)?, &branch).await.is_err(), blocked, "{path}");
        assert_eq!(fs::read_to_string(tree.join(path))?, "made since");
        repository.restore(&before).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_long_diff_is_cut_at_a_line() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    let before = repository.snapshot().await?;
    let long: Vec<u8> = b"caf\xe9 caf\xe9 caf\xe9\n".repeat(10_000);
    write(repository.worktree(), "long.txt", long)?;
    let shown = changes(&repository, &before).await?;
    assert!(shown.diff_cut && shown.diff.len() <= DIFF_BYTES_MAX && shown.diff.ends_with('\n'));
    assert_eq!(shown.stat.insertions, 10_000);
    Ok(())
}

#[tokio::test]
async fn a_branch_is_checked_out_unless_work_would_be_lost() -> anyhow::Result<()> {
    let (volume, repository) = Volume::with_clone().await?;
    let tree = repository.worktree();
    volume.commit_at_origin("feature/x", "new.txt", "at origin\n")?;
    repository.checkout("mine", true).await?;
    repository.checkout("mine", true).await.context("a repeated request is done already")?;
    assert!(matches!(repository.checkout("main", true).await, Err(GitError::Invalid(_))));
    assert_eq!(repository.branches().await?.current, "mine");
    write(tree, "new.txt", "untracked\n")?;
    let refused = repository.checkout("feature/x", false).await;
    assert!(matches!(&refused, Err(GitError::Invalid(text)) if text.contains("new.txt")), "{refused:?}");
    assert_eq!(fs::read_to_string(tree.join("new.txt"))?, "untracked\n");
    fs::remove_file(tree.join("new.txt"))?;
    repository.checkout("feature/x", false).await?;
    assert_eq!(fs::read_to_string(tree.join("new.txt"))?, "at origin\n");
    let branches = repository.branches().await?;
    assert_eq!((branches.current.as_str(), branches.others), ("feature/x", vec!["main".to_owned(), "mine".to_owned()]));
    assert!(matches!(repository.checkout("absent", false).await, Err(GitError::NotFound(_))));
    for bad in ["", "-f", "--detach", "a b", "..", "a..b", "HEAD", "@{-1}", "x.lock", "a\nb", "/x", "main^"] {
        for create in [true, false] {
            assert!(matches!(repository.checkout(bad, create).await, Err(GitError::Invalid(_))), "{bad:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_session_is_kept_until_it_is_forgotten() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    let (one, other) = (ConversationId::parse("c0ffee").unwrap(), ConversationId::parse("decaf").unwrap());
    assert_eq!(repository.session(&one)?, None);
    let session = Session { id: "abc".to_owned(), cost_microusd: 1_200 };
    repository.keep_session(&one, Some(&session))?;
    assert_eq!(repository.session(&one)?, Some(session));
    assert_eq!(repository.session(&other)?, None, "somebody else's");
    repository.keep_session(&one, None)?;
    assert_eq!(repository.session(&one)?, None);
    Ok(())
}

#[tokio::test]
async fn pruning_takes_what_nobody_needs_and_nothing_else() -> anyhow::Result<()> {
    let (_volume, repository) = Volume::with_clone().await?;
    let objects = repository.git().git_dir().join("objects");
    write(repository.worktree(), "target/app", "ignored, and in no commit")?;
    let first = repository.snapshot().await?;
    write(repository.worktree(), "new", "parked")?;
    let shown = changes(&repository, &first).await?;
    let branch = repository.park(&run(1)?, &first, &shown.tree, "work").await?;
    for number in 0..200 {
        write(&objects, &format!("17/{number:038x}"), "of a snapshot that is long over")?;
    }
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
    for (path, (kind, ..)) in contents(&objects)? {
        if kind == 'f' {
            chmod(&objects.join(&path), 0o644)?;
            fs::File::options().append(true).open(objects.join(path))?.set_modified(long_ago)?;
        }
    }
    let second = repository.snapshot().await?;
    assert!(!objects.join("17").join(format!("{:038x}", 3)).exists());
    let expected = contents(repository.worktree())?;
    fs::remove_dir_all(repository.worktree().join("target"))?;
    repository.restore(&second).await?;
    assert_eq!(contents(repository.worktree())?, expected);
    fs::remove_file(repository.worktree().join("new"))?;
    repository.bring_back(&run(1)?, &branch).await?;
    assert_eq!(fs::read_to_string(repository.worktree().join("new"))?, "parked");
    Ok(())
}
