//! A whole diff, laid out to be reviewed: an index of its files, its rows in parts, its pictures as they are.
//!
//! The VM serves part `n` of a run's review at `/reviews/{run}/{tree}/{n}`. Part 0 is the index. Rows are numbered from 0 over all
//! files in their order, so a reader of some of them needs only the parts that hold these.

use serde::{Deserialize, Serialize};

use crate::protocol::DiffStat;

/// Bytes of a part that is JSON, at most. One that is a picture may have [`IMAGE_BYTES_MAX`](super::IMAGE_BYTES_MAX).
pub const REVIEW_PART_BYTES_MAX: usize = 128 * 1024;
/// Parts of a review at most, pictures and the index with them.
pub const REVIEW_PARTS_MAX: u32 = 256;
/// Characters of a row's text at most; of a longer one comes the beginning, and a `…`.
pub const ROW_CHARS_MAX: usize = 4_000;
/// The media type of a part that is no picture.
pub const REVIEW_CONTENT_TYPE: &str = "application/vnd.textslash.review+json";

/// That there is a review to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// How many parts it has; the first of them, part 0, is the index. At most [`REVIEW_PARTS_MAX`].
    pub parts: u32,
}

/// Part 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewIndex {
    /// What the diff touches, all of it.
    pub stat: DiffStat,
    /// The files, in the order of their rows.
    pub files: Vec<ReviewFile>,
    /// Rows in all.
    pub rows: u32,
    /// Where each part of rows begins, in order.
    pub parts: Vec<PartStart>,
    /// True when the diff has more than the review holds.
    pub cut: bool,
}

impl ReviewIndex {
    /// Whether its parts, and the rows of its files, follow one another. Whoever shows them relies on that, and a VM may send
    /// anything: rows that many files share would be shown as often.
    pub fn is_sound(&self) -> bool {
        let are_few = u32::try_from(self.parts.len()).is_ok_and(|parts| parts <= REVIEW_PARTS_MAX);
        let mut end = 0;
        let mut follows = |file: &ReviewFile| {
            let follows = file.row >= end;
            end = file.row.saturating_add(file.rows);
            follows
        };
        let in_order = self.parts.is_sorted_by(|one, next| one.row < next.row);
        are_few && in_order && self.files.iter().filter(|file| file.rows > 0).all(&mut follows)
    }
}

/// Where a part of rows begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartStart {
    /// The part.
    pub part: u32,
    /// Its first row.
    pub row: u32,
}

/// A file that the diff touches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewFile {
    /// Its path, or what it was before it was deleted.
    pub path: String,
    /// The path before, where it was renamed or copied.
    pub from: Option<String>,
    /// What became of it.
    pub change: ReviewChange,
    /// What its rows do not tell, in plain words: `binary, 12 kB → 14 kB`, `mode 100644 → 100755`.
    pub notes: Vec<String>,
    /// Lines added.
    pub insertions: u32,
    /// Lines removed.
    pub deletions: u32,
    /// Its first row.
    pub row: u32,
    /// How many rows it has.
    pub rows: u32,
    /// The part that is a picture of it before.
    pub before: Option<u32>,
    /// The part that is a picture of it after.
    pub after: Option<u32>,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReviewChange {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// It has other content, or may be run or not any more.
    Modified,
    /// It has another name.
    Renamed,
    /// It is a copy.
    Copied,
    /// It is another kind of file.
    TypeChanged,
}

/// A part with rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewPart {
    /// In order.
    pub rows: Vec<Row>,
}

/// One row of a diff. Its text is as it stands in the file, control characters and all, but for what is no UTF-8; it has no end
/// of line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "row", rename_all = "snake_case")]
pub enum Row {
    /// A stretch of the file begins.
    Hunk {
        /// Its first line before.
        old: u32,
        /// Its first line after.
        new: u32,
        /// What it is within, as git found it; may be empty.
        heading: String,
    },
    /// A line that stays.
    Context {
        /// Its number before.
        old: u32,
        /// Its number after.
        new: u32,
        /// What it says.
        text: String,
    },
    /// A line that is new.
    Added {
        /// Its number after.
        new: u32,
        /// What it says.
        text: String,
    },
    /// A line that is gone.
    Removed {
        /// Its number before.
        old: u32,
        /// What it said.
        text: String,
    },
    /// Something about the line before: that no end of line follows it.
    Note {
        /// What.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file((row, rows): (u32, u32)) -> ReviewFile {
        ReviewFile {
            path: "a".into(),
            from: None,
            change: ReviewChange::Modified,
            notes: Vec::new(),
            insertions: 0,
            deletions: 0,
            row,
            rows,
            before: None,
            after: None,
        }
    }

    #[test]
    fn rows_belong_to_one_file_and_parts_follow_one_another() {
        let is_sound = |files: &[(u32, u32)], parts: &[u32]| {
            let parts = parts.iter().map(|&row| PartStart { part: 1, row }).collect();
            let files = files.iter().copied().map(file).collect();
            ReviewIndex { stat: DiffStat::default(), files, rows: 9, parts, cut: false }.is_sound()
        };
        assert!(is_sound(&[(0, 3), (0, 0), (3, 6), (9, 0)], &[0, 5]));
        assert!(!is_sound(&[(0, 3), (0, 3)], &[0]), "shared rows");
        assert!(!is_sound(&[(0, 3)], &[0, 1, 1]), "parts without rows");
        assert!(!is_sound(&[], &(0..=REVIEW_PARTS_MAX).collect::<Vec<_>>()), "too many parts");
    }
}
