//! Files that are either as they were or as they should be, whatever is killed while they are written.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What a file's name ends with until all of it is written.
const UNFINISHED: &str = "new";

/// Replace `path` with `contents`: written beside it, synced, renamed over it, the directory synced. Readable by its
/// owner alone.
pub fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::other("a file without a directory"))?;
    let beside = path.with_extension(UNFINISHED);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(directory)?.sync_all()
}

/// Whether this is what a write left that was cut short.
pub fn is_unfinished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == UNFINISHED)
}

/// Where a program is: its own path, or the first place in `search_path` that has it.
pub fn program(name: &Path, search_path: &OsStr) -> Option<PathBuf> {
    if name.components().count() > 1 {
        return Some(name.to_owned());
    }
    std::env::split_paths(search_path).map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// Make `path` and what is missing above it, open to its owner alone.
pub fn private_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Let other users pass through a directory on their way to what is theirs below, without seeing what else there is.
pub fn let_pass(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o711))
}
