//! What a worktree holds, entry by entry: enough to put it back byte for byte, and small enough to be kept as one
//! object in git's store.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::ObjectId;

/// One thing in a worktree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A directory, with its permission bits.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Its content.
        blob: ObjectId,
    },
    /// A symbolic link.
    Link {
        /// Where it points, as it stands in the link.
        target: OsString,
        /// The same as an object, unless git refuses the link's name.
        blob: Option<ObjectId>,
    },
    /// A pipe, a socket, a device, or a directory too deep to be named: never made again once it is gone.
    Special,
}

/// What git would record of a file: its mode, and its content.
pub(crate) type Recorded<'a> = (&'static str, &'a ObjectId);

impl Entry {
    /// What git would record of it; none for what git does not record.
    pub(crate) fn recorded(&self) -> Option<Recorded<'_>> {
        match self {
            Self::File { mode, blob } => Some((if mode & 0o100 == 0 { "100644" } else { "100755" }, blob)),
            Self::Link { blob: Some(blob), .. } => Some(("120000", blob)),
            Self::Link { blob: None, .. } | Self::Directory { .. } | Self::Special => None,
        }
    }
}

/// A worktree's entries by their path within it. A directory comes before what it holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest(pub(crate) BTreeMap<PathBuf, Entry>);

impl Manifest {
    /// The entries as bytes: fields that end with a zero byte, which no path can hold.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, entry) in &self.0 {
            let (head, target) = match entry {
                Entry::Directory { mode } => (format!("d {mode:o}"), None),
                Entry::File { mode, blob } => (format!("f {mode:o} {blob}"), None),
                Entry::Link { target, blob: Some(blob) } => (format!("l {blob}"), Some(target)),
                Entry::Link { target, blob: None } => ("l".to_owned(), Some(target)),
                Entry::Special => ("s".to_owned(), None),
            };
            let fields = [head.as_bytes(), path.as_os_str().as_bytes()].into_iter();
            for field in fields.chain(target.map(|target| target.as_bytes())) {
                bytes.extend_from_slice(field);
                bytes.push(0);
            }
        }
        bytes
    }

    /// The reverse of [`Manifest::encode`]; none when the bytes are not such.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut entries = BTreeMap::new();
        let mut fields = zero_terminated(bytes);
        while let Some(head) = fields.next() {
            let path = PathBuf::from(OsString::from_vec(fields.next()?.to_vec()));
            let words: Vec<&str> = std::str::from_utf8(head).ok()?.split(' ').collect();
            let mode = |octal: &str| u32::from_str_radix(octal, 8).ok();
            let entry = match words.as_slice() {
                ["d", octal] => Entry::Directory { mode: mode(octal)? },
                ["f", octal, blob] => Entry::File { mode: mode(octal)?, blob: ObjectId::parse(*blob)? },
                ["l", blob @ ..] => Entry::Link {
                    target: OsString::from_vec(fields.next()?.to_vec()),
                    blob: match blob {
                        [] => None,
                        [blob] => Some(ObjectId::parse(*blob)?),
                        _ => return None,
                    },
                },
                ["s"] => Entry::Special,
                _ => return None,
            };
            entries.insert(path, entry);
        }
        Some(Self(entries))
    }
}

/// The fields of `bytes`, each ended by a zero byte.
pub(crate) fn zero_terminated(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_suffix(b"\0");
    bytes.into_iter().flat_map(|bytes| bytes.split(|byte| *byte == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_back_as_it_was_written() {
        let blob = ObjectId::parse("a".repeat(40)).expect("forty hexadecimal digits");
        let entries = [
            ("a", Entry::Directory { mode: 0o2755 }),
            ("a/new\nline \"quoted\"", Entry::File { mode: 0o600, blob: blob.clone() }),
            ("l", Entry::Link { target: OsString::from_vec(vec![b'/', 0xff, b'/']), blob: Some(blob) }),
            ("m", Entry::Link { target: OsString::from("x/"), blob: None }),
            ("s", Entry::Special),
        ];
        let mut manifest = Manifest(entries.into_iter().map(|(path, entry)| (PathBuf::from(path), entry)).collect());
        manifest.0.insert(PathBuf::from(OsString::from_vec(vec![0xfe, b' '])), Entry::Special);
        assert_eq!(Manifest::decode(&manifest.encode()), Some(manifest));
        assert_eq!(Manifest::decode(b""), Some(Manifest::default()));
        assert_eq!(Manifest::decode(b"f 644 zz\0path\0"), None);
        assert_eq!(Manifest::decode(b"d 755\0"), None);
    }
}
