//! What operators see and do. None of it needs a script: a relay that is forgotten between two commands tells that it is there
//! when the roll is called again.

use std::collections::HashMap;

use async_trait::async_trait;
use fred::clients::{Client, Pipeline};
use fred::interfaces::{HashesInterface, ListInterface, PubsubInterface, SortedSetsInterface};
use fred::types::lists::ListLocation;

use super::keys::Keys;
use super::shelf::{self, last, score, whole};
use super::{RedisStore, pack};
use crate::id::{ConversationId, NodeId};
use crate::store::operators::{Active, Beat, DEEDS_MAX, Deed, DeedOutcome, Node, Operators, latest};
use crate::store::{Activity, DeadLetter, StoreError};
use crate::time::Timestamp;

#[async_trait]
impl Operators for RedisStore {
    async fn list(&self, skip: usize, limit: usize) -> Result<Vec<ConversationId>, StoreError> {
        shelf::conversations(self.shelf().await?, &self.keys, skip, limit).await
    }

    async fn active(&self, activity: Activity, skip: usize, limit: usize) -> Result<Vec<Active>, StoreError> {
        let Some((first, end)) = activity.marks() else { return Ok(Vec::new()) };
        let page = Some((skip_of(skip), last(limit) + 1));
        let found: Vec<(String, f64)> =
            self.shelf().await?.zrangebyscore(self.keys.due(), mark(first), mark(end), true, page).await?;
        let read = |(member, mark): (String, f64)| {
            let id = member.strip_prefix("busy:").ok_or_else(|| pack::unreadable("what goes on"))?;
            Ok(Active { conversation: pack::conversation_id(id.to_owned())?, since: Activity::since(whole(mark)) })
        };
        found.into_iter().map(read).collect()
    }

    async fn letters(&self, after: u64, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let page = Some((0, last(limit) + 1));
        let from = score(after.saturating_add(1));
        let members: Vec<String> =
            self.shelf().await?.zrangebyscore(self.keys.dead(), from, f64::INFINITY, false, page).await?;
        members.iter().map(|member| pack::letter(member)).collect()
    }

    async fn beat(&self, beat: &Beat) -> Result<bool, StoreError> {
        let client = self.shelf().await?;
        if beat.is_last {
            forget(client, &self.keys, vec![beat.node.to_string()]).await?;
            return Ok(false);
        }
        // Before it is known again: what fails in between is done with the next beat.
        if beat.drained && !client.hexists::<bool, _, _>(self.keys.nodes(), beat.node.as_str()).await? {
            let _: i64 = client.hset(self.keys.drains(), (beat.node.as_str(), "")).await?;
        }
        let pipeline: Pipeline<Client> = client.pipeline();
        let _: () = pipeline.hset(self.keys.nodes(), (beat.node.as_str(), pack::encode(beat))).await?;
        let _: () = pipeline.hexists(self.keys.drains(), beat.node.as_str()).await?;
        let (_, drain): (i64, bool) = pipeline.all().await?;
        Ok(drain)
    }

    async fn call_roll(&self) -> Result<(), StoreError> {
        let _: i64 = self.shelf().await?.publish(self.keys.roll(), "").await?;
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        let pipeline: Pipeline<Client> = self.shelf().await?.pipeline();
        let _: () = pipeline.hgetall(self.keys.nodes()).await?;
        let _: () = pipeline.hgetall(self.keys.drains()).await?;
        let (beats, drains): (HashMap<String, String>, HashMap<String, String>) = pipeline.all().await?;
        let read =
            |(node, beat): (&String, &String)| Ok(Node { beat: pack::decode(beat)?, drain: drains.contains_key(node) });
        Ok(latest(beats.iter().map(read).collect::<Result<_, StoreError>>()?))
    }

    async fn drain(&self, node: &NodeId, drain: bool) -> Result<bool, StoreError> {
        let client = self.shelf().await?;
        if !client.hexists::<bool, _, _>(self.keys.nodes(), node.as_str()).await? {
            return Ok(false);
        }
        let _: i64 = match drain {
            true => client.hset(self.keys.drains(), (node.as_str(), "")).await?,
            false => client.hdel(self.keys.drains(), node.as_str()).await?,
        };
        Ok(true)
    }

    async fn remember(&self, deed: &Deed) -> Result<(), StoreError> {
        let pipeline: Pipeline<Client> = self.shelf().await?.pipeline();
        let _: () = pipeline.lpush(self.keys.deeds(), pack::encode(deed)).await?;
        let _: () = pipeline.ltrim(self.keys.deeds(), 0, last(DEEDS_MAX)).await?;
        let _: () = pipeline.last().await?;
        Ok(())
    }

    async fn conclude(&self, deed: &Deed, outcome: &DeedOutcome) -> Result<(), StoreError> {
        let concluded = pack::encode(&Deed { outcome: Some(outcome.clone()), ..deed.clone() });
        let (deeds, deed) = (self.keys.deeds(), pack::encode(deed));
        let pipeline: Pipeline<Client> = self.shelf().await?.pipeline();
        // Of two that are the same, the later one.
        let _: () = pipeline.linsert(&deeds, ListLocation::Before, deed.as_str(), concluded).await?;
        let _: () = pipeline.lrem(&deeds, 1, deed).await?;
        let _: () = pipeline.last().await?;
        Ok(())
    }

    async fn deeds(&self, skip: usize, limit: usize) -> Result<Vec<Deed>, StoreError> {
        let (from, to) = (skip_of(skip), last(skip.saturating_add(limit)));
        let deeds: Vec<String> = self.shelf().await?.lrange(self.keys.deeds(), from, to).await?;
        deeds.iter().map(|deed| pack::decode(deed)).collect()
    }
}

/// Relays that were not heard of since.
pub(super) async fn sweep(client: &Client, keys: &Keys, before: Timestamp) -> Result<(), StoreError> {
    let beats: HashMap<String, String> = client.hgetall(keys.nodes()).await?;
    let is_old = |beat: &str| pack::decode::<Beat>(beat).map_or(true, |beat| beat.at <= before);
    let old: Vec<String> = beats.into_iter().filter(|(_, beat)| is_old(beat)).map(|(node, _)| node).collect();
    if old.is_empty() { Ok(()) } else { forget(client, keys, old).await }
}

async fn forget(client: &Client, keys: &Keys, nodes: Vec<String>) -> Result<(), StoreError> {
    let pipeline: Pipeline<Client> = client.pipeline();
    let _: () = pipeline.hdel(keys.nodes(), nodes.clone()).await?;
    let _: () = pipeline.hdel(keys.drains(), nodes).await?;
    let _: () = pipeline.last().await?;
    Ok(())
}

/// Exact, as an instant's.
#[expect(clippy::cast_precision_loss, reason = "53 bits are enough")]
fn mark(mark: i64) -> f64 {
    mark as f64
}

fn skip_of(skip: usize) -> i64 {
    i64::try_from(skip).unwrap_or(i64::MAX)
}
