//! Reviews made by hand, and put where the relay keeps them.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use relay_core::id::{RunId, TreeHash};
use relay_core::protocol::DiffStat;
use relay_core::protocol::review::{
    PartStart, REVIEW_CONTENT_TYPE, ReviewChange, ReviewFile, ReviewIndex, ReviewPart, Row,
};
use relay_core::store::sqlite::SqliteStore;
use relay_core::store::{Blob, Store};
use relay_core::time::Timestamp;
use relay_http::app::Kept;
use relay_http::links::{LinkKey, Links, Purpose};
use system_tests::stack::SECRET;

/// Rows of a part.
const PART_ROWS: usize = 1_000;

/// A review: its files, each with its rows.
#[derive(Default)]
pub(in crate::web) struct Made {
    files: Vec<ReviewFile>,
    rows: Vec<Row>,
    pictures: Vec<Vec<u8>>,
}

impl Made {
    /// With a file whose lines are written as git does, one for each line of `diff`: `@`, a space, `+` or `-` first.
    pub(super) fn file(mut self, path: &str, change: ReviewChange, diff: &str) -> Self {
        let first = self.rows.len();
        let (mut old, mut new) = (1, 1);
        for line in diff.lines() {
            let text = line.get(1..).unwrap_or_default().to_owned();
            let row = match line.as_bytes().first() {
                Some(b'@') => {
                    (old, new) = (old + 17, new + 17);
                    Row::Hunk { old, new, heading: text }
                }
                Some(b'+') => Row::Added { new, text },
                Some(b'-') => Row::Removed { old, text },
                Some(b'\\') => Row::Note { text },
                _ => Row::Context { old, new, text },
            };
            old += u32::from(matches!(row, Row::Removed { .. } | Row::Context { .. }));
            new += u32::from(matches!(row, Row::Added { .. } | Row::Context { .. }));
            self.rows.push(row);
        }
        let rows = &self.rows[first..];
        let count = |is: fn(&Row) -> bool| u32::try_from(rows.iter().filter(|row| is(row)).count()).expect("few");
        self.files.push(ReviewFile {
            path: path.to_owned(),
            from: None,
            change,
            notes: Vec::new(),
            insertions: count(|row| matches!(row, Row::Added { .. })),
            deletions: count(|row| matches!(row, Row::Removed { .. })),
            row: u32::try_from(first).expect("few"),
            rows: u32::try_from(rows.len()).expect("few"),
            before: None,
            after: None,
        });
        self
    }

    /// With this said of the latest file.
    pub(super) fn note(mut self, note: &str) -> Self {
        self.latest().notes.push(note.to_owned());
        self
    }

    /// With the name that the latest file had.
    pub(super) fn renamed_from(mut self, path: &str) -> Self {
        self.latest().from = Some(path.to_owned());
        self
    }

    /// With pictures of the latest file before and after.
    pub(super) fn pictures(mut self, before: Vec<u8>, after: Vec<u8>) -> Self {
        // Pictures have the first numbers.
        let number = 1 + u32::try_from(self.pictures.len()).expect("few");
        self.pictures.extend([before, after]);
        (self.latest().before, self.latest().after) = (Some(number), Some(number + 1));
        self
    }

    fn latest(&mut self) -> &mut ReviewFile {
        self.files.last_mut().expect("a file")
    }

    /// Put it into the relay's database at `path`, as the review of this diff.
    pub(super) async fn keep(self, path: &Path, run: &RunId, tree: &TreeHash) {
        let store = SqliteStore::open(path).expect("the relay's database");
        let number = |count: usize| u32::try_from(count).expect("few");
        let first = 1 + self.pictures.len();
        let chunks: Vec<&[Row]> = self.rows.chunks(PART_ROWS).collect();
        let parts = (0..chunks.len()).map(|at| PartStart { part: number(first + at), row: number(at * PART_ROWS) });
        let sum = |of: fn(&ReviewFile) -> u32| self.files.iter().map(of).sum();
        let stat = DiffStat {
            files: number(self.files.len()),
            insertions: sum(|file| file.insertions),
            deletions: sum(|file| file.deletions),
        };
        let index = ReviewIndex {
            stat,
            files: self.files.clone(),
            rows: number(self.rows.len()),
            parts: parts.collect(),
            cut: false,
        };
        let keep = async |part: usize, content_type: &str, bytes: Vec<u8>| {
            let id = Kept::Review { run, tree, part: number(part) }.id(&SECRET.into());
            let blob = Blob { content_type: content_type.to_owned(), bytes };
            store.put_blob(&id, blob, in_an_hour()).await.expect("the blob is kept");
        };
        for (at, picture) in self.pictures.into_iter().enumerate() {
            keep(1 + at, "image/png", picture).await;
        }
        for (at, rows) in chunks.into_iter().enumerate() {
            let part = ReviewPart { rows: rows.to_vec() };
            keep(first + at, REVIEW_CONTENT_TYPE, serde_json::to_vec(&part).expect("JSON")).await;
        }
        keep(0, REVIEW_CONTENT_TYPE, serde_json::to_vec(&index).expect("JSON")).await;
    }
}

/// The path of the page of this diff.
pub(super) fn link(run: &RunId, tree: &TreeHash) -> String {
    let links = Links::new(vec![LinkKey::derived(&SECRET.into())]);
    format!("/r/{}", links.sign(Purpose::Review, &format!("{run}/{tree}"), in_an_hour()))
}

fn in_an_hour() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp(u64::try_from((since + Duration::from_secs(3600)).as_millis()).expect("a time of ours"))
}
