//! The files of a worktree, as a person may read them.

use serde::{Deserialize, Serialize};

/// Entries of a directory that are listed at most.
pub const WORKTREE_ENTRIES_MAX: usize = 1_000;
/// A larger file is not given away.
pub const WORKTREE_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The media type of a [`Directory`]; a file has none of its own.
pub const DIRECTORY_CONTENT_TYPE: &str = "application/vnd.textslash.directory+json";

/// What is in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// By name, directories first. At most [`WORKTREE_ENTRIES_MAX`].
    pub entries: Vec<Entry>,
    /// Whether there are more.
    pub more: bool,
}

/// One thing in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is called there; lossy where that is no text, and then of the kind [`EntryKind::Other`].
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// The size of a file.
    pub bytes: u64,
}

/// What something in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A link, which is not followed.
    Link,
    /// Something that can't be read: a pipe, a socket, a device, or what has no name that can be written.
    Other,
}
