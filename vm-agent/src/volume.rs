//! The volume, and what is wrong with it: it may be full, refuse to be written, or not be there.
//!
//! A run that fills the disk must still be able to say so. So some room is held back in a file, which is given up when nothing
//! else can be written, and taken again when there is space.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, StatVfs, StatVfsMountFlags, fallocate};

use crate::files;

/// No run is begun with less: it would fail half-way.
const FREE_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// Room for the reports of many runs.
const RESERVE_BYTES: u64 = 4 * 1024 * 1024;
const RESERVE_FILE: &str = "reserve";

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no room.
    Full,
    /// It can be read alone.
    ReadOnly,
    /// It is not there.
    Missing,
    /// It fails in another way.
    Failing,
}

impl Trouble {
    /// What an error of the file system tells.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing,
            _ => Self::Failing,
        }
    }
}

/// For people: what happened and what to do.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "The VM's disk is full. Free some space on its volume, or make the volume larger.",
            Self::ReadOnly => {
                "The VM's disk can be read, but not written. Restart the VM; if that does not help, look at its volume."
            }
            Self::Missing => "The VM's volume is not there. Look whether it is attached and mounted at DATA_DIR.",
            Self::Failing => "The VM's disk fails. Look at its log, and at its volume.",
        })
    }
}

/// The directory where everything lies that outlives this process.
#[derive(Clone, Debug)]
pub struct Volume {
    root: PathBuf,
}

impl Volume {
    /// The volume at `root`. Nothing is looked at yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Bytes that may still be written.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.space().map(|space| space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// What is wrong with it now, as far as the system tells without a try.
    pub fn trouble(&self) -> Option<Trouble> {
        let space = match self.space() {
            Ok(space) => space,
            Err(error) => return Some(Trouble::of(&error)),
        };
        if space.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Some(Trouble::ReadOnly);
        }
        (space.f_bavail.saturating_mul(space.f_frsize) < FREE_BYTES_MIN).then_some(Trouble::Full)
    }

    /// Make it what it is to be, as far as it lets: there, and with its reserve. One that is full is good enough to say so, and
    /// to put back what filled it.
    pub fn prepare(&self) -> Result<(), Trouble> {
        if let Err(error) = files::private_directory(&self.root) {
            return Err(if self.root.is_dir() { Trouble::of(&error) } else { Trouble::Missing });
        }
        match self.trouble() {
            None | Some(Trouble::Full) => {
                self.take_reserve();
                Ok(())
            }
            Some(trouble) => Err(trouble),
        }
    }

    /// Hold some room back, if there is enough.
    pub fn take_reserve(&self) {
        let path = self.root.join(RESERVE_FILE);
        let has_room = || self.free_bytes().is_ok_and(|free| free >= FREE_BYTES_MIN + RESERVE_BYTES);
        // One that was cut off is none.
        let is_there = path.metadata().is_ok_and(|file| file.len() == RESERVE_BYTES);
        if !is_there && has_room() && allocate(&path).is_err() {
            // A part of it is of no use.
            self.give_up_reserve();
        }
    }

    /// Make room by what was held back; false when there is nothing.
    pub fn give_up_reserve(&self) -> bool {
        fs::remove_file(self.root.join(RESERVE_FILE)).is_ok()
    }

    fn space(&self) -> io::Result<StatVfs> {
        Ok(rustix::fs::statvfs(&self.root)?)
    }
}

fn allocate(path: &Path) -> io::Result<()> {
    let file = File::create(path)?;
    Ok(fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_that_is_there_is_used_and_one_that_is_not_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let volume = Volume::new(directory.path().join("data"));
        assert_eq!(volume.trouble(), Some(Trouble::Missing));
        assert_eq!(volume.prepare(), Ok(()));
        assert_eq!(volume.trouble(), None);
        assert!(volume.give_up_reserve() && !volume.give_up_reserve());
        volume.take_reserve();
        assert!(volume.give_up_reserve());

        fs::write(directory.path().join("file"), "").unwrap();
        assert_eq!(Volume::new(directory.path().join("file")).prepare(), Err(Trouble::Missing));
    }

    #[test]
    fn errors_of_the_file_system_are_told_apart() {
        for (code, trouble) in
            [(28, Trouble::Full), (122, Trouble::Full), (30, Trouble::ReadOnly), (5, Trouble::Failing)]
        {
            assert_eq!(Trouble::of(&io::Error::from_raw_os_error(code)), trouble);
        }
    }
}
