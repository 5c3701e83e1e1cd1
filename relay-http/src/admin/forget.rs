//! Erases a person.

use anyhow::{Context, bail};
use relay_core::id::{BlobId, ConversationId, EffectSeq};
use relay_core::machine::Conversation;
use relay_core::machine::conversation::Coming;
use relay_core::machine::review;
use relay_core::protocol::Task;
use relay_core::store::{Store, StoreError};
use secrecy::SecretString;

use super::{Report, address, explain, find, open, twilio, vms};
use crate::app::Kept;
use crate::channels::console::conversations;
use crate::channels::console::person::{FIRST, Person};
use crate::channels::twilio::history;
use crate::config::AdminConfig;
use crate::directory::fly::{record, removal};
use crate::{guests, identity};

/// Messages, from the latest on, whose pages may still be there.
const PAGES_MAX: u64 = 1_000;

/// Erase the conversation of `user`, and with `at_twilio` their messages there; of a person at the console, all of theirs.
pub(super) async fn forget(config: &AdminConfig, user: &str, at_twilio: bool) -> anyhow::Result<Report> {
    let store = open(config).await?;
    if let (Some((person, FIRST)), Some(secret)) = (address(user)?.as_ref().and_then(Person::of), &config.relay_secret)
    {
        if at_twilio {
            bail!("Twilio knows nobody of the console: leave --twilio out");
        }
        return forget_all(config, &*store, secret, &person).await;
    }
    let id = find(&*store, user, config.relay_secret.as_ref()).await?;
    let state = store.conversation(&id).await.map_err(explain)?;
    let reached_at = state.as_ref().and_then(|state| state.address.clone());
    let mut lines = Vec::new();
    if at_twilio {
        let person = address(user)?
            .or(reached_at.clone())
            .context("where this person is reached is not known: give their address")?;
        let api = twilio::api(config)?;
        let mut names = vec![person];
        for name in state.iter().flat_map(|state| &state.names) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        let mut count = 0;
        // Messages lie under whatever Twilio called the person when they came.
        for name in names {
            count += history::redact(&api, &name.name).await.map_err(|error| twilio::told(&error))?;
        }
        lines.push(format!("{count} messages at Twilio have no words and files any more"));
    }
    let was_there = erase(config, &*store, &id, &mut lines).await?;
    // What is elsewhere may have been left when this was done before.
    if !was_there && !at_twilio && config.fly.is_none() {
        bail!("there is no conversation {id}");
    }
    Ok(Report::of(lines.join("\n") + "\n"))
}

/// Erase whoever uses the console: that they are a guest first, so that they begin nothing anew.
async fn forget_all(
    config: &AdminConfig,
    store: &dyn Store,
    secret: &SecretString,
    person: &Person,
) -> anyhow::Result<Report> {
    let mut lines = Vec::new();
    let mut is_known = false;
    if let Person::Guest(name) = person {
        is_known |= guests::uninvite(store, secret, name).await.map_err(explain)?;
    }
    let list = conversations::of(store, secret, person).await.map_err(explain)?;
    for (number, address) in (FIRST..).zip(person.addresses()) {
        let id = identity::named(secret, &address);
        let is_there = store.overview(&id).await.map_err(explain)?.is_some();
        if is_there || (config.fly.is_some() && list.has(number)) {
            is_known |= erase(config, store, &id, &mut lines).await?;
        }
    }
    let mut notes = vec![conversations::note(secret, person)];
    if let Person::Guest(name) = person {
        notes.push(guests::note(secret, name));
        if guests::strike(store, name).await.map_err(explain)? {
            lines.push("nobody is a guest of that name any more".to_owned());
        }
    }
    let first = identity::named(secret, &person.address(FIRST));
    store.forget(&first, &[], &notes).await.map_err(explain)?;
    if !is_known && config.fly.is_none() {
        bail!("there is no conversation {first}");
    }
    Ok(Report::of(lines.join("\n") + "\n"))
}

/// Erase one conversation, and its machine. Whether it was there.
async fn erase(
    config: &AdminConfig,
    store: &dyn Store,
    id: &ConversationId,
    lines: &mut Vec<String>,
) -> anyhow::Result<bool> {
    let (secret, state) = (config.relay_secret.as_ref(), store.conversation(id).await.map_err(explain)?);
    let (blobs, notes) = belongings(id, state.as_ref(), secret);
    let was_there = store.forget(id, &blobs, &notes).await.map_err(explain)?;
    lines.push(if was_there {
        format!("conversation {id} is erased")
    } else {
        format!("there is no conversation {id}")
    });
    if let (Some(secret), Some(state)) = (secret, &state) {
        forget_title(store, secret, state).await.map_err(explain)?;
    }
    // From here on no relay makes it anew for what was asked before.
    if let Some(app) = &config.fly {
        let (machines, volumes) = removal::remove(&vms::api(app)?, id).await?;
        lines.push(format!("{machines} machines and {volumes} volumes are destroyed"));
    }
    Ok(was_there)
}

/// Forget what an erased conversation is called in the list of its person.
pub(crate) async fn forget_title(
    store: &dyn Store,
    secret: &SecretString,
    state: &Conversation,
) -> Result<(), StoreError> {
    match state.address.as_ref().and_then(Person::of) {
        Some((person, number)) => conversations::forget(store, secret, &person, number).await,
        None => Ok(()),
    }
}

/// What the store keeps for a conversation in other places: blobs, and the names of notes.
pub(crate) fn belongings(
    id: &ConversationId,
    state: Option<&Conversation>,
    secret: Option<&SecretString>,
) -> (Vec<BlobId>, Vec<String>) {
    let (mut blobs, mut notes) = (Vec::new(), vec![record::note(id)]);
    if let Some(state) = state {
        blobs.extend(state.blobs.iter().cloned());
        blobs.extend(state.arriving.iter().flat_map(|arriving| &arriving.files).filter_map(blob_of));
        for task in &state.queue {
            if let Task::Prompt { files, .. } = task {
                blobs.extend(files.iter().map(|file| file.id.clone()));
            }
        }
        if let Some(secret) = secret {
            // Their names are made from places in the outbox; those that are older have expired.
            let places = state.effects.saturating_sub(PAGES_MAX)..=state.effects;
            blobs.extend(places.map(|place| Kept::Page { conversation: id, effect: EffectSeq(place) }.id(secret)));
            for review::Kept { run, tree, parts, .. } in &state.reviews {
                blobs.extend((0..*parts).map(|part| Kept::Review { run, tree, part }.id(secret)));
            }
            notes.extend(state.names.iter().map(|name| identity::note(&identity::named(secret, name))));
        }
    }
    (blobs, notes)
}

fn blob_of(coming: &Coming) -> Option<BlobId> {
    match coming {
        Coming::Fetching { .. } => None,
        Coming::Listening { file } | Coming::Kept { file, .. } => Some(file.id.clone()),
    }
}
