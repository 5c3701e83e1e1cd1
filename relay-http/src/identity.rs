//! Whose a message is.
//!
//! A person has one conversation, whatever the channel calls them. It is named after what they were called when they first
//! wrote; a note in the store leads from each other name to it. The channel's scoped name is the one that every message
//! carries, so it is the one that is looked up: a person who hides their phone number is found again, and so is one who shows
//! it later.

use std::collections::HashSet;

use relay_core::id::{Address, ConversationId};
use relay_core::store::{Store, StoreError};
use secrecy::{ExposeSecret, SecretString};

use crate::channels::twilio::inbound::is_allowed;

/// The conversation named after an address.
pub fn named(secret: &SecretString, address: &Address) -> ConversationId {
    address.conversation(secret.expose_secret().as_bytes())
}

/// The note that leads from a name to the conversation of whoever bears it; `name` is the conversation that they would have.
pub fn note(name: &ConversationId) -> String {
    format!("alias:{name}")
}

/// The conversation that `name` leads to, if it leads anywhere.
pub async fn led_to(store: &dyn Store, name: &ConversationId) -> Result<Option<ConversationId>, StoreError> {
    let kept = store.note(&note(name)).await?;
    Ok(kept.and_then(|kept| ConversationId::parse(kept).ok()))
}

/// The conversation of somebody who may write: where `alias` leads, else that of `address`.
pub async fn of_named(
    store: &dyn Store,
    secret: &SecretString,
    address: &Address,
    alias: Option<&Address>,
) -> Result<ConversationId, StoreError> {
    let known = match alias {
        Some(alias) => led_to(store, &named(secret, alias)).await?,
        None => None,
    };
    Ok(known.unwrap_or_else(|| named(secret, address)))
}

/// The conversation of whoever is called `address`, and `alias` as well; `None` when they may not write. `is_named` says that
/// `allowed` names them.
pub async fn of_sender(
    store: &dyn Store,
    secret: &SecretString,
    allowed: &HashSet<String>,
    (address, alias): (&Address, Option<&Address>),
    is_named: bool,
) -> Result<Option<ConversationId>, StoreError> {
    match is_named {
        true => of_named(store, secret, address, alias).await.map(Some),
        false => of_unnamed(store, secret, allowed, alias).await,
    }
}

/// The conversation of somebody who is not in `allowed`, if they have written before under a name that is.
async fn of_unnamed(
    store: &dyn Store,
    secret: &SecretString,
    allowed: &HashSet<String>,
    alias: Option<&Address>,
) -> Result<Option<ConversationId>, StoreError> {
    let Some(alias) = alias else { return Ok(None) };
    let Some(known) = led_to(store, &named(secret, alias)).await? else { return Ok(None) };
    let state = store.conversation(&known).await?;
    let may_write = state.is_some_and(|state| state.names.iter().any(|name| is_allowed(&name.name, allowed)));
    Ok(may_write.then_some(known))
}
