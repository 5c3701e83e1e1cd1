//! A diff laid out for its page: every kind of change, hostile contents, and limits that hold without losing a word about it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::Context;
use relay_core::id::TreeHash;
use relay_core::protocol::review::{
    REVIEW_PART_BYTES_MAX, REVIEW_PARTS_MAX, ROW_CHARS_MAX, ReviewChange, ReviewFile, ReviewIndex, ReviewPart, Row,
};

use super::super::testing::{Volume, git, run, write};
use super::{changes, chmod};
use crate::repositories::UrlTrust;
use crate::reviews::Reviews;

const LONG: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0old";
const GIF: &[u8] = b"GIF89a\0\0new";

/// A review as a relay has it.
struct Laid {
    index: ReviewIndex,
    rows: Vec<Row>,
    parts: Vec<Vec<u8>>,
}

impl Laid {
    fn file(&self, path: &str) -> &ReviewFile {
        self.index.files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is not told"))
    }

    fn rows(&self, path: &str) -> &[Row] {
        let file = self.file(path);
        &self.rows[file.row as usize..(file.row + file.rows) as usize]
    }
}

/// What a run has changed, laid out, when `run` is done to a worktree in which `before` was done.
async fn laid(
    before: impl FnOnce(&Path) -> anyhow::Result<()>,
    work: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<Laid> {
    let volume = Volume::with_origin()?;
    let seed = volume.path("seed");
    before(&seed)?;
    git(&seed, &["add", "-A"])?;
    git(&seed, &["commit", "-q", "--allow-empty", "-m", "before"])?;
    git(&seed, &["push", "-q", "../origin.git", "main"])?;
    let url = volume.origin_url();
    let repository = volume.repositories.clone_url(&url, UrlTrust::Operator).await?;
    let snapshot = repository.snapshot().await?;
    work(repository.worktree())?;
    let changes = changes(&repository, &snapshot).await?;
    let reviews = Reviews::open(volume.path("reviews"))?;
    let run = run(1)?;
    let draft = reviews.begin(&run, &changes.tree)?;
    let review = repository.lay_out(&snapshot, &changes.tree, &changes.files.beside, draft).await?;
    assert!(review.parts <= REVIEW_PARTS_MAX);
    let read = |part| anyhow::Ok(reviews.read(&run, &changes.tree, part)?.context("a part that was promised")?);
    let parts = (0..review.parts).map(read).collect::<anyhow::Result<Vec<_>>>()?;
    let index: ReviewIndex = serde_json::from_slice(&parts[0])?;
    assert_eq!(index.stat, changes.stat);
    assert!(parts[0].len() <= REVIEW_PART_BYTES_MAX);
    let mut rows = Vec::new();
    for start in &index.parts {
        assert_eq!(start.row as usize, rows.len(), "parts begin where they say");
        let part = &parts[start.part as usize];
        assert!(part.len() <= REVIEW_PART_BYTES_MAX);
        rows.extend(serde_json::from_slice::<ReviewPart>(part)?.rows);
    }
    assert_eq!(index.rows as usize, rows.len());
    let ends = index.files.iter().map(|file| file.row + file.rows);
    let starts = index.files.iter().map(|file| file.row).skip(1).chain([index.rows]);
    assert!(ends.eq(starts), "files come one after the other: {:?}", index.files);
    Ok(Laid { index, rows, parts })
}

#[tokio::test]
async fn every_kind_of_change_is_laid_out() -> anyhow::Result<()> {
    let settle = |tree: &Path| {
        write(tree, "deleted.txt", "a\nb\n")?;
        write(tree, "old name.txt", LONG)?;
        write(tree, "original.txt", LONG.to_uppercase())?;
        write(tree, "tool.sh", "#!/bin/sh\n")?;
        write(tree, "becomes-link", "text\n")?;
        write(tree, "picture.png", PNG)?;
        write(tree, "data.bin", b"\0\x01")?;
        write(tree, "latin1.txt", b"caf\xe9\n")
    };
    let work = |tree: &Path| {
        fs::remove_file(tree.join("deleted.txt"))?;
        fs::rename(tree.join("old name.txt"), tree.join("renamed.txt"))?;
        write(tree, "original.txt", LONG.to_uppercase() + "NINE\n")?;
        write(tree, "copy.txt", LONG.to_uppercase())?;
        chmod(&tree.join("tool.sh"), 0o755)?;
        fs::remove_file(tree.join("becomes-link"))?;
        symlink("tool.sh", tree.join("becomes-link"))?;
        write(tree, "picture.png", GIF)?;
        write(tree, "data.bin", [0; 2_000])?;
        write(tree, "huge.txt", "x\n".repeat(600_000))?;
        write(tree, "latin1.txt", b"th\xe9\n")?;
        write(tree, "new.sh", "echo new\n")?;
        chmod(&tree.join("new.sh"), 0o755)?;
        write(tree, "vendor.git/x", "")?;
        write(tree, "src/lib.rs", "pub fn one() -> u32 {\n    2\n}")
    };
    let laid = laid(settle, work).await?;
    let told = laid.index.files.iter().map(|file| {
        let notes: Vec<&str> = file.notes.iter().map(String::as_str).collect();
        (file.path.as_str(), file.change, notes, (file.insertions, file.deletions))
    });
    let told: Vec<_> = told.collect();
    use ReviewChange::{Added, Copied, Deleted, Modified, Renamed, TypeChanged};
    let expected = [
        ("becomes-link", TypeChanged, vec!["mode 100644 → 120000"], (1, 1)),
        ("copy.txt", Copied, vec![], (0, 0)),
        ("data.bin", Modified, vec!["binary, 2 bytes → 2 kB"], (0, 0)),
        ("deleted.txt", Deleted, vec![], (0, 2)),
        ("huge.txt", Added, vec!["too large to show, 1.2 MB"], (0, 0)),
        ("latin1.txt", Modified, vec!["not UTF-8"], (1, 1)),
        ("new.sh", Added, vec!["executable"], (1, 0)),
        ("original.txt", Modified, vec![], (1, 0)),
        ("picture.png", Modified, vec!["binary, 13 bytes → 11 bytes"], (0, 0)),
        ("renamed.txt", Renamed, vec![], (0, 0)),
        ("src/lib.rs", Modified, vec![], (2, 2)),
        ("tool.sh", Modified, vec!["mode 100644 → 100755"], (0, 0)),
        ("vendor.git/x", Added, vec![], (0, 0)),
    ];
    assert_eq!(told, expected);
    assert!(!laid.index.cut);
    assert_eq!(laid.file("renamed.txt").from.as_deref(), Some("old name.txt"));
    assert_eq!(laid.file("copy.txt").from.as_deref(), Some("original.txt"));
    let removed = |old, text: &str| Row::Removed { old, text: text.into() };
    let added = |new, text: &str| Row::Added { new, text: text.into() };
    let expected = [
        Row::Hunk { old: 1, new: 1, heading: String::new() },
        Row::Context { old: 1, new: 1, text: "pub fn one() -> u32 {".into() },
        removed(2, "    1"),
        removed(3, "}"),
        added(2, "    2"),
        added(3, "}"),
        Row::Note { text: "No newline at end of file".into() },
    ];
    assert_eq!(laid.rows("src/lib.rs"), expected);
    // It is gone, and it is new: both belong to it.
    let kinds: Vec<&Row> = laid.rows("becomes-link").iter().filter(|row| !matches!(row, Row::Hunk { .. })).collect();
    assert_eq!(kinds[..2], [&removed(1, "text"), &added(1, "tool.sh")]);
    assert_eq!(laid.rows("latin1.txt")[1..], [removed(1, "caf\u{fffd}"), added(1, "th\u{fffd}")]);
    let picture = laid.file("picture.png");
    let [before, after] = [picture.before, picture.after].map(|part| &laid.parts[part.expect("a picture") as usize]);
    assert_eq!((before.as_slice(), after.as_slice()), (PNG, GIF));
    assert_eq!((laid.file("data.bin").before, laid.file("data.bin").after), (None, None));
    Ok(())
}

#[tokio::test]
async fn signs_stay_what_they_are_and_lines_that_look_like_a_diff_are_lines() -> anyhow::Result<()> {
    let hostile = "<b>\u{1b}[31m\u{202e}\t\r\u{7}\n--- a/x\n+++ b/x\n@@ -1 +1 @@\ndiff --git a/x b/x\n\\ No newline\n";
    let long = "é".repeat(ROW_CHARS_MAX + 1);
    let work = |tree: &Path| {
        write(tree, "a<b>.txt", hostile)?;
        write(tree, "long.txt", format!("{long}\n{}\n", &long[2..]))?;
        write(tree, "z.txt", "last\n")
    };
    let laid = laid(|_| Ok(()), work).await?;
    let texts = |path| -> Vec<&str> {
        let added = laid.rows(path).iter().filter_map(|row| match row {
            Row::Added { text, .. } => Some(text.as_str()),
            _ => None,
        });
        added.collect()
    };
    assert_eq!(texts("a<b>.txt"), hostile.strip_suffix('\n').unwrap().split('\n').collect::<Vec<_>>());
    assert_eq!(texts("long.txt"), [format!("{}…", &long[2..]).as_str(), &long[2..]]);
    assert_eq!(laid.file("long.txt").notes, Vec::<String>::new(), "a line that is cut is still UTF-8");
    assert_eq!(texts("z.txt"), ["last"]);
    Ok(())
}

#[tokio::test]
async fn a_long_diff_comes_in_parts_and_none_of_it_is_missing() -> anyhow::Result<()> {
    let work = |tree: &Path| {
        let text: String = (1..=20_000).map(|line| format!("line {line} of many, as long as lines are\n")).collect();
        write(tree, "many.txt", text)
    };
    let laid = laid(|_| Ok(()), work).await?;
    assert!(laid.index.parts.len() > 5 && !laid.index.cut, "{:?}", laid.index.parts);
    assert_eq!(laid.rows.len(), 20_001);
    for (line, row) in (1..).zip(&laid.rows[1..]) {
        assert_eq!(*row, Row::Added { new: line, text: format!("line {line} of many, as long as lines are") });
    }
    Ok(())
}

#[tokio::test]
async fn what_there_is_no_room_for_is_told() -> anyhow::Result<()> {
    let work = |tree: &Path| {
        write(tree, "a.txt", "1\n".repeat(50_000))?;
        // More bytes than all parts together, in files of which each is looked through.
        for number in 0..20 {
            write(tree, &format!("b/{number:02}.txt"), format!("{}\n", "x".repeat(500)).repeat(1_900))?;
        }
        write(tree, "z.txt", "last\n")
    };
    let laid = laid(|_| Ok(()), work).await?;
    assert!(laid.index.cut);
    assert_eq!(
        (laid.file("a.txt").notes.join(", "), laid.file("a.txt").rows),
        ("too long to be shown in full".into(), 40_000)
    );
    assert_eq!(laid.file("b/00.txt").rows, 1_901, "what follows has room");
    assert_eq!(
        (laid.file("z.txt").notes.join(", "), laid.file("z.txt").insertions),
        ("not shown, because the diff is too long".into(), 1)
    );
    Ok(())
}

#[tokio::test]
async fn of_very_many_files_as_many_are_told_as_an_index_holds() -> anyhow::Result<()> {
    let work = |tree: &Path| (0..3_000).try_for_each(|at| write(tree, &format!("many/{at:04}"), "x\n"));
    let laid = laid(|_| Ok(()), work).await?;
    assert!(laid.index.cut && laid.index.files.len() > 300 && laid.index.files.len() < 3_000);
    assert_eq!(laid.index.stat.files, 3_000);
    assert_eq!(laid.rows.len(), 2 * laid.index.files.len());
    Ok(())
}

#[tokio::test]
async fn pictures_have_their_limits() -> anyhow::Result<()> {
    let work = |tree: &Path| {
        for number in 0..60 {
            write(tree, &format!("{number:02}.png"), [PNG, &[number]].concat())?;
        }
        let mut large = PNG.to_vec();
        large.resize(relay_core::protocol::IMAGE_BYTES_MAX + 1, 0);
        write(tree, "00-large.png", large)
    };
    let laid = laid(|_| Ok(()), work).await?;
    assert_eq!(laid.file("00-large.png").after, None);
    assert_eq!(laid.index.files.iter().filter(|file| file.after.is_some()).count(), 48);
    assert!(laid.index.files.iter().all(|file| file.notes.len() == 1), "the others are told by their sizes");
    Ok(())
}

#[tokio::test]
async fn what_no_diff_shows_is_told_on_the_page_as_well() -> anyhow::Result<()> {
    let work = |tree: &Path| {
        write(tree, "made/.git/config", "changed\n")?;
        write(tree, "README.md", "# Changed\n")
    };
    let laid = laid(|_| Ok(()), work).await?;
    assert_eq!(laid.file("made/.git").notes, ["git's own files: 1 file changed, which no diff shows"]);
    Ok(())
}

#[tokio::test]
async fn another_commit_of_a_submodule_is_named() -> anyhow::Result<()> {
    let volume = Volume::with_origin()?;
    let url = volume.origin_url();
    let repository = volume.repositories.clone_url(&url, UrlTrust::Operator).await?;
    let before = repository.snapshot().await?;
    let trusted = volume.path("data/repos/origin/git");
    let commit = git(&trusted, &["rev-parse", "HEAD"])?;
    let commit = commit.trim();
    let entry = format!("160000 commit {commit}\tlib\n");
    fs::write(volume.path("listing"), entry)?;
    let make = format!("git mktree < {}", volume.path("listing").display());
    let made = std::process::Command::new("sh").args(["-c", &make]).current_dir(&trusted).output()?;
    let tree = TreeHash::parse(String::from_utf8(made.stdout)?.trim())?;
    let reviews = Reviews::open(volume.path("reviews"))?;
    let draft = reviews.begin(&run(1)?, &tree)?;
    repository.lay_out(&before, &tree, &[], draft).await?;
    let index: ReviewIndex = serde_json::from_slice(&reviews.read(&run(1)?, &tree, 0)?.context("an index")?)?;
    let lib = index.files.iter().find(|file| file.path == "lib").context("the submodule is told")?;
    assert_eq!((lib.notes.as_slice(), lib.rows), (&[format!("submodule {}", &commit[..7])][..], 2));
    Ok(())
}
