//! What the worktree holds right now, with every file's content kept in git's store: tracked, untracked and ignored
//! files, links, modes, empty directories, and the insides of nested repositories.
//!
//! An index file of its own serves as the memory of what was read before, so that only files whose status changed are
//! read again. The worktree's `.git` is the agent's and is left out (`agent_git`). Nothing in the worktree is executed,
//! and no link in it is followed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use super::manifest::{Entry, Manifest, zero_terminated};
use super::repository::Repository;
use super::{Git, GitError, ObjectId, WORKTREE_TIMEOUT, blocking};

/// Entries that a worktree may hold at most.
const ENTRIES_MAX: usize = 1_000_000;
/// Bytes of a path within the worktree at most: together with the volume's path it must be one the system takes.
const PATH_BYTES_MAX: usize = 3_000;
/// How git tags an entry of the index, as opposed to a file that differs from it.
const CACHED: &[u8] = b"H";

/// One thing that was found in the worktree, before its content was read.
#[derive(Debug)]
pub(super) enum Found {
    Directory { mode: u32 },
    File { mode: u32 },
    Link { target: OsString },
    Special,
}

impl Repository {
    /// Read the worktree.
    pub(super) async fn capture(&self) -> Result<Manifest, GitError> {
        let root = self.worktree().to_owned();
        let found = blocking(move || walk(&root).map_err(GitError::io("The files could not be listed"))).await?;
        let memory = self.git().with_index(self.snapshot_index());
        let remembered = remember(&memory, &found).await?;
        let refused: Vec<&Path> = found
            .iter()
            .filter(|(path, found)| matches!(found, Found::File { .. }) && !is_recordable(path, false))
            .map(|(path, _)| path.as_path())
            .collect();
        let refused = hash(self.git(), &refused).await?;
        let mut entries = BTreeMap::new();
        for (path, found) in found {
            let blob = remembered.get(&path).or_else(|| refused.get(&path)).cloned();
            let entry = match (found, blob) {
                (Found::Directory { mode }, _) => Entry::Directory { mode },
                (Found::File { mode }, Some(blob)) => Entry::File { mode, blob },
                (Found::File { .. }, None) => return Err(changing(&path)),
                (Found::Link { target }, blob) => Entry::Link { target, blob },
                (Found::Special, _) => Entry::Special,
            };
            entries.insert(path, entry);
        }
        Ok(Manifest(entries))
    }
}

fn changing(path: &Path) -> GitError {
    GitError::Invalid(format!(
        "The file `{}` changed while it was read. Something may still be writing to the repository: try again.",
        path.display()
    ))
}

/// True when git takes a file, or a link, of this name. It refuses `.git` anywhere in a path, however it is
/// capitalised, and links called `.gitmodules`.
pub(super) fn is_recordable(path: &Path, is_link: bool) -> bool {
    path.components().all(|part| match part {
        Component::Normal(name) => {
            !(name.eq_ignore_ascii_case(".git") || (is_link && name.eq_ignore_ascii_case(".gitmodules")))
        }
        _ => false,
    })
}

/// Bring the index up to what was found, and give the content of each file and link that it can hold.
async fn remember(memory: &Git, found: &BTreeMap<PathBuf, Found>) -> Result<BTreeMap<PathBuf, ObjectId>, GitError> {
    let wanted = |path: &Path| match found.get(path) {
        Some(Found::File { .. }) => is_recordable(path, false),
        Some(Found::Link { .. }) => is_recordable(path, true),
        _ => false,
    };
    let known = index_entries(memory).await?;
    let is_present = |path: &PathBuf| known.contains_key(path);
    if known.iter().all(|(path, entry)| entry.is_fresh && wanted(path))
        && found.keys().filter(|path| wanted(path)).all(is_present)
    {
        return Ok(blobs(known));
    }
    let gone = path_list(known.keys().filter(|path| !wanted(path)));
    if !gone.is_empty() {
        memory.call("update-index").args(["--force-remove", "-z", "--stdin"]).stdin(gone).output().await?;
    }
    let present = path_list(found.keys().filter(|path| wanted(path)));
    let add = memory.call("update-index").args(["--add", "-z", "--stdin"]).stdin(present);
    add.timeout(WORKTREE_TIMEOUT).output().await?;
    Ok(blobs(index_entries(memory).await?))
}

/// Paths as git's `-z --stdin` takes them.
pub(super) fn path_list<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<u8> {
    let mut list = Vec::new();
    for path in paths {
        list.extend_from_slice(path.as_os_str().as_bytes());
        list.push(0);
    }
    list
}

/// What the index remembers of a file.
struct Remembered {
    blob: ObjectId,
    /// Whether the file is still as it was then.
    is_fresh: bool,
}

fn blobs(remembered: BTreeMap<PathBuf, Remembered>) -> BTreeMap<PathBuf, ObjectId> {
    remembered.into_iter().map(|(path, entry)| (path, entry.blob)).collect()
}

/// Each entry of the index is listed, and once more if its file is modified; the tag tells which (git-ls-files(1)).
async fn index_entries(memory: &Git) -> Result<BTreeMap<PathBuf, Remembered>, GitError> {
    let call = memory.call("ls-files").args(["--cached", "--modified", "-t", "--stage", "-z"]);
    let listing = call.timeout(WORKTREE_TIMEOUT).output().await?;
    let unexpected = || GitError::Unexpected { what: "ls-files", why: "a line is malformed" };
    let mut entries = BTreeMap::new();
    for line in zero_terminated(&listing) {
        let (tag, rest) = split_once(line, b' ').ok_or_else(unexpected)?;
        let (_, rest) = split_once(rest, b' ').ok_or_else(unexpected)?;
        let (blob, rest) = split_once(rest, b' ').ok_or_else(unexpected)?;
        let (_, path) = split_once(rest, b'\t').ok_or_else(unexpected)?;
        let blob = std::str::from_utf8(blob).ok().and_then(ObjectId::parse).ok_or_else(unexpected)?;
        let entry = entries.entry(PathBuf::from(OsStr::from_bytes(path)));
        let entry = entry.or_insert(Remembered { blob, is_fresh: true });
        entry.is_fresh &= tag == CACHED;
    }
    Ok(entries)
}

pub(super) fn split_once(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = bytes.iter().position(|byte| *byte == at)?;
    Some((&bytes[..position], &bytes[position + 1..]))
}

/// Keep the content of files whose names git refuses.
async fn hash(git: &Git, paths: &[&Path]) -> Result<BTreeMap<PathBuf, ObjectId>, GitError> {
    if paths.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<u8> = paths.iter().flat_map(|path| quoted(path)).collect();
    let blobs = git.call("hash-object").args(["-w", "--no-filters", "--stdin-paths"]).stdin(names).line().await?;
    let blobs: Option<Vec<ObjectId>> = blobs.lines().map(ObjectId::parse).collect();
    let blobs = blobs
        .filter(|blobs| blobs.len() == paths.len())
        .ok_or(GitError::Unexpected { what: "hash-object", why: "a line is malformed" })?;
    Ok(paths.iter().map(|path| path.to_path_buf()).zip(blobs).collect())
}

/// The path as a line in C's notation, which can tell a newline in a name from the line's end.
fn quoted(path: &Path) -> Vec<u8> {
    let mut line = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b' '..=b'~' if !matches!(byte, b'"' | b'\\') => line.push(*byte),
            _ => line.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
        }
    }
    line.extend_from_slice(b"\"\n");
    line
}

/// List what is below `root`, but for the `.git` directly in it. What its owner may not read is made readable on the
/// way, so that a run cannot hide files from the snapshot by their modes.
pub(super) fn walk(root: &Path) -> io::Result<BTreeMap<PathBuf, Found>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for item in fs::read_dir(root.join(&directory))? {
            let path = directory.join(item?.file_name());
            if path == Path::new(".git") {
                continue;
            }
            let entry = examine(root, &path)?;
            if matches!(entry, Found::Directory { .. }) {
                directories.push(path.clone());
            }
            found.insert(path, entry);
            if found.len() > ENTRIES_MAX {
                return Err(io::Error::other(format!("there are more than {ENTRIES_MAX} files")));
            }
        }
    }
    Ok(found)
}

fn examine(root: &Path, path: &Path) -> io::Result<Found> {
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Ok(Found::Special);
    }
    let absolute = root.join(path);
    let metadata = fs::symlink_metadata(&absolute)?;
    let kind = metadata.file_type();
    let mode = metadata.permissions().mode() & 0o7777;
    let accessible = |needed: u32| -> io::Result<u32> {
        if mode & needed != needed {
            fs::set_permissions(&absolute, Permissions::from_mode(mode | needed))?;
        }
        Ok(mode | needed)
    };
    Ok(if kind.is_symlink() {
        Found::Link { target: fs::read_link(&absolute)?.into_os_string() }
    } else if kind.is_dir() {
        Found::Directory { mode: accessible(0o700)? }
    } else if kind.is_file() {
        Found::File { mode: accessible(0o400)? }
    } else {
        Found::Special
    })
}
