//! What the relays share besides mailboxes: dead letters, counts, pictures, feeds. None of it needs a script.

use fred::clients::{Client, Pipeline};
use fred::interfaces::{HashesInterface, KeysInterface, SortedSetsInterface};

use super::keys::Keys;
use super::{operators, pack};
use crate::id::{BlobId, ConversationId, Fence, NodeId};
use crate::store::operators::NODE_KEEP;
use crate::store::{Blob, DEDUPE_KEEP, DeadLetter, FeedEntry, LEASE, Overview, Stats, StoreError, Survey};
use crate::time::Timestamp;

/// Conversations or pictures that are asked for in one go.
const BATCH: usize = 200;

pub(super) async fn dead_letter(client: &Client, keys: &Keys, letter: u64) -> Result<Option<DeadLetter>, StoreError> {
    let number = score(letter);
    let found: Vec<String> = client.zrangebyscore(keys.dead(), number, number, false, None).await?;
    found.first().map(|member| pack::letter(member)).transpose()
}

/// A conversation's dead letters, as they stand in their set.
pub(super) async fn letters_of(client: &Client, keys: &Keys, id: &ConversationId) -> Result<Vec<String>, StoreError> {
    let members: Vec<String> = client.zrange(keys.dead(), 0, -1, None, false, None, false).await?;
    let is_of = |member: &String| pack::letter(member).is_ok_and(|letter| letter.conversation == *id);
    Ok(members.into_iter().filter(is_of).collect())
}

pub(super) async fn overview(
    client: &Client,
    keys: &Keys,
    id: &ConversationId,
) -> Result<Option<Overview>, StoreError> {
    let fields = vec!["fence", "holder", "due_at", "first", "next", "waiting"];
    let fields: Vec<Option<String>> = client.hmget(keys.conversation(id), fields).await?;
    let number = |at: usize| fields.get(at).cloned().flatten().and_then(|text| text.parse::<u64>().ok());
    let holder = fields.get(1).cloned().flatten();
    Ok(number(0).map(|fence| Overview {
        conversation: id.clone(),
        fence: Fence(fence),
        holder: holder.and_then(|holder| NodeId::parse(holder).ok()),
        due_at: number(2).map(Timestamp),
        inbox: number(4).unwrap_or(0).saturating_sub(number(3).unwrap_or(0)),
        outbox: number(5).unwrap_or(0),
    }))
}

/// A page of all conversations, by when they are due.
pub(super) async fn conversations(
    client: &Client,
    keys: &Keys,
    skip: usize,
    limit: usize,
) -> Result<Vec<ConversationId>, StoreError> {
    let page = Some((i64::try_from(skip).unwrap_or(i64::MAX), last(limit) + 1));
    let ids: Vec<String> = client.zrangebyscore(keys.due(), 0.0, f64::INFINITY, false, page).await?;
    ids.into_iter().map(pack::conversation_id).collect()
}

/// Reads every conversation's lease: for people, not for probes.
pub(super) async fn stats(client: &Client, keys: &Keys, now: Timestamp) -> Result<Stats, StoreError> {
    let mut stats = Stats {
        conversations: client.zcount(keys.due(), 0.0, f64::INFINITY).await?,
        due: client.zcount(keys.due(), 0.0, score(now.as_millis())).await?,
        dead_letters: client.zcard(keys.dead()).await?,
        ..Stats::default()
    };
    let mut from = 0;
    loop {
        let ids = conversations(client, keys, from, BATCH).await?;
        for id in &ids {
            let Some(one) = overview(client, keys, id).await? else { continue };
            stats.held += u64::from(one.holder.is_some() && one.due_at > Some(now));
            stats.inbox += one.inbox;
            stats.outbox += one.outbox;
        }
        if ids.len() < BATCH {
            return Ok(stats);
        }
        from += BATCH;
    }
}

/// Commands of a survey.
pub(super) const SURVEY_COMMANDS: u64 = 5;
/// Busy conversations that a survey counts at most.
const BUSY_MAX: i64 = 10_000;

pub(super) async fn survey(client: &Client, keys: &Keys, now: Timestamp) -> Result<Survey, StoreError> {
    let now = score((now - LEASE).as_millis());
    let pipeline: Pipeline<Client> = client.pipeline();
    let _: () = pipeline.zcount(keys.due(), 0.0, f64::INFINITY).await?;
    let _: () = pipeline.zcount(keys.due(), 0.0, now).await?;
    let _: () = pipeline.zrangebyscore(keys.due(), 0.0, now, true, Some((0, 1))).await?;
    let _: () = pipeline.zcard(keys.dead()).await?;
    let _: () = pipeline.zrangebyscore(keys.due(), f64::NEG_INFINITY, -1.0, true, Some((0, BUSY_MAX))).await?;
    type Scored = Vec<(String, f64)>;
    let (conversations, due, first, dead_letters, marks): (u64, u64, Scored, u64, Scored) = pipeline.all().await?;
    let oldest_due_at = first.first().map(|(_, at)| Timestamp(whole(*at).unsigned_abs()));
    let mut survey = Survey { conversations, due, oldest_due_at, dead_letters, ..Survey::default() };
    marks.iter().for_each(|(_, mark)| survey.count(whole(*mark)));
    Ok(survey)
}

pub(super) async fn put_blob(
    client: &Client,
    keys: &Keys,
    id: &BlobId,
    blob: Blob,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    let pipeline: Pipeline<Client> = client.pipeline();
    let fields = vec![
        ("content_type", fred::types::Value::String(blob.content_type.into())),
        ("bytes", fred::types::Value::Bytes(blob.bytes.into())),
        ("expires_at", expires_at.as_millis().to_string().into()),
    ];
    // In the index first: a picture that is not there can be swept, one that is not in the index would stay for ever.
    let _: () =
        pipeline.zadd(keys.blobs(), None, None, false, false, (score(expires_at.as_millis()), id.as_str())).await?;
    let _: () = pipeline.hset(keys.blob(id), fields).await?;
    let _: () = pipeline.last().await?;
    Ok(())
}

pub(super) async fn blob(
    client: &Client,
    keys: &Keys,
    id: &BlobId,
    now: Timestamp,
) -> Result<Option<Blob>, StoreError> {
    let (content_type, bytes, expires_at): (Option<String>, Option<fred::bytes::Bytes>, Option<u64>) =
        client.hmget(keys.blob(id), vec!["content_type", "bytes", "expires_at"]).await?;
    Ok(match (content_type, bytes, expires_at) {
        (Some(content_type), Some(bytes), Some(expires_at)) if Timestamp(expires_at) > now => {
            Some(Blob { content_type, bytes: bytes.to_vec() })
        }
        _ => None,
    })
}

pub(super) async fn feed(
    client: &Client,
    keys: &Keys,
    id: &ConversationId,
    cursor: u64,
    limit: usize,
) -> Result<Vec<FeedEntry>, StoreError> {
    let page = Some((0, i64::try_from(limit).unwrap_or(i64::MAX)));
    let members: Vec<String> =
        client.zrangebyscore(keys.feed(id), score(cursor.saturating_add(1)), f64::INFINITY, false, page).await?;
    members
        .into_iter()
        .map(|member| {
            let (cursor, entry) = member.split_once(':').ok_or_else(|| pack::unreadable("a feed's entry"))?;
            let cursor = cursor.parse().map_err(|_| pack::unreadable("a feed's entry"))?;
            Ok(FeedEntry { cursor, entry: entry.to_owned() })
        })
        .collect()
}

pub(super) async fn sweep(client: &Client, keys: &Keys, now: Timestamp) -> Result<(), StoreError> {
    loop {
        let page = Some((0, last(BATCH) + 1));
        let expired: Vec<String> =
            client.zrangebyscore(keys.blobs(), f64::NEG_INFINITY, score(now.as_millis()), false, page).await?;
        let blobs: Vec<String> =
            expired.iter().filter_map(|id| Some(keys.blob(&BlobId::parse(id.clone()).ok()?))).collect();
        if !blobs.is_empty() {
            let _: () = client.del(blobs).await?;
        }
        if !expired.is_empty() {
            let _: () = client.zrem(keys.blobs(), expired.clone()).await?;
        }
        if expired.len() < BATCH {
            break;
        }
    }
    let _: () = client.zremrangebyscore(keys.seen(), f64::NEG_INFINITY, score((now - DEDUPE_KEEP).as_millis())).await?;
    operators::sweep(client, keys, now - NODE_KEEP).await
}

#[expect(clippy::cast_possible_truncation, reason = "scores are instants and marks")]
pub(super) fn whole(score: f64) -> i64 {
    score as i64
}

pub(super) fn last(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX) - 1
}

/// Instants of the next two hundred thousand years and any count fit exactly.
#[expect(clippy::cast_precision_loss, reason = "53 bits are enough")]
pub(super) fn score(number: u64) -> f64 {
    number as f64
}
