//! Files that people sent: given by a relay before the run that is to have them, each in a directory of its own, until they
//! are old.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use relay_core::id::BlobId;
use relay_core::protocol::File;

use crate::files;
use crate::supervise::confinement::AgentUser;

/// A file is deleted this long after it came: by then its run is over, or will not be.
const KEEP: Duration = Duration::from_secs(14 * 24 * 3600);
/// What a file is called until the run that it is for gives it its name.
const UNNAMED: &str = "file";

/// The directory of files.
#[derive(Debug)]
pub struct Uploads {
    directory: PathBuf,
    agent: Option<AgentUser>,
}

impl Uploads {
    /// Files in `directory`, which is made if it is missing. They are given to `agent`.
    pub fn open(directory: PathBuf, agent: Option<AgentUser>) -> io::Result<Self> {
        files::private_directory(&directory)?;
        if agent.is_some() {
            files::let_pass(&directory)?;
        }
        Ok(Self { directory, agent })
    }

    /// Keep a file. The same again changes nothing.
    pub fn keep(&self, id: &BlobId, bytes: &[u8]) -> io::Result<()> {
        let directory = self.directory.join(id.as_str());
        files::private_directory(&directory)?;
        files::replace(&directory.join(UNNAMED), bytes)?;
        self.forget_old()
    }

    /// Whether all of a file is here, under whatever name.
    pub fn has(&self, id: &BlobId) -> io::Result<bool> {
        let entries = match fs::read_dir(self.directory.join(id.as_str())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            entries => entries?,
        };
        for entry in entries {
            if !files::is_unfinished(&entry?.path()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where a file is, under the name that it is to have; nothing when it never came or is gone. A name that is more than a
    /// name is not used.
    pub fn named(&self, file: &File) -> io::Result<Option<PathBuf>> {
        let directory = self.directory.join(file.id.as_str());
        let name = if is_plain(&file.name) { file.name.as_str() } else { UNNAMED };
        let (unnamed, path) = (directory.join(UNNAMED), directory.join(name));
        if unnamed.try_exists()? && unnamed != path {
            fs::rename(&unnamed, &path)?;
        }
        if !path.try_exists()? {
            return Ok(None);
        }
        if let Some(agent) = self.agent {
            agent.own(&path)?;
            agent.own(&directory)?;
        }
        Ok(Some(path))
    }

    fn forget_old(&self) -> io::Result<()> {
        let oldest = SystemTime::now() - KEEP;
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.metadata()?.modified()? < oldest {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Letters, digits and dashes, with an extension or without.
fn is_plain(name: &str) -> bool {
    let (stem, extension) = name.split_once('.').unwrap_or((name, "x"));
    let plain = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    name.len() <= 80 && plain(stem) && plain(extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> File {
        File { id: BlobId::parse("abc").unwrap(), name: name.into(), content_type: "image/png".into(), bytes: 3 }
    }

    #[test]
    fn a_file_has_its_name_and_stays_in_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let uploads = Uploads::open(directory.path().join("files"), None).unwrap();
        assert_eq!(uploads.named(&file("a.png")).unwrap(), None, "it has not come yet");
        assert!(!uploads.has(&file("").id).unwrap());
        fs::create_dir(directory.path().join("files/abc")).unwrap();
        fs::write(directory.path().join("files/abc/file.new"), b"p").unwrap();
        assert!(!uploads.has(&file("").id).unwrap(), "a part of it is not the file");
        uploads.keep(&file("").id, b"png").unwrap();
        let path = uploads.named(&file("file-1.png")).unwrap().unwrap();
        assert_eq!(
            (fs::read(&path).unwrap().as_slice(), path.file_name().unwrap()),
            (&b"png"[..], "file-1.png".as_ref())
        );
        assert_eq!(uploads.named(&file("file-1.png")).unwrap(), Some(path), "as often as it is asked for");
        assert!(uploads.has(&file("").id).unwrap());
        uploads.keep(&file("").id, b"png").unwrap();
        for bad in ["../../etc/passwd", "a/b.png", "", ".hidden", "a b.png", "a.b.c"] {
            let path = uploads.named(&file(bad)).unwrap().unwrap();
            assert_eq!(path.parent().unwrap(), directory.path().join("files/abc"), "{bad:?}");
        }
    }
}
