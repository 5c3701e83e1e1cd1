//! Ingest, commit, claim: the mailbox protocol, each function inside the caller's transaction.

use rusqlite::{OptionalExtension, Transaction, params};

use super::{decode, encode, log, signed, unsigned};
use crate::id::{ConversationId, EffectSeq, Fence, NodeId, Nonce};
use crate::machine::effect::Kept;
use crate::machine::{Conversation, Event, Queued};
use crate::store::{
    Claim, Claimed, Commit, Committed, Due, Held, INBOX_MAX, Ingest, Ingested, LEASE, StoreError, UNREADABLE_PAUSE,
};
use crate::time::Timestamp;

/// Who has a conversation, and until when.
struct Lease {
    fence: Fence,
    nonce: String,
    holder: Option<String>,
    due_at: Option<Timestamp>,
}

impl Lease {
    fn is_held(&self, now: Timestamp) -> bool {
        self.holder.is_some() && self.due_at.is_some_and(|until| until > now)
    }

    fn is_due(&self, now: Timestamp) -> bool {
        self.due_at.is_some_and(|at| at <= now)
    }

    /// Whether the call named by `nonce` already took this lease for `node`.
    fn is_repeat(&self, nonce: &Nonce, node: &NodeId) -> bool {
        self.nonce == nonce.as_str() && self.holder.as_deref() == Some(node.as_str())
    }
}

pub(super) fn ingest(db: &Transaction, ingest: &Ingest) -> Result<Ingested, StoreError> {
    let id = &ingest.conversation;
    let known = lease(db, id)?;
    if let Some(lease) = known.as_ref().filter(|lease| lease.is_repeat(&ingest.nonce, &ingest.node)) {
        return Ok(Ingested::Held(Box::new(held(db, id, lease.fence, &ingest.nonce, true)?)));
    }
    let waiting: i64 = db
        .prepare_cached("SELECT count(*) FROM inbox WHERE conversation = ?1")?
        .query_row([id.as_str()], |row| row.get(0))?;
    let fresh = db
        .prepare_cached("SELECT 1 FROM seen WHERE event_id = ?1")?
        .query_row([ingest.id.as_str()], |_| Ok(()))
        .optional()?
        .is_none();
    if !fresh {
        return Ok(Ingested::Duplicate);
    }
    if unsigned(waiting) >= INBOX_MAX as u64 {
        return Ok(Ingested::Full);
    }
    db.prepare_cached("INSERT INTO seen (event_id, at) VALUES (?1, ?2)")?
        .execute(params![ingest.id.as_str(), signed(ingest.now.as_millis())])?;
    if known.is_none() {
        db.prepare_cached("INSERT INTO conversations (id) VALUES (?1)")?.execute([id.as_str()])?;
    }
    let lease = lease(db, id)?.ok_or_else(|| StoreError::Unreadable("a row vanished in its transaction".into()))?;
    append(db, id, &ingest.event)?;
    if lease.is_held(ingest.now) {
        return Ok(Ingested::Queued);
    }
    let fence = take(db, id, &lease, &ingest.node, &ingest.nonce, ingest.now)?;
    Ok(Ingested::Held(Box::new(held(db, id, fence, &ingest.nonce, lease.holder.is_some())?)))
}

pub(super) fn commit(db: &Transaction, commit: &Commit) -> Result<Committed, StoreError> {
    let id = &commit.conversation.id;
    let Some(lease) = lease(db, id)?.filter(|lease| lease.fence == commit.fence) else {
        return Ok(Committed::Fenced);
    };
    let repeated = lease.nonce == commit.nonce.as_str();
    if !repeated && lease.nonce != commit.previous.as_str() {
        return Ok(Committed::Fenced);
    }
    if lease.holder.is_none() {
        // Given back already: by this very call, or by an earlier one of a holder that has lost count.
        return Ok(if repeated { Committed::Released } else { Committed::Fenced });
    }
    if !repeated {
        apply(db, commit)?;
    }
    let inbox = inbox(db, id)?;
    let released = commit.release && inbox.is_empty();
    if released {
        mark(db, commit)?;
    }
    let due_at = if released { commit.deadline } else { Some(commit.now + LEASE) };
    db.prepare_cached(
        "UPDATE conversations SET nonce = ?2, due_at = ?3, holder = CASE WHEN ?4 THEN NULL ELSE holder END WHERE id = ?1",
    )?
    .execute(params![id.as_str(), commit.nonce.as_str(), due_at.map(|at| signed(at.as_millis())), released])?;
    Ok(if released { Committed::Released } else { Committed::Held { inbox } })
}

/// What goes on is told apart from the state, so that it can be counted.
fn mark(db: &Transaction, commit: &Commit) -> Result<(), StoreError> {
    let id = commit.conversation.id.as_str();
    match commit.activity.map(|activity| activity.mark(commit.now)) {
        None => {}
        Some(None) => {
            db.prepare_cached("DELETE FROM activities WHERE conversation = ?1")?.execute([id])?;
        }
        Some(Some(mark)) => {
            db.prepare_cached("INSERT OR REPLACE INTO activities (conversation, mark) VALUES (?1, ?2)")?
                .execute(params![id, mark])?;
        }
    }
    Ok(())
}

fn apply(db: &Transaction, commit: &Commit) -> Result<(), StoreError> {
    let id = commit.conversation.id.as_str();
    db.prepare_cached(
        "DELETE FROM inbox WHERE place IN (SELECT place FROM inbox WHERE conversation = ?1 ORDER BY place LIMIT ?2)",
    )?
    .execute(params![id, signed(commit.consumed as u64)])?;
    for seq in &commit.acked {
        db.prepare_cached("DELETE FROM outbox WHERE conversation = ?1 AND seq = ?2")?
            .execute(params![id, signed(seq.0)])?;
    }
    for queued in &commit.effects {
        db.prepare_cached("INSERT INTO outbox (conversation, seq, effect) VALUES (?1, ?2, ?3)")?.execute(params![
            id,
            signed(queued.seq.0),
            encode(&Kept::from(queued))
        ])?;
    }
    for dead in &commit.dead {
        db.prepare_cached("INSERT INTO dead_letters (conversation, effect, reason, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![id, encode(&dead.effect), dead.reason, signed(commit.now.as_millis())])?;
    }
    log::append(db, commit)?;
    db.prepare_cached("UPDATE conversations SET state = ?2 WHERE id = ?1")?
        .execute(params![id, encode(&commit.conversation)])?;
    Ok(())
}

pub(super) fn claim(db: &Transaction, claim: &Claim) -> Result<Claimed, StoreError> {
    let id = &claim.conversation;
    let Some(lease) = lease(db, id)? else {
        return Ok(Claimed::NotDue);
    };
    if lease.is_repeat(&claim.nonce, &claim.node) {
        return Ok(Claimed::Held(Box::new(held(db, id, lease.fence, &claim.nonce, true)?)));
    }
    if lease.is_held(claim.now) {
        return Ok(Claimed::Taken);
    }
    if !lease.is_due(claim.now) {
        return Ok(Claimed::NotDue);
    }
    // Read first: what can't be read is not taken.
    match held(db, id, lease.fence, &claim.nonce, lease.holder.is_some()) {
        Ok(found) => {
            let fence = take(db, id, &lease, &claim.node, &claim.nonce, claim.now)?;
            Ok(Claimed::Held(Box::new(Held { fence, ..found })))
        }
        Err(StoreError::Unreadable(reason)) => {
            db.prepare_cached("UPDATE conversations SET due_at = ?2, holder = NULL WHERE id = ?1")?
                .execute(params![id.as_str(), signed((claim.now + UNREADABLE_PAUSE).as_millis())])?;
            Ok(Claimed::Unreadable(reason))
        }
        Err(error) => Err(error),
    }
}

pub(super) fn due(db: &Transaction, now: Timestamp, limit: usize) -> Result<Due, StoreError> {
    let now = signed(now.as_millis());
    let ids: Vec<String> = db
        .prepare_cached("SELECT id FROM conversations WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2")?
        .query_map(params![now, signed(limit as u64)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let next: Option<i64> = db
        .prepare_cached("SELECT min(due_at) FROM conversations WHERE due_at > ?1")?
        .query_row([now], |row| row.get(0))?;
    let conversations = ids
        .into_iter()
        .map(|id| ConversationId::parse(id).map_err(|error| StoreError::Unreadable(error.to_string())))
        .collect::<Result<_, _>>()?;
    Ok(Due { conversations, next: next.map(|at| Timestamp(unsigned(at))) })
}

pub(super) fn conversation(db: &Transaction, id: &ConversationId) -> Result<Option<Conversation>, StoreError> {
    let state: Option<Option<String>> = db
        .prepare_cached("SELECT state FROM conversations WHERE id = ?1")?
        .query_row([id.as_str()], |row| row.get(0))
        .optional()?;
    let Some(conversation) = state.flatten().map(|state| decode::<Conversation>(&state)).transpose()? else {
        return Ok(None);
    };
    if conversation.format > Conversation::FORMAT {
        return Err(StoreError::Unreadable(format!("a conversation of format {}", conversation.format)));
    }
    Ok(Some(conversation))
}

/// Append an event to the inbox.
pub(super) fn append(db: &Transaction, id: &ConversationId, event: &Event) -> Result<(), StoreError> {
    db.prepare_cached("INSERT INTO inbox (conversation, event) VALUES (?1, ?2)")?
        .execute(params![id.as_str(), encode(event)])?;
    Ok(())
}

fn lease(db: &Transaction, id: &ConversationId) -> Result<Option<Lease>, StoreError> {
    let lease = db
        .prepare_cached("SELECT fence, nonce, holder, due_at FROM conversations WHERE id = ?1")?
        .query_row([id.as_str()], |row| {
            Ok(Lease {
                fence: Fence(unsigned(row.get(0)?)),
                nonce: row.get(1)?,
                holder: row.get(2)?,
                due_at: row.get::<_, Option<i64>>(3)?.map(|at| Timestamp(unsigned(at))),
            })
        })
        .optional()?;
    Ok(lease)
}

/// Give the lease to `node`, under a larger fence. Fences follow the clock where it is ahead of them, so that they stay
/// larger than all that a VM has seen even when the store was lost and began anew.
fn take(
    db: &Transaction,
    id: &ConversationId,
    lease: &Lease,
    node: &NodeId,
    nonce: &Nonce,
    now: Timestamp,
) -> Result<Fence, StoreError> {
    let fence = Fence((lease.fence.0 + 1).max(now.as_millis()));
    db.prepare_cached("UPDATE conversations SET fence = ?2, nonce = ?3, holder = ?4, due_at = ?5 WHERE id = ?1")?
        .execute(params![
            id.as_str(),
            signed(fence.0),
            nonce.as_str(),
            node.as_str(),
            signed((now + LEASE).as_millis())
        ])?;
    Ok(fence)
}

fn held(
    db: &Transaction,
    id: &ConversationId,
    fence: Fence,
    nonce: &Nonce,
    abandoned: bool,
) -> Result<Held, StoreError> {
    let conversation = conversation(db, id)?.unwrap_or_else(|| Conversation::new(id.clone()));
    let (nonce, inbox, outbox) = (nonce.clone(), inbox(db, id)?, outbox(db, id)?);
    Ok(Held { conversation, fence, nonce, inbox, outbox, abandoned })
}

fn inbox(db: &Transaction, id: &ConversationId) -> Result<Vec<Event>, StoreError> {
    let mut rows = db.prepare_cached("SELECT event FROM inbox WHERE conversation = ?1 ORDER BY place")?;
    let events: Vec<String> = rows.query_map([id.as_str()], |row| row.get(0))?.collect::<Result<_, _>>()?;
    events.iter().map(|event| decode(event)).collect()
}

fn outbox(db: &Transaction, id: &ConversationId) -> Result<Vec<Queued>, StoreError> {
    let mut rows = db.prepare_cached("SELECT seq, effect FROM outbox WHERE conversation = ?1 ORDER BY seq")?;
    let queued: Vec<(i64, String)> =
        rows.query_map([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    queued.into_iter().map(|(seq, effect)| Ok(decode::<Kept>(&effect)?.at(EffectSeq(unsigned(seq))))).collect()
}
