//! Reviews on the volume: of a diff that waits, the parts that a relay fetches, under the run and the tree that they are of.
//!
//! ```text
//! DATA_DIR/reviews/<run>/<tree>/0    the index, written last
//!                              /n    rows, or a picture
//! ```

use std::fs;
use std::io::{self, Read};
use std::path::PathBuf;

use relay_core::id::{RunId, TreeHash};
use relay_core::protocol::IMAGE_BYTES_MAX;
use relay_core::protocol::review::{REVIEW_CONTENT_TYPE, Review};

use crate::files;

/// The directory of reviews.
#[derive(Debug)]
pub struct Reviews {
    directory: PathBuf,
}

/// A review in the making.
#[derive(Debug)]
pub struct Draft {
    directory: PathBuf,
    parts: u32,
}

impl Reviews {
    /// Reviews in `directory`, which is made if it is missing.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        files::private_directory(&directory)?;
        Ok(Self { directory })
    }

    /// Begin a review of `tree`, of which nothing is there yet.
    pub fn begin(&self, run: &RunId, tree: &TreeHash) -> io::Result<Draft> {
        self.forget(run)?;
        let directory = self.place(run, tree);
        files::private_directory(&directory)?;
        Ok(Draft { directory, parts: 1 })
    }

    /// A part's bytes, or nothing when it is not here.
    pub fn read(&self, run: &RunId, tree: &TreeHash, part: u32) -> io::Result<Option<Vec<u8>>> {
        let file = match fs::File::open(self.place(run, tree).join(part.to_string())) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(IMAGE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Nobody fetches the reviews of this run any more.
    pub fn forget(&self, run: &RunId) -> io::Result<()> {
        gone(fs::remove_dir_all(self.directory.join(run.as_str())))
    }

    /// Forget the reviews of all runs but those that `wait`.
    pub fn sweep(&self, waits: impl Fn(&RunId) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let run = entry.file_name().into_string().ok().and_then(|name| RunId::parse(name).ok());
            if !run.is_some_and(|run| waits(&run)) {
                gone(fs::remove_dir_all(entry.path()))?;
            }
        }
        Ok(())
    }

    /// Made of names that cannot leave the directory.
    fn place(&self, run: &RunId, tree: &TreeHash) -> PathBuf {
        self.directory.join(run.as_str()).join(tree.as_str())
    }
}

impl Draft {
    /// Add a part; its number.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<u32> {
        let part = self.parts;
        fs::write(self.directory.join(part.to_string()), bytes)?;
        self.parts += 1;
        Ok(part)
    }

    /// Parts so far, with the index that is to come.
    pub fn parts(&self) -> u32 {
        self.parts
    }

    /// Add the index, which makes it a review.
    pub fn finish(self, index: &[u8]) -> io::Result<Review> {
        files::replace(&self.directory.join("0"), index)?;
        Ok(Review { parts: self.parts })
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The media type of a picture that browsers show, by its first bytes.
pub fn picture_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// The media type of a part.
pub fn part_type(bytes: &[u8]) -> &'static str {
    picture_type(bytes).unwrap_or(REVIEW_CONTENT_TYPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_is_there_until_its_run_no_longer_waits() {
        let directory = tempfile::tempdir().unwrap();
        let reviews = Reviews::open(directory.path().join("reviews")).unwrap();
        let [one, other] = ["c-1", "c-2"].map(|run| RunId::parse(run).unwrap());
        let tree = TreeHash::parse("aa11").unwrap();
        for run in [&one, &other] {
            let mut draft = reviews.begin(run, &tree).unwrap();
            assert_eq!(draft.put(b"{}").unwrap(), 1);
            assert_eq!(reviews.read(run, &tree, 0).unwrap(), None, "not before it is finished");
            assert_eq!(draft.finish(b"index").unwrap(), Review { parts: 2 });
        }
        let reviews = Reviews::open(directory.path().join("reviews")).unwrap();
        assert_eq!(reviews.read(&one, &tree, 0).unwrap().as_deref(), Some(&b"index"[..]));
        assert_eq!(reviews.read(&one, &tree, 2).unwrap(), None);
        reviews.sweep(|run| *run == other).unwrap();
        assert_eq!(reviews.read(&one, &tree, 0).unwrap(), None);
        assert!(reviews.read(&other, &tree, 1).unwrap().is_some());
        reviews.forget(&other).unwrap();
        reviews.forget(&other).unwrap();
        assert_eq!(reviews.read(&other, &tree, 1).unwrap(), None);
    }
}
