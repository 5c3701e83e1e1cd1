//! Rows on their way into parts.

use std::io;

use relay_core::protocol::review::{PartStart, REVIEW_PART_BYTES_MAX, Row};

use crate::reviews::Draft;

/// Parts that are rows, at most; what is left of [`REVIEW_PARTS_MAX`](relay_core::protocol::review::REVIEW_PARTS_MAX) is for the
/// index and for pictures.
const PARTS_MAX: usize = 96;
/// How the JSON of a part begins, and how it ends.
const BEGIN: &[u8] = b"{\"rows\":[";
const END: &[u8] = b"]}";

/// The part at hand, and what was written before it.
pub(super) struct Rows<'a> {
    draft: &'a mut Draft,
    part: Vec<u8>,
    /// The first row of the part at hand.
    first: u32,
    count: u32,
    starts: Vec<PartStart>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(draft: &'a mut Draft) -> Self {
        Self { draft, part: BEGIN.to_vec(), first: 0, count: 0, starts: Vec::new() }
    }

    /// Add a row; false when there is no room for it.
    pub(super) fn push(&mut self, row: &Row) -> io::Result<bool> {
        let json = serde_json::to_vec(row)?;
        if self.part.len() + 1 + json.len() + END.len() > REVIEW_PART_BYTES_MAX {
            if self.starts.len() + 1 == PARTS_MAX {
                return Ok(false);
            }
            self.write()?;
        }
        if self.part.len() > BEGIN.len() {
            self.part.push(b',');
        }
        self.part.extend_from_slice(&json);
        self.count += 1;
        Ok(true)
    }

    /// How many rows there are, and where their parts begin.
    pub(super) fn finish(mut self) -> io::Result<(u32, Vec<PartStart>)> {
        if self.count > self.first {
            self.write()?;
        }
        Ok((self.count, self.starts))
    }

    fn write(&mut self) -> io::Result<()> {
        self.part.extend_from_slice(END);
        let part = self.draft.put(&self.part)?;
        self.starts.push(PartStart { part, row: self.first });
        self.part.truncate(BEGIN.len());
        self.first = self.count;
        Ok(())
    }
}
