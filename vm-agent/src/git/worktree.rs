//! The worktree for a person to look into: its directories and files, never what is outside, never through a link, and never
//! the agent's own `.git`.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use relay_core::protocol::worktree::{Directory, Entry, EntryKind, WORKTREE_ENTRIES_MAX, WORKTREE_FILE_BYTES_MAX};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2, statat};
use rustix::io::Errno;

use super::GitError;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A directory, with what is in it.
    Directory(Directory),
    /// All of a file.
    File(Vec<u8>),
}

/// What is at `path` below `root`; the root itself is at the empty path.
pub(super) fn look(root: &Path, path: &str) -> Result<Found, GitError> {
    let shown = if path.is_empty() { "." } else { path };
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(name) if !name.eq_ignore_ascii_case(".git"));
    if !Path::new(path).components().all(is_plain) {
        return Err(GitError::NotFound(format!("There is nothing at `{shown}` that is shown.")));
    }
    let found = open_inside(root, shown).and_then(|found| match FileType::from_raw_mode(fstat(&found)?.st_mode) {
        FileType::Directory => list(&found).map(Some),
        FileType::RegularFile => read(found),
        _ => Err(Errno::INVAL.into()),
    });
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) => {
            let max = WORKTREE_FILE_BYTES_MAX / (1024 * 1024);
            Err(GitError::Invalid(format!("`{path}` is too large to be shown: at most {max} MB.")))
        }
        Err(why) => Err(unreadable(shown, why)),
    }
}

fn open_inside(root: &Path, path: &str) -> io::Result<OwnedFd> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Opening a pipe must not wait for its other end.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(&root, path, flags, Mode::empty(), inside)?)
}

fn list(directory: &OwnedFd) -> io::Result<Found> {
    let (mut entries, mut more) = (Vec::new(), false);
    for found in Dir::read_from(directory)? {
        let found = found?;
        let name = found.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || name.to_bytes().eq_ignore_ascii_case(b".git") {
            continue;
        }
        if entries.len() == WORKTREE_ENTRIES_MAX {
            more = true;
            break;
        }
        // What is gone by now was deleted by whoever works here.
        entries.extend(entry(directory, name));
    }
    entries.sort_by(|a, b| (a.kind != EntryKind::Directory, &a.name).cmp(&(b.kind != EntryKind::Directory, &b.name)));
    Ok(Found::Directory(Directory { entries, more }))
}

fn entry(directory: impl AsFd, name: &CStr) -> Option<Entry> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        _ if name.to_str().is_err() => EntryKind::Other,
        FileType::Directory => EntryKind::Directory,
        FileType::RegularFile => EntryKind::File,
        FileType::Symlink => EntryKind::Link,
        _ => EntryKind::Other,
    };
    let bytes = if kind == EntryKind::File { u64::try_from(stat.st_size).unwrap_or_default() } else { 0 };
    Some(Entry { name: name.to_string_lossy().into_owned(), kind, bytes })
}

/// `None` when it is too large; it may grow while it is read.
fn read(file: OwnedFd) -> io::Result<Option<Found>> {
    let mut content = Vec::new();
    File::from(file).take(WORKTREE_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut content)?;
    Ok((content.len() <= WORKTREE_FILE_BYTES_MAX).then_some(Found::File(content)))
}

fn unreadable(path: &str, why: io::Error) -> GitError {
    match Errno::from_io_error(&why) {
        Some(Errno::NOENT | Errno::NOTDIR) => {
            GitError::NotFound(format!("There is no file `{path}` in this repository."))
        }
        Some(Errno::LOOP | Errno::XDEV) => {
            GitError::Invalid(format!("`{path}` is a link or lies behind one. Links are not followed here."))
        }
        Some(Errno::INVAL | Errno::NXIO | Errno::NAMETOOLONG) => {
            GitError::Invalid(format!("`{path}` is not a file that can be shown."))
        }
        Some(Errno::ACCESS) => GitError::Invalid(format!("`{path}` may not be read.")),
        _ => GitError::Io { what: format!("`{path}` could not be read"), source: why },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(found: Result<Found, GitError>) -> Vec<(String, EntryKind, u64)> {
        let Ok(Found::Directory(directory)) = found else { panic!("{found:?}") };
        assert!(!directory.more);
        directory.entries.into_iter().map(|entry| (entry.name, entry.kind, entry.bytes)).collect()
    }

    /// A worktree `tree` with a secret beside it.
    fn worktree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let tree = root.path().join("tree");
        for directory in ["src", ".git", "src/.GIT"] {
            fs::create_dir_all(tree.join(directory)).unwrap();
        }
        fs::write(root.path().join("secret"), "secret").unwrap();
        fs::write(tree.join("src/main.rs"), "fn main() {}\n").unwrap();
        fs::write(tree.join(".git/config"), "secret").unwrap();
        fs::write(tree.join("src/.GIT/config"), "secret").unwrap();
        fs::write(tree.join(" a\nb"), "").unwrap();
        symlink("src/main.rs", tree.join("inside")).unwrap();
        symlink("src", tree.join("folder")).unwrap();
        symlink("../secret", tree.join("outside")).unwrap();
        root
    }

    #[test]
    fn a_worktree_is_listed_and_its_files_are_read() {
        let root = worktree();
        let tree = root.path().join("tree");
        let expected = [
            ("src", EntryKind::Directory, 0),
            (" a\nb", EntryKind::File, 0),
            ("folder", EntryKind::Link, 0),
            ("inside", EntryKind::Link, 0),
            ("outside", EntryKind::Link, 0),
        ];
        assert_eq!(names(look(&tree, "")), expected.map(|(name, kind, bytes)| (name.to_owned(), kind, bytes)));
        assert_eq!(names(look(&tree, "src")), [("main.rs".to_owned(), EntryKind::File, 13)]);
        assert_eq!(look(&tree, "src/main.rs").unwrap(), Found::File(b"fn main() {}\n".to_vec()));
        assert_eq!(look(&tree, " a\nb").unwrap(), Found::File(Vec::new()));
    }

    #[test]
    fn nothing_outside_of_it_behind_a_link_or_of_git_is_shown() {
        let root = worktree();
        let tree = root.path().join("tree");
        let pipe = tree.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        for bad in [
            "inside",
            "folder",
            "folder/main.rs",
            "outside",
            "..",
            "../secret",
            "src/../../secret",
            "/etc/passwd",
            "/",
            ".",
            ".git",
            ".git/config",
            "src/.GIT/config",
            "./.git",
            "pipe",
            "src/main.rs/x",
            "missing",
            "a\0b",
            &"x".repeat(5000),
        ] {
            let refused = look(&tree, bad);
            assert!(matches!(refused, Err(GitError::Invalid(_) | GitError::NotFound(_))), "{bad:?}: {refused:?}");
        }
    }

    #[test]
    fn what_is_too_much_is_told() {
        let root = worktree();
        let tree = root.path().join("tree");
        let file = File::create(tree.join("large")).unwrap();
        file.set_len(WORKTREE_FILE_BYTES_MAX as u64).unwrap();
        assert!(matches!(look(&tree, "large"), Ok(Found::File(bytes)) if bytes.len() == WORKTREE_FILE_BYTES_MAX));
        file.set_len(WORKTREE_FILE_BYTES_MAX as u64 + 1).unwrap();
        assert!(matches!(look(&tree, "large"), Err(GitError::Invalid(why)) if why.contains("too large")));
        for n in 0..=WORKTREE_ENTRIES_MAX {
            fs::write(tree.join("src").join(n.to_string()), "").unwrap();
        }
        let Ok(Found::Directory(directory)) = look(&tree, "src") else { panic!("it is a directory") };
        assert_eq!((directory.entries.len(), directory.more), (WORKTREE_ENTRIES_MAX, true));
    }
}
