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
