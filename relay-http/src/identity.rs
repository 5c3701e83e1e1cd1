//! Whose a message is.
//!
//! A person has one conversation, whatever the channel calls them. It is named after what they were called when they first
//! wrote; a note in the store leads from each other name to it. The channel's scoped name is the one that every message
//! carries, so it is the one that is looked up: a person who hides their phone number is found again, and so is one who shows
//! it later.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use relay_core::id::{Address, ChannelKind, ConversationId};
use relay_core::store::{Store, StoreError};
use secrecy::{ExposeSecret, SecretString};

/// Names that are remembered at most. Beyond, all are asked for again.
const KNOWN_MAX: usize = 10_000;

/// The conversation named after an address.
pub fn named(secret: &SecretString, address: &Address) -> ConversationId {
    address.conversation(secret.expose_secret().as_bytes())
}

/// The note that leads from a name to the conversation of whoever bears it; `name` is the conversation that they would have.
pub fn note(name: &ConversationId) -> String {
    format!("alias:{name}")
}

/// The conversation that `name` leads to, if it leads to another than the one named so.
pub async fn led_to(store: &dyn Store, name: &ConversationId) -> Result<Option<ConversationId>, StoreError> {
    let kept = store.note(&note(name)).await?;
    Ok(kept.and_then(|kept| ConversationId::parse(kept).ok()))
}

/// What of the way from names to conversations this process has seen. It never changes but when a person is forgotten, and then
/// their conversation gets the same name again.
#[derive(Debug, Default)]
pub struct Identities {
    known: Mutex<HashMap<ConversationId, ConversationId>>,
}

impl Identities {
    /// The conversation of somebody who may write.
    pub async fn of_named(
        &self,
        store: &dyn Store,
        secret: &SecretString,
        address: &Address,
        alias: Option<&Address>,
    ) -> Result<ConversationId, StoreError> {
        let known = match alias {
            Some(alias) => self.led_to(store, &named(secret, alias)).await?,
            None => None,
        };
        Ok(known.unwrap_or_else(|| named(secret, address)))
    }

    /// The conversation of somebody who is not in `allowed`, if they are known to be somebody who is.
    pub async fn of_unnamed(
        &self,
        store: &dyn Store,
        secret: &SecretString,
        allowed: &HashSet<String>,
        alias: Option<&Address>,
    ) -> Result<Option<ConversationId>, StoreError> {
        let Some(alias) = alias else { return Ok(None) };
        let known = self.led_to(store, &named(secret, alias)).await?;
        Ok(known.filter(|known| allowed.iter().any(|name| named(secret, &whatsapp(name)) == *known)))
    }

    async fn led_to(&self, store: &dyn Store, name: &ConversationId) -> Result<Option<ConversationId>, StoreError> {
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Some(known.clone()));
        }
        let found = led_to(store, name).await?;
        if let Some(found) = &found {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(name.clone(), found.clone());
        }
        Ok(found)
    }
}

/// The address of somebody who is named without the channel.
fn whatsapp(name: &str) -> Address {
    Address { channel: ChannelKind::Twilio, name: format!("whatsapp:{name}") }
}
