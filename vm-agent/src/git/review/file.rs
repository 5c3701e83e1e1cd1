//! A file of a diff as the page lists it, and in plain words what its rows do not tell.

use std::collections::BTreeMap;

use relay_core::protocol::changed::{Beside, BesideKind, Sizes};
use relay_core::protocol::review::{ReviewChange, ReviewFile};

use crate::git::changed_files::{Lines, Raw, is_too_large, size};
use crate::text::clip_start;

/// Characters of a path that are told; of a longer one comes the end.
const PATH_CHARS_MAX: usize = 400;
/// Characters of an object's name that tell it apart.
const OBJECT_CHARS: usize = 7;

const NO_FILE: &str = "000000";
const LINK: &str = "120000";
const SUBMODULE: &str = "160000";

/// A file of the diff, before its rows are known.
pub(super) fn of((raw, lines): &(Raw<'_>, Lines), sizes: &BTreeMap<String, u64>) -> ReviewFile {
    let (insertions, deletions) = lines.unwrap_or_default();
    let change = match raw.status {
        b'A' => ReviewChange::Added,
        b'D' => ReviewChange::Deleted,
        b'R' => ReviewChange::Renamed,
        b'C' => ReviewChange::Copied,
        b'T' => ReviewChange::TypeChanged,
        _ => ReviewChange::Modified,
    };
    let notes = [mode(raw), submodule(raw), content(raw, lines, sizes)].into_iter().flatten().collect();
    let (row, rows, before, after) = (0, 0, None, None);
    let (path, from) = (path(raw.path), raw.from.map(path));
    ReviewFile { path, from, change, notes, insertions, deletions, row, rows, before, after }
}

/// What has changed and is no part of the diff, so that nobody approves without a word of it.
pub(super) fn beside(beside: &Beside) -> ReviewFile {
    let place = match beside.kind {
        BesideKind::Submodule => "submodule",
        BesideKind::NestedGit => "git's own files",
    };
    let files = if beside.files == 1 { "file" } else { "files" };
    let note = format!("{place}: {} {files} changed, which no diff shows", beside.files);
    ReviewFile {
        path: beside.path.clone(),
        from: None,
        change: ReviewChange::Modified,
        notes: vec![note],
        insertions: 0,
        deletions: 0,
        row: 0,
        rows: 0,
        before: None,
        after: None,
    }
}

/// As it is: whoever shows it makes every sign visible.
fn path(bytes: &[u8]) -> String {
    clip_start(&String::from_utf8_lossy(bytes), PATH_CHARS_MAX)
}

fn mode(raw: &Raw<'_>) -> Option<String> {
    match raw.modes {
        (before, after) if before == after => None,
        (NO_FILE, "100755") => Some("executable".to_owned()),
        (NO_FILE, LINK) | (LINK, NO_FILE) => Some("a link".to_owned()),
        (NO_FILE, _) | (_, NO_FILE) => None,
        (before, after) => Some(format!("mode {before} → {after}")),
    }
}

fn submodule(raw: &Raw<'_>) -> Option<String> {
    let commit = |mode: &str, object: &str| (mode == SUBMODULE).then(|| object.chars().take(OBJECT_CHARS).collect());
    let commits: (Option<String>, Option<String>) =
        (commit(raw.modes.0, raw.blobs.0), commit(raw.modes.1, raw.blobs.1));
    match commits {
        (None, None) => None,
        (Some(before), Some(after)) => Some(format!("submodule {before} → {after}")),
        (None, Some(only)) | (Some(only), None) => Some(format!("submodule {only}")),
    }
}

fn content(raw: &Raw<'_>, lines: &Lines, sizes: &BTreeMap<String, u64>) -> Option<String> {
    let is_file = raw.modes.0 != SUBMODULE && raw.modes.1 != SUBMODULE;
    let sizes = Sizes { before: size(sizes, raw.blobs.0), after: size(sizes, raw.blobs.1) };
    match lines {
        None if is_file && is_too_large(sizes) => Some(format!("too large to show, {sizes}")),
        None if is_file => Some(format!("binary, {sizes}")),
        _ => None,
    }
}
