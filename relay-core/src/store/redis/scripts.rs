//! The Lua scripts, one typed function each. Each file begins with its contract; nothing here knows more than that.

use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::LuaInterface;
use fred::types::Value;
use fred::types::scripts::Script;

use super::keys::Keys;
use super::pack;
use crate::id::{BlobId, ConversationId, Fence};
use crate::machine::effect::Kept;
use crate::machine::{Conversation, Event};
use crate::protocol::BODY_BYTES_MAX;
use crate::store::{
    Claim, Commit, DeadLetter, FEED_MAX, INBOX_MAX, Ingest, LEASE, LOG_MAX, Logged, Reserve, Reserved, StoreError,
    UNREADABLE_PAUSE,
};
use crate::time::Timestamp;

/// Upstash then locks the keys of the script alone; any other Redis refuses the line.
const UPSTASH_SHEBANG: &str = "#!lua flags=allow-key-locking\n";
/// Entries of a full log that make room for others at once: a command for so many entries.
const LOG_ROOM: usize = 100;
/// Reports that are moved into an inbox in one step.
const REPORTS_MAX: usize = 64;

/// All scripts, with their names by content.
#[derive(Clone, Debug)]
pub(super) struct Scripts {
    ingest: Script,
    commit: Script,
    claim: Script,
    put_off: Script,
    redrive: Script,
    append_feed: Script,
    reserve: Script,
    swap_note: Script,
    forget: Script,
    log: Script,
    sweep_logs: Script,
}

/// What a taken conversation looks like on the wire.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) fence: Fence,
    pub(super) abandoned: bool,
    pub(super) state: String,
    pub(super) outbox: String,
    pub(super) events: Vec<String>,
}

#[derive(Debug)]
pub(super) enum IngestReply {
    Newer(String),
    Duplicate,
    Full,
    Queued,
    Held(Taken),
}

#[derive(Debug)]
pub(super) enum CommitReply {
    Fenced,
    Released,
    Held(Vec<String>),
}

#[derive(Debug)]
pub(super) enum ClaimReply {
    Newer(String),
    Taken,
    NotDue,
    Held(Taken),
}

/// Inside of `reserve.lua`, of `swap_note.lua`, of `append_feed.lua` and of `log.lua`.
pub(super) const RESERVE_COMMANDS: u64 = 2;
pub(super) const SWAP_NOTE_COMMANDS: u64 = 2;
pub(super) const APPEND_FEED_COMMANDS: u64 = 6;
pub(super) const LOG_COMMANDS: u64 = 2;

/// What a script did inside, in the usual case: hosted servers bill these commands as well as the script's own call.
impl IngestReply {
    pub(super) fn commands(&self) -> u64 {
        match self {
            Self::Newer(_) => 1,
            Self::Duplicate | Self::Full => 2,
            Self::Queued => 3,
            Self::Held(_) => 5,
        }
    }
}

impl CommitReply {
    pub(super) fn commands(&self) -> u64 {
        match self {
            Self::Fenced => 1,
            Self::Held(_) => 2,
            Self::Released => 5,
        }
    }
}

impl ClaimReply {
    pub(super) fn commands(&self) -> u64 {
        match self {
            Self::Taken | Self::NotDue => 3,
            Self::Newer(_) => 2,
            Self::Held(_) => 5,
        }
    }
}

impl Scripts {
    pub(super) fn new(for_upstash: bool) -> Self {
        let script =
            |lua: &str| Script::from_lua(if for_upstash { format!("{UPSTASH_SHEBANG}{lua}") } else { lua.to_owned() });
        Self {
            ingest: script(include_str!("ingest.lua")),
            commit: script(include_str!("commit.lua")),
            claim: script(include_str!("claim.lua")),
            put_off: script(include_str!("put_off.lua")),
            redrive: script(include_str!("redrive.lua")),
            append_feed: script(include_str!("append_feed.lua")),
            reserve: script(include_str!("reserve.lua")),
            swap_note: script(include_str!("swap_note.lua")),
            forget: script(include_str!("forget.lua")),
            log: script(include_str!("log.lua")),
            sweep_logs: script(include_str!("sweep_logs.lua")),
        }
    }

    pub(super) async fn ingest(&self, client: &Client, keys: &Keys, call: &Ingest) -> Result<IngestReply, StoreError> {
        let id = &call.conversation;
        let names = vec![keys.conversation(id), keys.seen(), keys.due(), keys.alarm(id)];
        let args = vec![
            text(id.as_str()),
            text(call.id.as_str()),
            json(&call.event),
            text(call.node.as_str()),
            text(call.nonce.as_str()),
            millis(call.now),
            lease(),
            number(u64::from(Conversation::FORMAT)),
            number(INBOX_MAX as u64),
        ];
        let mut reply = Reply::new(run(client, &self.ingest, names, args).await?)?;
        Ok(match reply.word()?.as_str() {
            "newer" => IngestReply::Newer(reply.word()?),
            "duplicate" => IngestReply::Duplicate,
            "full" => IngestReply::Full,
            "queued" => IngestReply::Queued,
            "held" => IngestReply::Held(reply.taken()?),
            other => return Err(unexpected(other)),
        })
    }

    pub(super) async fn commit(&self, client: &Client, keys: &Keys, call: &Commit) -> Result<CommitReply, StoreError> {
        let id = &call.conversation.id;
        let names =
            vec![keys.conversation(id), keys.due(), keys.alarm(id), keys.reports(id), keys.dead(), keys.letters()];
        let activity = match call.activity.map(|activity| activity.mark(call.now)) {
            None => text(""),
            Some(None) => text("-"),
            Some(Some(mark)) => text(&mark.to_string()),
        };
        let mut args = vec![
            text(id.as_str()),
            number(call.fence.0),
            text(call.nonce.as_str()),
            millis(call.now),
            lease(),
            number(u64::from(Conversation::FORMAT)),
            json(&call.conversation),
            number(call.consumed as u64),
            number(u64::from(call.release)),
            call.deadline.map_or_else(|| text(""), millis),
            number(REPORTS_MAX as u64),
            number(BODY_BYTES_MAX as u64),
            text(call.previous.as_str()),
            activity,
            number(LOG_MAX as u64),
            number(LOG_ROOM as u64),
            text(&keys.logged()),
        ];
        args.push(number(call.acked.len() as u64));
        args.extend(call.acked.iter().map(|seq| number(seq.0)));
        args.push(number(call.effects.len() as u64 * 2));
        args.extend(call.effects.iter().flat_map(|queued| [number(queued.seq.0), json(&Kept::from(queued))]));
        args.push(number(call.dead.len() as u64));
        args.extend(call.dead.iter().map(|dead| json(&pack::Letter::new(id, dead, call.now))));
        // Of more than there is room for, the latest.
        let told = &call.log[call.log.len().saturating_sub(LOG_MAX - LOG_ROOM)..];
        args.push(number(told.len() as u64));
        args.extend(told.iter().map(json));
        let mut reply = Reply::new(run(client, &self.commit, names, args).await?)?;
        Ok(match reply.word()?.as_str() {
            "fenced" => CommitReply::Fenced,
            "released" => CommitReply::Released,
            "held" => CommitReply::Held(reply.rest()?),
            other => return Err(unexpected(other)),
        })
    }

    pub(super) async fn claim(&self, client: &Client, keys: &Keys, call: &Claim) -> Result<ClaimReply, StoreError> {
        let id = &call.conversation;
        let names = vec![keys.conversation(id), keys.due(), keys.alarm(id), keys.reports(id)];
        let args = vec![
            text(id.as_str()),
            text(call.node.as_str()),
            text(call.nonce.as_str()),
            millis(call.now),
            lease(),
            number(u64::from(Conversation::FORMAT)),
            number(u64::try_from(UNREADABLE_PAUSE.as_millis()).unwrap_or(u64::MAX)),
            number(REPORTS_MAX as u64),
            number(BODY_BYTES_MAX as u64),
        ];
        let mut reply = Reply::new(run(client, &self.claim, names, args).await?)?;
        Ok(match reply.word()?.as_str() {
            "newer" => ClaimReply::Newer(reply.word()?),
            "taken" => ClaimReply::Taken,
            "notdue" => ClaimReply::NotDue,
            "held" => ClaimReply::Held(reply.taken()?),
            other => return Err(unexpected(other)),
        })
    }

    /// Whether the lease was the caller's.
    pub(super) async fn put_off(
        &self,
        client: &Client,
        keys: &Keys,
        id: &ConversationId,
        fence: Fence,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let names = vec![keys.conversation(id), keys.due(), keys.alarm(id)];
        let args = vec![text(id.as_str()), number(fence.0), millis(until)];
        yes(run(client, &self.put_off, names, args).await?)
    }

    /// Whether there was such a letter.
    pub(super) async fn redrive(
        &self,
        client: &Client,
        keys: &Keys,
        letter: DeadLetter,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let id = &letter.conversation;
        let names = vec![keys.conversation(id), keys.due(), keys.alarm(id), keys.dead()];
        let event = Event::Redriven { effect: letter.effect };
        let args = vec![text(id.as_str()), number(letter.letter), json(&event), millis(now)];
        yes(run(client, &self.redrive, names, args).await?)
    }

    pub(super) async fn append_feed(
        &self,
        client: &Client,
        keys: &Keys,
        id: &ConversationId,
        key: &str,
        entry: &str,
    ) -> Result<(), StoreError> {
        let names = vec![keys.feed(id), keys.feed_keys(id)];
        let args = vec![text(key), text(entry), number(FEED_MAX as u64), text(&keys.fed()), text(id.as_str())];
        yes(run(client, &self.append_feed, names, args).await?).map(|_| ())
    }

    pub(super) async fn reserve(&self, client: &Client, keys: &Keys, call: &Reserve) -> Result<Reserved, StoreError> {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let length = micros(call.interval).saturating_mul(call.count.into());
        let args = vec![
            text(&call.line),
            number(call.now.as_millis().saturating_mul(1_000)),
            number(length),
            number(micros(call.wait_max)),
        ];
        let mut reply = Reply::new(run(client, &self.reserve, vec![keys.lines()], args).await?)?;
        let answer = reply.word()?;
        let wait = Duration::from_micros(reply.word()?.parse().map_err(|_| unexpected("a wait that is no number"))?);
        match answer.as_str() {
            "in" => Ok(Reserved::In(wait)),
            "later" => Ok(Reserved::Later(wait)),
            other => Err(unexpected(other)),
        }
    }

    /// Whether the text was what it was known to be, and is replaced.
    pub(super) async fn swap_note(
        &self,
        client: &Client,
        keys: &Keys,
        name: &str,
        known: Option<&str>,
        new: &str,
    ) -> Result<bool, StoreError> {
        let mut args = vec![text(name), text(new)];
        args.extend(known.map(text));
        yes(run(client, &self.swap_note, vec![keys.notes()], args).await?)
    }

    /// Entries of a log. With `follow`, the next commit that appends to it tells.
    pub(super) async fn log(
        &self,
        client: &Client,
        keys: &Keys,
        id: &ConversationId,
        (cursor, limit): (u64, usize),
        follow: bool,
    ) -> Result<Vec<Logged>, StoreError> {
        let args = vec![number(cursor), number(limit as u64), number(u64::from(follow))];
        let mut reply = Reply::new(run(client, &self.log, vec![keys.conversation(id)], args).await?)?;
        if reply.0.len() == 0 {
            return Ok(Vec::new());
        }
        let first: u64 = reply.word()?.parse().map_err(|_| unexpected("a place that is no number"))?;
        (first..).zip(reply.rest()?).map(|(cursor, packed)| pack::logged(cursor, &packed)).collect()
    }

    /// Delete what was appended at `until` or before to the logs of some conversations.
    pub(super) async fn sweep_logs(
        &self,
        client: &Client,
        keys: &Keys,
        ids: &[ConversationId],
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let names = ids.iter().map(|id| keys.conversation(id)).collect();
        run(client, &self.sweep_logs, names, vec![millis(until)]).await?;
        Ok(())
    }

    /// Whether there was such a conversation. `letters` are its dead letters as they stand in their set.
    pub(super) async fn forget(
        &self,
        client: &Client,
        keys: &Keys,
        id: &ConversationId,
        letters: &[String],
        (blobs, notes): (&[BlobId], &[String]),
    ) -> Result<bool, StoreError> {
        let mut names = vec![
            keys.conversation(id),
            keys.due(),
            keys.alarm(id),
            keys.reports(id),
            keys.feed(id),
            keys.feed_keys(id),
            keys.dead(),
            keys.notes(),
            keys.blobs(),
        ];
        names.extend(blobs.iter().map(|blob| keys.blob(blob)));
        let mut args = vec![text(id.as_str())];
        for list in [letters, notes] {
            args.push(number(list.len() as u64));
            args.extend(list.iter().map(|one| text(one)));
        }
        args.extend(blobs.iter().map(|blob| text(blob.as_str())));
        yes(run(client, &self.forget, names, args).await?)
    }
}

/// Run by name; a server that does not have the script is given it. (`SCRIPT LOAD` would leave a gap on a server with replicas.)
async fn run(client: &Client, script: &Script, keys: Vec<String>, args: Vec<Value>) -> Result<Value, Error> {
    match client.evalsha(script.sha1().clone(), keys.clone(), args.clone()).await {
        Err(error) if error.details().starts_with("NOSCRIPT") => {
            let lua = script.lua().cloned().unwrap_or_default();
            client.eval(lua, keys, args).await
        }
        answer => answer,
    }
}

/// A script's reply, read from its beginning.
struct Reply(std::vec::IntoIter<Value>);

impl Reply {
    fn new(value: Value) -> Result<Self, StoreError> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            other => Err(unexpected(&format!("{:?}", other.kind()))),
        }
    }

    fn word(&mut self) -> Result<String, StoreError> {
        self.0.next().and_then(Value::into_string).ok_or_else(|| unexpected("too short"))
    }

    fn rest(self) -> Result<Vec<String>, StoreError> {
        self.0.map(lossy).collect()
    }

    fn taken(mut self) -> Result<Taken, StoreError> {
        let fence = self.word()?.parse().map_err(|_| unexpected("a fence that is no number"))?;
        let abandoned = self.word()? == "1";
        let (state, outbox) = (self.word()?, self.word()?);
        Ok(Taken { fence: Fence(fence), abandoned, state, outbox, events: self.rest()? })
    }
}

/// As a text, whatever it is: what a VM publishes may be no text at all, and is then garbled.
fn lossy(value: Value) -> Result<String, StoreError> {
    match value {
        Value::Bytes(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        value => value.into_string().ok_or_else(|| unexpected("not a text")),
    }
}

fn yes(value: Value) -> Result<bool, StoreError> {
    value.as_i64().map(|number| number != 0).ok_or_else(|| unexpected("not a number"))
}

fn unexpected(what: &str) -> StoreError {
    StoreError::Unreadable(format!("a script answered: {what}"))
}

fn text(text: &str) -> Value {
    Value::String(text.into())
}

fn number(number: u64) -> Value {
    Value::String(number.to_string().into())
}

fn millis(at: Timestamp) -> Value {
    number(at.as_millis())
}

fn lease() -> Value {
    number(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX))
}

fn json<T: serde::Serialize>(value: &T) -> Value {
    Value::String(serde_json::to_string(value).expect("plain data with text keys").into())
}
