//! What a signed link names, and the parts of it that are looked at.

use relay_core::id::{ConversationId, RunId, TreeHash};
use relay_core::protocol::review::{REVIEW_CONTENT_TYPE, ReviewIndex, ReviewPart, Row};
use relay_core::store::Blob;
use serde::de::DeserializeOwned;

use crate::app::{App, Kept, in_time};
use crate::clock;
use crate::error::RequestError;

/// Rows that one page shows at most.
pub(super) const PAGE_ROWS_MAX: usize = 400;
/// A page with so many characters of code begins no further row: lines can be long.
const PAGE_CHARS_MAX: usize = 96 * 1024;

/// One diff of somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Whose.
    pub conversation: ConversationId,
    /// The run that made it.
    pub run: RunId,
    /// The state of the files that it leads to.
    pub tree: TreeHash,
}

impl Subject {
    /// What a link for a review is about: `{run}/{tree}`. A run's name begins with its conversation's.
    pub fn parse(subject: &str) -> Option<Self> {
        let (run, tree) = subject.split_once('/')?;
        let (conversation, _) = run.split_once('-')?;
        Some(Self {
            conversation: ConversationId::parse(conversation).ok()?,
            run: RunId::parse(run).ok()?,
            tree: TreeHash::parse(tree).ok()?,
        })
    }
}

/// Rows that follow one another.
#[derive(Clone, Debug, Default)]
pub struct Stretch {
    /// The number of the first.
    pub from: u32,
    /// They themselves.
    pub rows: Vec<Row>,
}

impl Stretch {
    /// The number of the row after the last.
    pub fn end(&self) -> u32 {
        self.from.saturating_add(u32::try_from(self.rows.len()).unwrap_or(u32::MAX))
    }
}

/// Part 0; `None` when it is not kept, no longer, or not one that can be shown.
pub async fn index(app: &App, subject: &Subject) -> Result<Option<ReviewIndex>, RequestError> {
    Ok(part(app, subject, 0).await?.filter(ReviewIndex::is_sound))
}

/// The rows of one page, from row `from` on. Fewer when the part that holds the next ones is not kept any more.
pub async fn stretch(app: &App, subject: &Subject, index: &ReviewIndex, from: u32) -> Result<Stretch, RequestError> {
    let mut stretch = Stretch { from: from.min(index.rows), rows: Vec::new() };
    let first = index.parts.partition_point(|part| part.row <= from).saturating_sub(1);
    let mut chars = 0;
    for start in index.parts.iter().skip(first) {
        // One that holds no row of the page would be read in vain.
        if stretch.rows.len() >= PAGE_ROWS_MAX || chars >= PAGE_CHARS_MAX || start.row > stretch.end() {
            break;
        }
        let Some(ReviewPart { rows }) = part(app, subject, start.part).await? else { break };
        let before = usize::try_from(stretch.end().saturating_sub(start.row)).unwrap_or(usize::MAX);
        for row in rows.into_iter().skip(before) {
            if stretch.rows.len() >= PAGE_ROWS_MAX || chars >= PAGE_CHARS_MAX {
                break;
            }
            chars += super::paint::text(&row).len();
            stretch.rows.push(row);
        }
    }
    Ok(stretch)
}

/// A picture of a file before or after; `None` for any part that is not one.
pub async fn picture(
    app: &App,
    subject: &Subject,
    index: &ReviewIndex,
    part: u32,
) -> Result<Option<Blob>, RequestError> {
    let is_picture = index.files.iter().any(|file| file.before == Some(part) || file.after == Some(part));
    if !is_picture {
        return Ok(None);
    }
    let blob = kept(app, subject, part).await?;
    Ok(blob.filter(|blob| PICTURE_TYPES.contains(&blob.content_type.as_str())))
}

/// Pictures that hold no script, whatever else is in them.
const PICTURE_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// A part that is JSON. What can't be read is as good as not there: a newer VM may have written it.
async fn part<T: DeserializeOwned>(app: &App, subject: &Subject, part: u32) -> Result<Option<T>, RequestError> {
    let blob = kept(app, subject, part).await?.filter(|blob| blob.content_type == REVIEW_CONTENT_TYPE);
    Ok(blob.and_then(|blob| serde_json::from_slice(&blob.bytes).ok()))
}

async fn kept(app: &App, subject: &Subject, part: u32) -> Result<Option<Blob>, RequestError> {
    let id = app.blob_id(Kept::Review { run: &subject.run, tree: &subject.tree, part });
    Ok(in_time(app.store.blob(&id, clock::now())).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_run_tree_and_whose_they_are() {
        let subject = Subject::parse("c0ffee-18f-7/4b825dc6").unwrap();
        assert_eq!((subject.conversation.as_str(), subject.run.number()), ("c0ffee", "7"));
        for bad in ["", "c0ffee-18f-7", "c0ffee/4b825dc6", "c0ffee-18f-7/xyz", "../x-1/4b825dc6", "c0ffee-1/4b82/5dc6"]
        {
            assert_eq!(Subject::parse(bad), None, "{bad}");
        }
    }
}
