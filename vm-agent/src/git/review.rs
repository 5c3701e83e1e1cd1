//! A diff laid out to be reviewed on a page: an index of its files, their rows in parts, their pictures as they are. The diff is
//! never held as a whole: git's lines become rows as they come.

use std::io;
use std::ops::ControlFlow;

use relay_core::id::TreeHash;
use relay_core::protocol::changed::Beside;
use relay_core::protocol::review::{REVIEW_PART_BYTES_MAX, ROW_CHARS_MAX, Review, ReviewFile, ReviewIndex, Row};

use super::changed_files::{Lines, Raw, parse};
use super::lines::Line;
use super::patch::{Part, Reader};
use super::repository::Repository;
use super::snapshot::{Snapshot, compare, unexpected};
use super::{Call, GitError, ObjectId};
use crate::reviews::Draft;

mod file;
mod pictures;
mod rows;

use rows::Rows;

/// Rows of one file at most: a generated file leaves room for the others.
const FILE_ROWS_MAX: u32 = 40_000;
/// Bytes of a line that are looked at: its sign, and as many characters as a row has.
const LINE_BYTES_MAX: usize = 1 + 4 * (ROW_CHARS_MAX + 1);
/// Room in the index for everything but its files.
const INDEX_ENVELOPE_BYTES: usize = 8 * 1024;
/// What the notes of a file may grow by while its rows are read.
const LATE_NOTES_BYTES: usize = 96;

const NOT_UTF8: &str = "not UTF-8";
const TOO_LONG: &str = "too long to be shown in full";
const NOT_SHOWN: &str = "not shown, because the diff is too long";

impl Repository {
    /// Lay out the difference between the commit of `before` and `tree`, and what has changed `beside` it.
    pub async fn lay_out(
        &self,
        before: &Snapshot,
        tree: &TreeHash,
        beside: &[Beside],
        mut draft: Draft,
    ) -> Result<Review, GitError> {
        let base = self.base_tree(before).await?;
        let tree = ObjectId::parse(tree.as_str().to_owned()).ok_or_else(|| unexpected("write-tree"))?;
        let stat = self.diff_stat(&base, &tree).await?;
        let listing = self.differences(&["--raw", "--numstat", "-z"], &base, &tree).output().await?;
        let raws = parse(&listing).ok_or_else(|| unexpected("diff-tree"))?;
        let sizes = self.sizes(&raws).await?;
        let told = as_many_as_fit(raws.iter().map(|raw| file::of(raw, &sizes)), beside.iter().map(file::beside));
        let mut sheet = Sheet::new(&raws, told, &mut draft);
        self.differences(&["--patch"], &base, &tree).each_line(LINE_BYTES_MAX, |line| sheet.take(line)).await?;
        let Sheet { mut files, told, rows, cut, .. } = sheet;
        number(&mut files);
        let (count, parts) = rows.finish().map_err(unwritable())?;
        // What is beside the diff has none.
        self.add_pictures(&raws, &sizes, &mut files[..told], &mut draft).await?;
        let index = ReviewIndex { stat, files, rows: count, parts, cut };
        let index = serde_json::to_vec(&index).expect("plain data with text keys");
        draft.finish(&index).map_err(unwritable())
    }
}

impl Repository {
    /// Nothing that would be committed is left out, not even another commit of a submodule.
    fn differences(&self, how: &[&str], base: &ObjectId, tree: &ObjectId) -> Call {
        let how: Vec<&str> = how.iter().copied().chain(["--ignore-submodules=none"]).collect();
        compare(self.git(), &how, base.as_str(), tree.as_str())
    }
}

fn unwritable() -> impl FnOnce(io::Error) -> GitError {
    GitError::io("The review could not be written")
}

/// The rows of each file come after those of the one before.
fn number(files: &mut [ReviewFile]) {
    let mut row = 0;
    for file in files {
        file.row = row;
        row += file.rows;
    }
}

/// The files of the diff for which the index has room, and what is beside it; whether there are more.
fn as_many_as_fit(
    files: impl Iterator<Item = ReviewFile>,
    beside: impl Iterator<Item = ReviewFile>,
) -> (Vec<ReviewFile>, Vec<ReviewFile>, bool) {
    let mut room = REVIEW_PART_BYTES_MAX - INDEX_ENVELOPE_BYTES;
    let mut is_cut = false;
    let mut fitting = |told: &mut dyn Iterator<Item = ReviewFile>| {
        let mut fitting = Vec::new();
        for file in told {
            let bytes = serde_json::to_vec(&file).map_or(usize::MAX, |json| json.len() + LATE_NOTES_BYTES);
            match room.checked_sub(bytes) {
                Some(left) => room = left,
                None => {
                    is_cut = true;
                    break;
                }
            }
            fitting.push(file);
        }
        fitting
    };
    // What no diff shows is told in any case.
    let beside = fitting(&mut { beside });
    let files = fitting(&mut { files });
    (files, beside, is_cut)
}

/// What the lines of a diff are written to.
struct Sheet<'a> {
    raws: &'a [(Raw<'a>, Lines)],
    /// Those of the diff, as far as they are told, and then what is beside it.
    files: Vec<ReviewFile>,
    /// How many of them are of the diff.
    told: usize,
    rows: Rows<'a>,
    reader: Reader,
    /// The file at hand, counted from 1, and how many parts of the diff are still its.
    at: usize,
    sections: u32,
    /// The next line before and after.
    old: u32,
    new: u32,
    cut: bool,
}

impl<'a> Sheet<'a> {
    fn new(
        raws: &'a [(Raw<'a>, Lines)],
        (mut files, beside, cut): (Vec<ReviewFile>, Vec<ReviewFile>, bool),
        draft: &'a mut Draft,
    ) -> Self {
        let told = files.len();
        files.extend(beside);
        let (rows, reader) = (Rows::new(draft), Reader::default());
        Self { raws, files, told, rows, reader, at: 0, sections: 0, old: 0, new: 0, cut }
    }

    fn take(&mut self, line: Line<'_>) -> io::Result<ControlFlow<()>> {
        let row = match self.reader.part(line.bytes) {
            Part::File(_) => return Ok(self.next_section()),
            Part::About(_) => return Ok(ControlFlow::Continue(())),
            Part::Hunk { old, new, within } => {
                (self.old, self.new) = (old, new);
                Row::Hunk { old, new, heading: text(within) }
            }
            Part::Line { sign, text: bytes } => {
                if !is_utf8(bytes, line.cut) {
                    self.note(NOT_UTF8);
                }
                self.line(sign, text(bytes))
            }
            Part::AboutLine(about) => Row::Note { text: text(about.strip_prefix(b"\\ ").unwrap_or(about)) },
        };
        self.push(&row)
    }

    fn line(&mut self, sign: u8, text: String) -> Row {
        let (old, new) = (self.old, self.new);
        self.old += u32::from(sign != b'+');
        self.new += u32::from(sign != b'-');
        match sign {
            b'+' => Row::Added { new, text },
            b'-' => Row::Removed { old, text },
            _ => Row::Context { old, new, text },
        }
    }

    /// The diff goes on with the next file, or with what else is of the same: one that became a link, or the reverse, is gone and
    /// new.
    fn next_section(&mut self) -> ControlFlow<()> {
        if self.sections > 0 {
            self.sections -= 1;
            return ControlFlow::Continue(());
        }
        self.at += 1;
        if self.at > self.told {
            return ControlFlow::Break(());
        }
        self.sections = u32::from(self.raws[self.at - 1].0.status == b'T');
        ControlFlow::Continue(())
    }

    fn push(&mut self, row: &Row) -> io::Result<ControlFlow<()>> {
        let Some(file) = self.at.checked_sub(1).and_then(|at| self.files.get_mut(at)) else {
            return Ok(ControlFlow::Continue(()));
        };
        if file.rows >= FILE_ROWS_MAX {
            self.cut = true;
            self.note(TOO_LONG);
            return Ok(ControlFlow::Continue(()));
        }
        if self.rows.push(row)? {
            file.rows += 1;
            return Ok(ControlFlow::Continue(()));
        }
        self.cut = true;
        self.note(TOO_LONG);
        for file in self.files[..self.told].iter_mut().skip(self.at) {
            if file.insertions + file.deletions > 0 {
                file.notes.push(NOT_SHOWN.to_owned());
            }
        }
        Ok(ControlFlow::Break(()))
    }

    /// Tell something of the file at hand, once.
    fn note(&mut self, note: &str) {
        if let Some(file) = self.at.checked_sub(1).and_then(|at| self.files.get_mut(at))
            && !file.notes.iter().any(|before| before == note)
        {
            file.notes.push(note.to_owned());
        }
    }
}

/// As far as a row has room for it.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    match text.char_indices().nth(ROW_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}

/// Of a line that was `cut`, the last character may be missing its end.
fn is_utf8(bytes: &[u8], cut: bool) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => cut && error.error_len().is_none(),
    }
}
