//! What the relays share besides mailboxes: dead letters, counts, pictures, feeds.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{decode, log, mailbox, operators, signed, unsigned};
use crate::id::{BlobId, ConversationId, Fence, NodeId};
use crate::machine::Event;
use crate::store::operators::NODE_KEEP;
use crate::store::{
    Blob, DEDUPE_KEEP, DeadLetter, FEED_MAX, FeedEntry, LEASE, Overview, Reserve, Reserved, Stats, StoreError, Survey,
};
use crate::time::Timestamp;

pub(super) fn dead_letters(db: &Transaction, after: u64, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
    let mut rows = db.prepare_cached(
        "SELECT letter, conversation, effect, reason, at FROM dead_letters WHERE letter > ?1 ORDER BY letter LIMIT ?2",
    )?;
    let raw: Vec<(i64, String, String, String, i64)> = rows
        .query_map([signed(after), signed(limit as u64)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?
        .collect::<Result<_, _>>()?;
    raw.into_iter()
        .map(|(letter, conversation, effect, reason, at)| {
            Ok(DeadLetter {
                letter: unsigned(letter),
                conversation: parse(conversation)?,
                effect: decode(&effect)?,
                reason,
                at: Timestamp(unsigned(at)),
            })
        })
        .collect()
}

pub(super) fn redrive(db: &Transaction, letter: u64, now: Timestamp) -> Result<bool, StoreError> {
    let found: Option<(String, String)> = db
        .prepare_cached("DELETE FROM dead_letters WHERE letter = ?1 RETURNING conversation, effect")?
        .query_row([signed(letter)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((conversation, effect)) = found else {
        return Ok(false);
    };
    let id = parse(conversation)?;
    mailbox::append(db, &id, &Event::Redriven { effect: decode(&effect)? })?;
    // A holder finds the event when it next commits; without one the conversation is due at once.
    db.prepare_cached("UPDATE conversations SET due_at = ?2 WHERE id = ?1 AND holder IS NULL")?
        .execute(params![id.as_str(), signed(now.as_millis())])?;
    Ok(true)
}

pub(super) fn stats(db: &Transaction, now: Timestamp) -> Result<Stats, StoreError> {
    let count = |sql: &str| -> Result<u64, StoreError> {
        let mut statement = db.prepare_cached(sql)?;
        let count = match statement.parameter_count() {
            0 => statement.query_row([], |row| row.get(0))?,
            _ => statement.query_row([signed(now.as_millis())], |row| row.get(0))?,
        };
        Ok(unsigned(count))
    };
    Ok(Stats {
        conversations: count("SELECT count(*) FROM conversations")?,
        held: count("SELECT count(*) FROM conversations WHERE holder IS NOT NULL AND due_at > ?1")?,
        due: count("SELECT count(*) FROM conversations WHERE due_at <= ?1")?,
        inbox: count("SELECT count(*) FROM inbox")?,
        outbox: count("SELECT count(*) FROM outbox")?,
        dead_letters: count("SELECT count(*) FROM dead_letters")?,
    })
}

pub(super) fn survey(db: &Transaction, now: Timestamp) -> Result<Survey, StoreError> {
    let now = now - LEASE;
    let Stats { conversations, due, dead_letters, .. } = stats(db, now)?;
    let oldest: Option<i64> = db
        .prepare_cached("SELECT min(due_at) FROM conversations WHERE due_at <= ?1")?
        .query_row([signed(now.as_millis())], |row| row.get(0))?;
    let oldest_due_at = oldest.map(|at| Timestamp(unsigned(at)));
    let mut survey = Survey { conversations, due, oldest_due_at, dead_letters, ..Survey::default() };
    let mut marks = db.prepare_cached("SELECT mark FROM activities")?;
    for mark in marks.query_map([], |row| row.get::<_, i64>(0))? {
        survey.count(mark?);
    }
    Ok(survey)
}

pub(super) fn put_blob(db: &Transaction, id: &BlobId, blob: &Blob, expires_at: Timestamp) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR REPLACE INTO blobs (id, content_type, bytes, expires_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id.as_str(), blob.content_type, blob.bytes, signed(expires_at.as_millis())])?;
    Ok(())
}

pub(super) fn blob(db: &Transaction, id: &BlobId, now: Timestamp) -> Result<Option<Blob>, StoreError> {
    let blob = db
        .prepare_cached("SELECT content_type, bytes FROM blobs WHERE id = ?1 AND expires_at > ?2")?
        .query_row(params![id.as_str(), signed(now.as_millis())], |row| {
            Ok(Blob { content_type: row.get(0)?, bytes: row.get(1)? })
        })
        .optional()?;
    Ok(blob)
}

pub(super) fn append_feed(db: &Transaction, id: &ConversationId, key: &str, entry: &str) -> Result<(), StoreError> {
    db.prepare_cached("INSERT OR IGNORE INTO feed (conversation, key, entry) VALUES (?1, ?2, ?3)")?
        .execute(params![id.as_str(), key, entry])?;
    db.prepare_cached(
        "DELETE FROM feed WHERE conversation = ?1 AND cursor <= \
         (SELECT cursor FROM feed WHERE conversation = ?1 ORDER BY cursor DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![id.as_str(), signed(FEED_MAX as u64)])?;
    Ok(())
}

pub(super) fn feed(
    db: &Transaction,
    id: &ConversationId,
    cursor: u64,
    limit: usize,
) -> Result<Vec<FeedEntry>, StoreError> {
    let entries = db
        .prepare_cached(
            "SELECT cursor, entry FROM feed WHERE conversation = ?1 AND cursor > ?2 ORDER BY cursor LIMIT ?3",
        )?
        .query_map(params![id.as_str(), signed(cursor), signed(limit as u64)], |row| {
            Ok(FeedEntry { cursor: unsigned(row.get(0)?), entry: row.get(1)? })
        })?
        .collect::<Result<_, _>>()?;
    Ok(entries)
}

pub(super) fn reserve(db: &Transaction, reserve: &Reserve) -> Result<Reserved, StoreError> {
    let free_at: Option<i64> = db
        .prepare_cached("SELECT free_at FROM lines WHERE line = ?1")?
        .query_row([&reserve.line], |row| row.get(0))
        .optional()?;
    let (free_at, reserved) = turn(reserve, free_at.map_or(0, unsigned));
    if let Reserved::In(_) = reserved {
        db.prepare_cached("INSERT OR REPLACE INTO lines (line, free_at) VALUES (?1, ?2)")?
            .execute(params![reserve.line, signed(free_at)])?;
    }
    Ok(reserved)
}

/// What comes of it when the line is free from `free_at` on, and when it is free then: both in microseconds, because a fast line
/// has turns closer than milliseconds.
fn turn(reserve: &Reserve, free_at: u64) -> (u64, Reserved) {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let now = reserve.now.as_millis().saturating_mul(1_000);
    let turn = free_at.max(now);
    let wait = Duration::from_micros(turn - now);
    if wait > reserve.wait_max {
        return (free_at, Reserved::Later(wait));
    }
    (turn.saturating_add(micros(reserve.interval).saturating_mul(reserve.count.into())), Reserved::In(wait))
}

pub(super) fn set_note(db: &Transaction, name: &str, text: &str) -> Result<(), StoreError> {
    match text {
        "" => db.prepare_cached("DELETE FROM notes WHERE name = ?1")?.execute([name])?,
        text => {
            db.prepare_cached("INSERT OR REPLACE INTO notes (name, text) VALUES (?1, ?2)")?.execute([name, text])?
        }
    };
    Ok(())
}

pub(super) fn swap_note(db: &Transaction, name: &str, known: Option<&str>, text: &str) -> Result<bool, StoreError> {
    let is_known = note(db, name)?.as_deref() == known;
    if is_known {
        set_note(db, name, text)?;
    }
    Ok(is_known)
}

pub(super) fn note(db: &Transaction, name: &str) -> Result<Option<String>, StoreError> {
    let note = db.prepare_cached("SELECT text FROM notes WHERE name = ?1")?.query_row([name], |row| row.get(0));
    Ok(note.optional()?)
}

pub(super) fn forget(
    db: &Transaction,
    id: &ConversationId,
    blobs: &[BlobId],
    notes: &[String],
) -> Result<bool, StoreError> {
    for table in ["inbox", "outbox", "dead_letters", "feed", "log", "activities"] {
        db.execute(&format!("DELETE FROM {table} WHERE conversation = ?1"), [id.as_str()])?;
    }
    for blob in blobs {
        db.execute("DELETE FROM blobs WHERE id = ?1", [blob.as_str()])?;
    }
    for note in notes {
        db.execute("DELETE FROM notes WHERE name = ?1", [note])?;
    }
    Ok(db.execute("DELETE FROM conversations WHERE id = ?1", [id.as_str()])? > 0)
}

pub(super) fn sweep(db: &Transaction, now: Timestamp) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM blobs WHERE expires_at <= ?1")?.execute([signed(now.as_millis())])?;
    db.prepare_cached("DELETE FROM seen WHERE at <= ?1")?.execute([signed((now - DEDUPE_KEEP).as_millis())])?;
    operators::sweep(db, now - NODE_KEEP)?;
    log::sweep(db, now)
}

pub(super) fn conversations(db: &Transaction, skip: usize, limit: usize) -> Result<Vec<ConversationId>, StoreError> {
    let ids: Vec<String> = db
        .prepare_cached("SELECT id FROM conversations ORDER BY due_at IS NULL, due_at, id LIMIT ?1 OFFSET ?2")?
        .query_map([signed(limit as u64), signed(skip as u64)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    ids.into_iter().map(parse).collect()
}

pub(super) fn overview(db: &Transaction, id: &ConversationId) -> Result<Option<Overview>, StoreError> {
    let found = db
        .prepare_cached(
            "SELECT fence, holder, due_at, (SELECT count(*) FROM inbox WHERE conversation = id), \
             (SELECT count(*) FROM outbox WHERE conversation = id) FROM conversations WHERE id = ?1",
        )?
        .query_row([id.as_str()], |row| {
            Ok(Overview {
                conversation: id.clone(),
                fence: Fence(unsigned(row.get(0)?)),
                holder: row.get::<_, Option<String>>(1)?.and_then(|node| NodeId::parse(node).ok()),
                due_at: row.get::<_, Option<i64>>(2)?.map(|at| Timestamp(unsigned(at))),
                inbox: unsigned(row.get(3)?),
                outbox: unsigned(row.get(4)?),
            })
        })
        .optional()?;
    Ok(found)
}

pub(super) fn parse(id: String) -> Result<ConversationId, StoreError> {
    ConversationId::parse(id).map_err(|error| StoreError::Unreadable(error.to_string()))
}
