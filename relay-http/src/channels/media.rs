//! Files that people send: what is taken, known by its first bytes and by nothing else.

use bytes::Bytes;
use relay_core::id::BlobId;
use relay_core::protocol::FILE_BYTES_MAX;

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Its media type, as its bytes show it.
    pub content_type: &'static str,
    /// What the name of such a file ends with.
    pub extension: &'static str,
    /// Its bytes.
    pub bytes: Bytes,
    /// Where the store has it already, if it came by way of that.
    pub kept: Option<BlobId>,
}

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// It may be had another time, after the pause that was asked for, if one was.
    #[error("the file could not be fetched")]
    NoAnswer(Option<u64>),
    /// The provider does not accept our credentials: an operator's fault. It waits so many milliseconds until it is looked again
    /// whether it does.
    #[error("the credentials are not accepted")]
    NotAccepted(u64),
    /// It is over the limit.
    #[error("Your file is too large: at most {} MB.", FILE_BYTES_MAX / (1024 * 1024))]
    TooLarge,
    /// It is nothing that an agent is given.
    #[error(
        "That kind of file can't be used here. Pictures (JPEG, PNG, WebP, GIF), PDF, text and office documents can."
    )]
    NotTaken,
    /// Its address leads where no file of this channel is.
    #[error("Your file was not where it should be.")]
    ElsewhereNotAllowed,
    /// The provider has it no more.
    #[error("Your file is no longer there. Please send it again.")]
    Gone,
}

/// What an agent is given, by the type that the bytes show.
const TAKEN: [(&str, &str); 15] = [
    ("image/jpeg", "jpg"),
    ("image/png", "png"),
    ("image/webp", "webp"),
    ("image/gif", "gif"),
    ("application/pdf", "pdf"),
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx"),
    ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx"),
    ("application/vnd.openxmlformats-officedocument.presentationml.presentation", "pptx"),
    ("audio/ogg", "ogg"),
    ("audio/opus", "ogg"),
    ("audio/amr", "amr"),
    ("audio/mpeg", "mp3"),
    ("audio/aac", "aac"),
    ("audio/m4a", "m4a"),
    ("audio/x-wav", "wav"),
];

impl Media {
    /// The file in these bytes, if it is one that is taken.
    pub fn of(bytes: Bytes) -> Result<Self, MediaError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(MediaError::TooLarge);
        }
        let found = infer::get(&bytes).map(|kind| kind.mime_type());
        let taken = match found {
            Some(found) => TAKEN.iter().copied().find(|(content_type, _)| *content_type == found),
            None => is_text(&bytes).then_some(("text/plain", "txt")),
        };
        let (content_type, extension) = taken.ok_or(MediaError::NotTaken)?;
        Ok(Self { content_type, extension, bytes, kept: None })
    }

    /// Whether it is a recording of speech.
    pub fn is_voice(&self) -> bool {
        self.content_type.starts_with("audio/")
    }
}

/// Text has no first bytes of its own.
fn is_text(bytes: &[u8]) -> bool {
    let is_plain = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    !bytes.is_empty() && std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_bytes() {
        let kind = |bytes: &'static [u8]| Media::of(Bytes::from_static(bytes)).map(|media| media.content_type);
        assert_eq!(kind(b"\x89PNG\r\n\x1a\n0000"), Ok("image/png"));
        assert_eq!(kind(b"\xff\xd8\xff\xe0"), Ok("image/jpeg"));
        assert_eq!(kind(b"%PDF-1.7"), Ok("application/pdf"));
        assert_eq!(kind(b"OggS\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0OpusHead"), Ok("audio/opus"));
        assert_eq!(kind("größer\n".as_bytes()), Ok("text/plain"));
        for refused in [&b"MZ\x90\0"[..], b"\x7fELF\x02\x01\x01", b"PK\x03\x04plain zip", b"", b"\xff\xfe\0"] {
            assert_eq!(kind(refused), Err(MediaError::NotTaken), "{refused:?}");
        }
        assert_eq!(Media::of(vec![b'a'; FILE_BYTES_MAX + 1].into()), Err(MediaError::TooLarge));
    }
}
