//! The logs of conversations.

use rusqlite::{Transaction, params};

use super::{decode, encode, signed, unsigned};
use crate::id::ConversationId;
use crate::store::{Commit, LOG_KEEP, LOG_MAX, Logged, StoreError};
use crate::time::Timestamp;

/// Append what a commit has to tell.
pub(super) fn append(db: &Transaction, commit: &Commit) -> Result<(), StoreError> {
    let id = commit.conversation.id.as_str();
    for entry in &commit.log {
        db.prepare_cached("INSERT INTO log (conversation, at, entry) VALUES (?1, ?2, ?3)")?.execute(params![
            id,
            signed(commit.now.as_millis()),
            encode(entry)
        ])?;
    }
    if !commit.log.is_empty() {
        db.prepare_cached(
            "DELETE FROM log WHERE conversation = ?1 AND cursor <= \
             (SELECT cursor FROM log WHERE conversation = ?1 ORDER BY cursor DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![id, signed(LOG_MAX as u64)])?;
    }
    Ok(())
}

pub(super) fn read(
    db: &Transaction,
    id: &ConversationId,
    cursor: u64,
    limit: usize,
) -> Result<Vec<Logged>, StoreError> {
    let rows: Vec<(i64, i64, String)> = db
        .prepare_cached(
            "SELECT cursor, at, entry FROM log WHERE conversation = ?1 AND cursor > ?2 ORDER BY cursor LIMIT ?3",
        )?
        .query_map(params![id.as_str(), signed(cursor), signed(limit as u64)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?
        .collect::<Result<_, _>>()?;
    rows.into_iter()
        .map(|(cursor, at, entry)| {
            Ok(Logged { cursor: unsigned(cursor), at: Timestamp(unsigned(at)), entry: decode(&entry)? })
        })
        .collect()
}

pub(super) fn sweep(db: &Transaction, now: Timestamp) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM log WHERE at <= ?1")?.execute([signed((now - LOG_KEEP).as_millis())])?;
    Ok(())
}
