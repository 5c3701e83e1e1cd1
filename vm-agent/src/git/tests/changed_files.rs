//! A diff file by file: every kind of change is told, with hostile names and contents, and what no diff shows is told as well.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use relay_core::protocol::changed::{
    Became, Beside, BesideKind, CHANGED_FILES_MAX, Change, ChangedFile, Content, Sizes,
};

use super::super::testing::{Volume, git, write};
use super::{changes, chmod};
use crate::git::snapshot::DIFFED_BYTES_MAX;
use crate::repositories::UrlTrust;

const LONG: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n";

/// What a run has changed, told file by file, when `run` is done to a worktree in which `before` was done.
async fn told(
    before: impl FnOnce(&Path) -> anyhow::Result<()>,
    run: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<(Vec<String>, Vec<ChangedFile>)> {
    let volume = Volume::with_origin()?;
    let seed = volume.path("seed");
    before(&seed)?;
    git(&seed, &["add", "-A"])?;
    git(&seed, &["commit", "-q", "--allow-empty", "-m", "before"])?;
    git(&seed, &["push", "-q", "../origin.git", "main"])?;
    let url = volume.origin_url();
    let repository = volume.repositories.clone_url(&url, UrlTrust::Operator).await?;
    let snapshot = repository.snapshot().await?;
    run(repository.worktree())?;
    let changes = changes(&repository, &snapshot).await?;
    Ok((changes.files.lines(CHANGED_FILES_MAX), changes.files.shown))
}

#[tokio::test]
async fn every_kind_of_change_is_told() -> anyhow::Result<()> {
    let settle = |tree: &Path| {
        write(tree, "deleted.txt", "a\nb\n")?;
        write(tree, "old name.txt", LONG)?;
        write(tree, "original.txt", LONG.to_uppercase())?;
        write(tree, "tool.sh", "#!/bin/sh\n")?;
        write(tree, "becomes-link", "text\n")?;
        symlink("README.md", tree.join("becomes-file"))?;
        write(tree, "picture.png", b"\x89PNG\0\0")?;
        write(tree, "latin1.txt", b"caf\xe9\n")?;
        chmod(&tree.join("docs/a.txt"), 0o755)
    };
    let run = |tree: &Path| {
        fs::remove_file(tree.join("deleted.txt"))?;
        fs::rename(tree.join("old name.txt"), tree.join("renamed.txt"))?;
        write(tree, "original.txt", LONG.to_uppercase() + "NINE\n")?;
        write(tree, "copy.txt", LONG.to_uppercase())?;
        chmod(&tree.join("tool.sh"), 0o755)?;
        chmod(&tree.join("docs/a.txt"), 0o644)?;
        fs::remove_file(tree.join("becomes-link"))?;
        symlink("tool.sh", tree.join("becomes-link"))?;
        fs::remove_file(tree.join("becomes-file"))?;
        write(tree, "becomes-file", "text\n")?;
        write(tree, "picture.png", [&b"\x89PNG\0"[..], &[0; 2_000]].concat())?;
        write(tree, "new.bin", b"\0\x01")?;
        write(tree, "latin1.txt", b"th\xe9\n")?;
        write(tree, "zero", "")?;
        write(tree, "src/lib.rs", "pub fn one() -> u32 {\n    2\n}\n")
    };
    let (lines, _) = told(settle, run).await?;
    let expected = [
        "• `becomes-file` now a regular file, +1 −1",
        "• `becomes-link` a link, +1 −1",
        "• `copy.txt` copied from `original.txt`",
        "• `deleted.txt` deleted, −2",
        "• `docs/a.txt` no longer executable",
        "• `latin1.txt` +1 −1, not UTF-8",
        "• `new.bin` new, binary, 2 bytes",
        "• `original.txt` +1",
        "• `picture.png` binary, 6 bytes → 2 kB",
        "• `renamed.txt` renamed from `old name.txt`",
        "• `src/lib.rs` +1 −1",
        "• `tool.sh` executable",
        "• `zero` new",
    ];
    assert_eq!(lines, expected);
    Ok(())
}

#[tokio::test]
async fn a_hostile_name_is_written_out_and_hides_no_other() -> anyhow::Result<()> {
    let names: [&[u8]; 6] = [
        b"a\n-deleted.txt\tx",
        b"b\x1b[31mred",
        "c\u{202e}txt.exe".as_bytes(),
        b"d\"quoted\" `code`",
        b"e-\xff\xfe",
        b":10064 f",
    ];
    let run = |tree: &Path| {
        for name in names {
            fs::write(tree.join(std::ffi::OsStr::from_bytes(name)), "x\n")?;
        }
        Ok(())
    };
    let (lines, _) = told(|_| Ok(()), run).await?;
    let expected = [
        "• `:10064 f` new, +1",
        "• `a\\n-deleted.txt\\tx` new, +1",
        "• `b\\u{1b}[31mred` new, +1",
        "• `c\\u{202e}txt.exe` new, +1",
        "• `d\"quoted\" \\x60code\\x60` new, +1",
        "• `e-\\xff\\xfe` new, +1",
    ];
    assert_eq!(lines, expected);
    Ok(())
}

#[tokio::test]
async fn a_huge_file_hides_no_other_and_is_told_by_its_size() -> anyhow::Result<()> {
    let bytes = usize::try_from(DIFFED_BYTES_MAX)? + 1;
    let run = |tree: &Path| {
        write(tree, "a-huge.txt", "x\n".repeat(bytes / 2 + 1))?;
        write(tree, "small.txt", "small\n")
    };
    let (_, files) = told(|_| Ok(()), run).await?;
    let after = Some(2 * (bytes as u64 / 2 + 1));
    assert_eq!(files[0].content, Content::TooLarge(Sizes { before: None, after }));
    assert_eq!(files[1].content, Content::Text { insertions: 1, deletions: 0, utf8: true });
    assert!(files.iter().all(|file| !file.cut), "{files:?}");
    Ok(())
}

#[tokio::test]
async fn a_file_that_the_cut_diff_does_not_hold_says_so() -> anyhow::Result<()> {
    let run = |tree: &Path| {
        write(tree, "a.txt", "first\n")?;
        fs::remove_file(tree.join("docs/a.txt"))?;
        symlink("b", tree.join("docs/a.txt"))?;
        write(tree, "long.txt", "a line of some length\n".repeat(10_000))?;
        write(tree, "z.txt", "last\n")
    };
    let (_, files) = told(|_| Ok(()), run).await?;
    let cut: Vec<(&str, bool)> = files.iter().map(|file| (file.path.as_str(), file.cut)).collect();
    assert_eq!(cut, [("a.txt", false), ("docs/a.txt", false), ("long.txt", true), ("z.txt", true)]);
    assert_eq!((files[1].change.clone(), files[1].became), (Change::Changed, Some(Became::Link)));
    Ok(())
}

#[tokio::test]
async fn of_many_files_the_first_are_told_and_the_others_counted() -> anyhow::Result<()> {
    let run = |tree: &Path| (0..CHANGED_FILES_MAX + 7).try_for_each(|at| write(tree, &format!("many/{at:03}"), "x\n"));
    let (lines, files) = told(|_| Ok(()), run).await?;
    assert_eq!((files.len(), lines.last().map(String::as_str)), (CHANGED_FILES_MAX, Some("… and 7 more")));
    Ok(())
}

#[tokio::test]
async fn what_no_diff_shows_is_told_even_where_nothing_else_changed() -> anyhow::Result<()> {
    let volume = Volume::with_origin()?;
    let seed = volume.path("seed");
    let commit = git(&seed, &["rev-parse", "HEAD"])?;
    git(&seed, &["update-index", "--add", "--cacheinfo", &format!("160000,{},vendor/lib", commit.trim())])?;
    git(&seed, &["commit", "-q", "-m", "a submodule"])?;
    git(&seed, &["push", "-q", "../origin.git", "main"])?;
    let url = volume.origin_url();
    let repository = volume.repositories.clone_url(&url, UrlTrust::Operator).await?;
    let tree = repository.worktree();
    let before = repository.snapshot().await?;
    assert_eq!(repository.changes_and_beside(&before).await?, (None, vec![]));
    write(tree, "vendor/lib/code.rs", "changed\n")?;
    write(tree, "vendor/lib/.git/config", "changed\n")?;
    write(tree, "made/.git/hooks/pre-commit", "changed\n")?;
    let beside = |path: &str, kind, files| Beside { path: path.into(), kind, files };
    let expected = vec![beside("made/.git", BesideKind::NestedGit, 1), beside("vendor/lib", BesideKind::Submodule, 2)];
    assert_eq!(repository.changes_and_beside(&before).await?, (None, expected.clone()));
    write(tree, "README.md", "# Changed\n")?;
    assert_eq!(changes(&repository, &before).await?.files.beside, expected);
    Ok(())
}
