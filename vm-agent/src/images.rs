//! Pictures and documents that runs have made, kept under names that nobody else chooses, until newer ones push them out.

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use relay_core::id::RunId;
use relay_core::protocol::IMAGE_BYTES_MAX;

use crate::clock;
use crate::files;

/// Pictures kept at most.
const IMAGES_MAX: usize = 200;
/// Bytes of all of them at most.
const ALL_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A picture is deleted this long after it was made: relays have copied it long before.
const KEEP: Duration = Duration::from_secs(7 * 24 * 3600);
/// Characters of a name at most: a run id, a number and an extension.
const NAME_CHARS_MAX: usize = 140;

/// A kind of picture or document that every channel can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageKind {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// PDF, which no agent makes.
    Pdf,
}

/// The name of a stored picture: letters, digits and dashes, a dot, a known extension. Cannot leave its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageName {
    text: String,
    kind: ImageKind,
}

/// The directory of pictures.
#[derive(Debug)]
pub struct Images {
    directory: PathBuf,
    stored: AtomicU64,
}

impl ImageKind {
    const ALL: [Self; 3] = [Self::Png, Self::Jpeg, Self::Pdf];

    /// What these bytes of a picture are, by the first of them.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            _ => None,
        }
    }

    /// Whether these bytes are such, by the first of them.
    pub fn is_of(self, bytes: &[u8]) -> bool {
        match self {
            Self::Pdf => bytes.starts_with(b"%PDF-"),
            Self::Png | Self::Jpeg => Self::of(bytes) == Some(self),
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Pdf => "application/pdf",
        }
    }

    /// What the names of such files end with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::Pdf => "pdf",
        }
    }
}

impl ImageName {
    /// Parse a name as it came with a request.
    pub fn parse(text: &str) -> Option<Self> {
        let (stem, extension) = text.split_once('.')?;
        let kind = ImageKind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
        let is_plain = !stem.is_empty() && stem.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        (is_plain && text.len() <= NAME_CHARS_MAX).then(|| Self { text: text.to_owned(), kind })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the picture is.
    pub fn kind(&self) -> ImageKind {
        self.kind
    }
}

impl Images {
    /// Pictures in `directory`, which is made if it is missing.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        files::private_directory(&directory)?;
        Ok(Self { directory, stored: AtomicU64::new(0) })
    }

    /// Keep a picture of `run` and give it a name.
    pub fn store(&self, run: &RunId, kind: ImageKind, bytes: &[u8]) -> io::Result<ImageName> {
        if bytes.len() > IMAGE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the picture is too large"));
        }
        let number = self.stored.fetch_add(1, Ordering::Relaxed);
        let text = format!("{run}-{}-{number}.{}", clock::now().as_millis(), kind.extension());
        files::replace(&self.directory.join(&text), bytes)?;
        self.forget_oldest()?;
        Ok(ImageName { text, kind })
    }

    /// A picture's bytes, or nothing when it is not here.
    pub fn read(&self, name: &ImageName) -> io::Result<Option<Vec<u8>>> {
        let path = self.directory.join(&name.text);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let mut bytes = Vec::new();
        fs::File::open(path)?.take(IMAGE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn forget_oldest(&self) -> io::Result<()> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            kept.push((metadata.modified()?, metadata.len(), entry.path()));
        }
        kept.sort_unstable();
        let (oldest, mut bytes) = (SystemTime::now() - KEEP, 0);
        // The newest are kept as far as there is room.
        for (count, (modified, length, path)) in kept.into_iter().rev().enumerate() {
            bytes += length;
            if count >= IMAGES_MAX || bytes > ALL_BYTES_MAX || modified < oldest {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_directory() {
        for bad in
            ["", ".png", "a", "a.gif", "../a.png", "a/b.png", "a.png.png", "a%2f.png", "a b.png", "a\0.png", "é.png"]
        {
            assert_eq!(ImageName::parse(bad), None, "{bad:?}");
        }
        assert_eq!(ImageName::parse("abc-1.jpg").unwrap().kind(), ImageKind::Jpeg);
    }

    #[test]
    fn what_is_stored_can_be_read_until_newer_ones_push_it_out() {
        let directory = tempfile::tempdir().unwrap();
        let images = Images::open(directory.path().join("images")).unwrap();
        let run = RunId::parse("c-1").unwrap();
        let first = images.store(&run, ImageKind::Png, b"png").unwrap();
        assert_eq!(ImageName::parse(first.as_str()), Some(first.clone()));
        assert_eq!(images.read(&first).unwrap().as_deref(), Some(&b"png"[..]));
        for _ in 0..IMAGES_MAX {
            images.store(&run, ImageKind::Png, b"newer").unwrap();
        }
        assert_eq!(images.read(&first).unwrap(), None);
    }

    #[test]
    fn what_is_old_goes_with_the_next_that_comes() {
        let directory = tempfile::tempdir().unwrap();
        let images = Images::open(directory.path().to_owned()).unwrap();
        let run = RunId::parse("c-1").unwrap();
        let first = images.store(&run, ImageKind::Png, b"png").unwrap();
        let file = fs::File::options().write(true).open(directory.path().join(first.as_str())).unwrap();
        file.set_modified(SystemTime::now() - KEEP - Duration::from_secs(1)).unwrap();
        let second = images.store(&run, ImageKind::Png, b"png").unwrap();
        assert!(images.read(&first).unwrap().is_none() && images.read(&second).unwrap().is_some());
    }

    #[test]
    fn a_link_is_not_a_picture() {
        let directory = tempfile::tempdir().unwrap();
        let images = Images::open(directory.path().to_owned()).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", directory.path().join("x.png")).unwrap();
        assert_eq!(images.read(&ImageName::parse("x.png").unwrap()).unwrap(), None);
    }
}
