//! What a diff touches, file by file, and when a diff is small enough to be read in a chat.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// Files of a diff that are told at most.
pub const CHANGED_FILES_MAX: usize = 50;
/// Characters of a name as it is written out.
const QUOTED_CHARS_MAX: usize = 120;
/// Characters of a file's name that are told; of a longer one comes the end.
pub const PATH_CHARS_MAX: usize = 100;
/// Characters in monospace that a phone shows in a row.
const PHONE_COLUMNS: usize = 38;
/// Rows of a diff that are still read in a chat: about two screens.
const INLINE_ROWS_MAX: usize = 50;
/// UTF-16 units of such a diff, which leave room for its summary in one message of a messenger.
const INLINE_UNITS_MAX: usize = 1_200;

/// What a diff touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffStat {
    /// Files touched.
    pub files: u32,
    /// Lines added.
    pub insertions: u32,
    /// Lines removed.
    pub deletions: u32,
}

/// As people read it: `3 files, +42 −7`.
impl fmt::Display for DiffStat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = if self.files == 1 { "file" } else { "files" };
        write!(f, "{} {files}, +{} −{}", self.files, self.insertions, self.deletions)
    }
}

/// The files that a diff touches, and what changed beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFiles {
    /// The first of them, in the order of the diff. At most [`CHANGED_FILES_MAX`].
    pub shown: Vec<ChangedFile>,
    /// How many more there are.
    pub more: u32,
    /// What else has changed in the worktree and is no part of any diff. At most [`CHANGED_FILES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<Beside>,
}

/// A file that a diff touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedFile {
    /// Its name for people: signs that cannot be seen, or that change how others are read, are written out.
    pub path: String,
    /// What became of it.
    #[serde(flatten)]
    pub change: Change,
    /// What became of its content.
    #[serde(flatten)]
    pub content: Content,
    /// What kind of file it has become, where that is not what it was, or not what a new file usually is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub became: Option<Became>,
    /// True when the diff was cut before the end of its part.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// It has other content, or is another kind of file.
    Changed,
    /// It has another name.
    Renamed {
        /// The name before, as in [`ChangedFile::path`].
        from: String,
    },
    /// It is a copy.
    Copied {
        /// Of which file.
        from: String,
    },
}

/// What became of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "content", rename_all = "snake_case")]
pub enum Content {
    /// It is text.
    Text {
        /// Lines added.
        insertions: u32,
        /// Lines removed.
        deletions: u32,
        /// False when the diff shows what is no UTF-8 in it as replacement characters.
        utf8: bool,
    },
    /// It is no text, so the diff does not show it.
    Binary(Sizes),
    /// It is larger than what is looked through for lines.
    TooLarge(Sizes),
}

/// The bytes of a file, before and after; none where there was no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Before.
    pub before: Option<u64>,
    /// After.
    pub after: Option<u64>,
}

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Became {
    /// One that can be run.
    Executable,
    /// One that can no longer be run.
    NotExecutable,
    /// A symbolic link.
    Link,
    /// A regular file, which was something else.
    File,
}

/// What changed in the worktree and is no part of a diff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beside {
    /// The directory, as in [`ChangedFile::path`].
    pub path: String,
    /// What it is.
    pub kind: BesideKind,
    /// Files that changed in it.
    pub files: u32,
}

/// Of what a diff tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BesideKind {
    /// The inside of a submodule.
    Submodule,
    /// What git itself keeps in a repository within the repository.
    NestedGit,
}

/// A drawing of a diff, which can be fetched at `/images/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawing {
    /// Its name on the VM.
    pub name: String,
    /// For the person.
    pub caption: String,
    /// Whether it is a document to be opened, and no picture.
    pub document: bool,
}

/// A report from a newer VM may tell of changes that are not known here; its diff is worth more than its list of files.
pub(super) fn as_known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ChangedFiles, D::Error> {
    let told = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(told).unwrap_or_default())
}

/// Whether a diff is read in a chat as it is; any other is worth a drawing.
pub fn fits_inline(diff: &str) -> bool {
    let rows = |line: &str| line.chars().count().div_ceil(PHONE_COLUMNS).max(1);
    diff.encode_utf16().count() <= INLINE_UNITS_MAX && diff.lines().map(rows).sum::<usize>() <= INLINE_ROWS_MAX
}

impl ChangedFiles {
    /// Whether there is nothing to tell: as from a VM that does not tell it.
    pub fn is_empty(&self) -> bool {
        self.shown.is_empty() && self.beside.is_empty()
    }

    /// For a chat, a line for each of the first `files_max` files, and of what changed beside them.
    pub fn lines(&self, files_max: usize) -> Vec<String> {
        let mut lines: Vec<String> = self.shown.iter().take(files_max).map(|file| format!("• {file}")).collect();
        let left_out = u32::try_from(self.shown.len() - lines.len()).unwrap_or(u32::MAX);
        if let more @ 1.. = self.more.saturating_add(left_out) {
            lines.push(format!("… and {more} more"));
        }
        lines.extend(self.beside.iter().take(files_max).map(|beside| format!("⚠️ {beside}")));
        if let more @ 1.. = self.beside.len().saturating_sub(files_max) {
            lines.push(format!("… and {more} more like that"));
        }
        lines
    }
}

/// As people read it: `` `src/login.rs` new, +42 ``.
impl fmt::Display for ChangedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = Vec::new();
        match &self.change {
            Change::Added => told.push("new".to_owned()),
            Change::Deleted => told.push("deleted".to_owned()),
            Change::Changed => {}
            Change::Renamed { from } => told.push(format!("renamed from {}", quoted(from))),
            Change::Copied { from } => told.push(format!("copied from {}", quoted(from))),
        }
        told.extend(self.became.map(|became| became.in_words().to_owned()));
        told.extend(self.content.in_words());
        if self.cut {
            told.push("not all of it shown".to_owned());
        }
        let gap = if told.is_empty() { "" } else { " " };
        write!(f, "{}{gap}{}", quoted(&self.path), told.join(", "))
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = if self.files == 1 { "file" } else { "files" };
        let place = match self.kind {
            BesideKind::Submodule => "submodule",
            BesideKind::NestedGit => "git's own files",
        };
        write!(f, "{} ({place}): {} {files} changed, which no diff shows", quoted(&self.path), self.files)
    }
}

impl Became {
    fn in_words(self) -> &'static str {
        match self {
            Self::Executable => "executable",
            Self::NotExecutable => "no longer executable",
            Self::Link => "a link",
            Self::File => "now a regular file",
        }
    }
}

impl Content {
    fn in_words(self) -> Vec<String> {
        match self {
            Self::Text { insertions, deletions, utf8 } => {
                let lines = match (insertions, deletions) {
                    (0, 0) => None,
                    (added, 0) => Some(format!("+{added}")),
                    (0, removed) => Some(format!("−{removed}")),
                    (added, removed) => Some(format!("+{added} −{removed}")),
                };
                let strange = (!utf8).then(|| "not UTF-8".to_owned());
                lines.into_iter().chain(strange).collect()
            }
            Self::Binary(sizes) => vec![format!("binary, {sizes}")],
            Self::TooLarge(sizes) => vec![format!("too large to show, {sizes}")],
        }
    }
}

/// As people read it: `2 kB → 14 kB`.
impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.before, self.after) {
            (Some(before), Some(after)) => write!(f, "{} → {}", bytes(before), bytes(after)),
            (Some(only), None) | (None, Some(only)) => write!(f, "{}", bytes(only)),
            (None, None) => write!(f, "of unknown size"),
        }
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// As code, where chats change nothing; a mark within would end that. Written out, a name may be several times as long: no name
/// takes the room of the others.
fn quoted(path: &str) -> String {
    let written = path.replace('`', "\\x60");
    match written.char_indices().nth(QUOTED_CHARS_MAX) {
        None => format!("`{written}`"),
        Some((end, _)) => format!("`{}…`", &written[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::RunOutcome;

    fn file(path: &str, change: Change, content: Content) -> ChangedFile {
        ChangedFile { path: path.into(), change, content, became: None, cut: false }
    }

    fn text(insertions: u32, deletions: u32) -> Content {
        Content::Text { insertions, deletions, utf8: true }
    }

    fn sizes(before: impl Into<Option<u64>>, after: impl Into<Option<u64>>) -> Sizes {
        Sizes { before: before.into(), after: after.into() }
    }

    #[test]
    fn every_kind_of_change_is_a_short_line() {
        let changed = ChangedFiles {
            shown: vec![
                file("src/login.rs", Change::Changed, text(40, 7)),
                file("src/new.rs", Change::Added, text(12, 0)),
                file("old.rs", Change::Deleted, text(0, 3)),
                file("b.rs", Change::Renamed { from: "a.rs".into() }, text(0, 0)),
                file("c.rs", Change::Copied { from: "a.rs".into() }, text(1, 1)),
                file("logo.png", Change::Changed, Content::Binary(sizes(999, 12_345))),
                file("movie.bin", Change::Added, Content::TooLarge(sizes(None, 3_210_000))),
                file("latin1.txt", Change::Changed, Content::Text { insertions: 1, deletions: 1, utf8: false }),
                ChangedFile { became: Some(Became::Executable), ..file("run.sh", Change::Changed, text(0, 0)) },
                ChangedFile { became: Some(Became::Link), ..file("to", Change::Added, text(1, 0)) },
                ChangedFile { cut: true, ..file("long.txt", Change::Added, text(9_000, 0)) },
                file("a`b", Change::Changed, text(1, 0)),
            ],
            more: 3,
            beside: vec![
                Beside { path: "vendor/lib".into(), kind: BesideKind::Submodule, files: 2 },
                Beside { path: "made/.git".into(), kind: BesideKind::NestedGit, files: 1 },
            ],
        };
        let lines = [
            "• `src/login.rs` +40 −7",
            "• `src/new.rs` new, +12",
            "• `old.rs` deleted, −3",
            "• `b.rs` renamed from `a.rs`",
            "• `c.rs` copied from `a.rs`, +1 −1",
            "• `logo.png` binary, 999 bytes → 12 kB",
            "• `movie.bin` new, too large to show, 3.2 MB",
            "• `latin1.txt` +1 −1, not UTF-8",
            "• `run.sh` executable",
            "• `to` new, a link, +1",
            "• `long.txt` new, +9000, not all of it shown",
            "• `a\\x60b` +1",
            "… and 3 more",
            "⚠️ `vendor/lib` (submodule): 2 files changed, which no diff shows",
            "⚠️ `made/.git` (git's own files): 1 file changed, which no diff shows",
        ];
        assert_eq!(changed.lines(50), lines);
        assert_eq!(changed.lines(1)[..2], ["• `src/login.rs` +40 −7", "… and 14 more"]);
        assert_eq!(changed.lines(1)[2..], [lines[13], "… and 1 more like that"]);
        let json = serde_json::to_string(&changed).unwrap();
        assert_eq!(serde_json::from_str::<ChangedFiles>(&json).unwrap(), changed);
    }

    #[test]
    fn a_report_of_a_part_that_does_not_tell_files_is_understood_and_the_reverse() {
        let known = |path: &str| file(path, Change::Renamed { from: "b".into() }, Content::Binary(sizes(1, None)));
        let json = serde_json::to_value(known("a")).unwrap();
        let expected = serde_json::json!(
            { "path": "a", "change": "renamed", "from": "b", "content": "binary", "before": 1, "after": null }
        );
        assert_eq!(json, expected);
        let old = r#"{"outcome":"changes","summary":"","tree":"aa","stat":{"files":1,"insertions":1,"deletions":0},"diff":"","diff_cut":false}"#;
        let outcome: RunOutcome = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&outcome).unwrap(), old, "what is not known is not said either");
        let newer = old.trim_end_matches('}').to_owned()
            + r#","files":{"shown":[{"path":"a","change":"split","content":"text"}],"more":0}}"#;
        assert_eq!(serde_json::from_str::<RunOutcome>(&newer).unwrap(), outcome, "nor does it lose the diff");
    }

    #[test]
    fn a_diff_fits_as_long_as_a_phone_shows_it_on_two_screens() {
        assert!(fits_inline("") && fits_inline(&"+a\n".repeat(50)));
        assert!(!fits_inline(&"+a\n".repeat(51)), "too many lines");
        assert!(!fits_inline(&"+a long line which a phone wraps, once\n\n".repeat(26)), "too many rows");
        assert!(!fits_inline(&"x".repeat(1_201)), "too long for a message");
    }
}
