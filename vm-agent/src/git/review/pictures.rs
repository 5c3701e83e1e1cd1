//! The pictures of a diff, as they were and as they are.

use std::collections::BTreeMap;

use relay_core::protocol::IMAGE_BYTES_MAX;
use relay_core::protocol::review::ReviewFile;

use crate::git::GitError;
use crate::git::changed_files::{Lines, Raw, size};
use crate::git::repository::Repository;
use crate::reviews::{Draft, picture_type};

/// Parts that are pictures, at most.
const PARTS_MAX: u32 = 48;
/// Contents that are looked at for pictures, at most.
const LOOKS_MAX: u32 = 2 * PARTS_MAX;
/// Bytes of all pictures, at most: relays have to fetch them before the diff is shown.
const ALL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What may still be added.
struct Room {
    parts: u32,
    looks: u32,
    bytes: u64,
}

impl Repository {
    /// Add the pictures among the files that are told, as far as there is room.
    pub(super) async fn add_pictures(
        &self,
        raws: &[(Raw<'_>, Lines)],
        sizes: &BTreeMap<String, u64>,
        files: &mut [ReviewFile],
        draft: &mut Draft,
    ) -> Result<(), GitError> {
        let mut room = Room { parts: PARTS_MAX, looks: LOOKS_MAX, bytes: ALL_BYTES_MAX };
        for ((raw, lines), file) in raws.iter().zip(files) {
            if lines.is_none() {
                file.before = self.add_picture(raw.blobs.0, sizes, &mut room, draft).await?;
                file.after = self.add_picture(raw.blobs.1, sizes, &mut room, draft).await?;
            }
        }
        Ok(())
    }

    async fn add_picture(
        &self,
        blob: &str,
        sizes: &BTreeMap<String, u64>,
        room: &mut Room,
        draft: &mut Draft,
    ) -> Result<Option<u32>, GitError> {
        let bytes = size(sizes, blob).filter(|bytes| *bytes <= room.bytes.min(IMAGE_BYTES_MAX as u64));
        let (Some(bytes), 1.., 1..) = (bytes, room.parts, room.looks) else { return Ok(None) };
        room.looks -= 1;
        let content = self.git().call("cat-file").args(["blob", blob]).bytes_max(IMAGE_BYTES_MAX).output().await?;
        if picture_type(&content).is_none() {
            return Ok(None);
        }
        (room.parts, room.bytes) = (room.parts - 1, room.bytes - bytes);
        draft.put(&content).map(Some).map_err(super::unwritable())
    }
}
