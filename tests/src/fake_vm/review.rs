//! The review of a made-up diff: an index, and one part with its rows.

use relay_core::id::TreeHash;
use relay_core::protocol::DiffStat;
use relay_core::protocol::review::{PartStart, ReviewChange, ReviewFile, ReviewIndex, ReviewPart, Row};
use serde_json::Value;

use super::value;

/// How many parts there are.
pub(super) const PARTS: u32 = 2;

/// The part of this number.
pub(super) fn part(tree: &TreeHash, number: u32) -> Option<Value> {
    match number {
        0 => Some(value(&index())),
        1 => Some(value(&ReviewPart { rows: rows(tree) })),
        _ => None,
    }
}

fn rows(tree: &TreeHash) -> Vec<Row> {
    vec![Row::Hunk { old: 0, new: 1, heading: String::new() }, Row::Added { new: 1, text: format!("tree {tree}") }]
}

fn index() -> ReviewIndex {
    let file = ReviewFile {
        path: "work.txt".into(),
        from: None,
        change: ReviewChange::Added,
        notes: Vec::new(),
        insertions: 1,
        deletions: 0,
        row: 0,
        rows: 2,
        before: None,
        after: None,
    };
    let stat = DiffStat { files: 1, insertions: 1, deletions: 0 };
    ReviewIndex { stat, files: vec![file], rows: 2, parts: vec![PartStart { part: 1, row: 0 }], cut: false }
}
