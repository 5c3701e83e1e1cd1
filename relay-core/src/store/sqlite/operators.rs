//! What operators see and do.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, params};

use super::{SqliteStore, decode, encode, shelf, signed};
use crate::id::{ConversationId, NodeId};
use crate::store::operators::{Active, Beat, DEEDS_MAX, Deed, DeedOutcome, Node, Operators, latest};
use crate::store::{Activity, DeadLetter, StoreError};
use crate::time::Timestamp;

#[async_trait]
impl Operators for SqliteStore {
    async fn list(&self, skip: usize, limit: usize) -> Result<Vec<ConversationId>, StoreError> {
        self.transact(move |db| shelf::conversations(db, skip, limit)).await
    }

    async fn active(&self, activity: Activity, skip: usize, limit: usize) -> Result<Vec<Active>, StoreError> {
        let Some((first, last)) = activity.marks() else { return Ok(Vec::new()) };
        self.transact(move |db| {
            let mut rows = db.prepare_cached(
                "SELECT conversation, mark FROM activities WHERE mark BETWEEN ?1 AND ?2 \
                 ORDER BY mark, conversation LIMIT ?3 OFFSET ?4",
            )?;
            let window = params![first, last, signed(limit as u64), signed(skip as u64)];
            let raw: Vec<(String, i64)> =
                rows.query_map(window, |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            let read = |(id, mark)| Ok(Active { conversation: shelf::parse(id)?, since: Activity::since(mark) });
            raw.into_iter().map(read).collect()
        })
        .await
    }

    async fn letters(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.transact(move |db| shelf::dead_letters(db, after, limit)).await
    }

    async fn beat(&self, beat: &Beat) -> Result<bool, StoreError> {
        let beat = beat.clone();
        self.transact(move |db| {
            if beat.is_last {
                db.prepare_cached("DELETE FROM nodes WHERE node = ?1")?.execute([beat.node.as_str()])?;
                return Ok(false);
            }
            let drain = db
                .prepare_cached(
                    "INSERT INTO nodes (node, beat, at, drain) VALUES (?1, ?2, ?3, ?4) \
                     ON CONFLICT (node) DO UPDATE SET beat = excluded.beat, at = excluded.at RETURNING drain",
                )?
                .query_row(
                    params![beat.node.as_str(), encode(&beat), signed(beat.at.as_millis()), beat.drained],
                    |row| row.get(0),
                )?;
            Ok(drain)
        })
        .await
    }

    async fn call_roll(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        self.transact(|db| {
            let mut rows = db.prepare_cached("SELECT beat, drain FROM nodes")?;
            let raw: Vec<(String, bool)> =
                rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            let read = |(beat, drain): (String, bool)| Ok(Node { beat: decode(&beat)?, drain });
            Ok(latest(raw.into_iter().map(read).collect::<Result<_, StoreError>>()?))
        })
        .await
    }

    async fn drain(&self, node: &NodeId, drain: bool) -> Result<bool, StoreError> {
        let node = node.clone();
        self.transact(move |db| {
            let mut update = db.prepare_cached("UPDATE nodes SET drain = ?2 WHERE node = ?1")?;
            Ok(update.execute(params![node.as_str(), drain])? > 0)
        })
        .await
    }

    async fn remember(&self, deed: &Deed) -> Result<(), StoreError> {
        let deed = encode(deed);
        self.transact(move |db| {
            db.prepare_cached("INSERT INTO deeds (deed) VALUES (?1)")?.execute([deed])?;
            let last: Option<i64> = db
                .prepare_cached("SELECT place FROM deeds ORDER BY place DESC LIMIT 1 OFFSET ?1")?
                .query_row([signed(DEEDS_MAX as u64)], |row| row.get(0))
                .optional()?;
            if let Some(last) = last {
                db.prepare_cached("DELETE FROM deeds WHERE place <= ?1")?.execute([last])?;
            }
            Ok(())
        })
        .await
    }

    async fn conclude(&self, deed: &Deed, outcome: &DeedOutcome) -> Result<(), StoreError> {
        let concluded = encode(&Deed { outcome: Some(outcome.clone()), ..deed.clone() });
        let deed = encode(deed);
        self.transact(move |db| {
            // Of two that are the same, the later one.
            db.prepare_cached(
                "UPDATE deeds SET deed = ?2 WHERE place = (SELECT max(place) FROM deeds WHERE deed = ?1)",
            )?
            .execute([deed, concluded])?;
            Ok(())
        })
        .await
    }

    async fn deeds(&self, skip: usize, limit: usize) -> Result<Vec<Deed>, StoreError> {
        self.transact(move |db| {
            let mut rows = db.prepare_cached("SELECT deed FROM deeds ORDER BY place DESC LIMIT ?1 OFFSET ?2")?;
            let window = params![signed(limit as u64), signed(skip as u64)];
            let raw: Vec<String> = rows.query_map(window, |row| row.get(0))?.collect::<Result<_, _>>()?;
            raw.iter().map(|deed| decode(deed)).collect()
        })
        .await
    }
}

/// Relays that were not heard of since.
pub(super) fn sweep(db: &rusqlite::Transaction, before: Timestamp) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM nodes WHERE at <= ?1")?.execute([signed(before.as_millis())])?;
    Ok(())
}
