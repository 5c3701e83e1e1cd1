//! Erases a person.

use anyhow::{Context, bail};
use relay_core::id::{Address, BlobId, EffectSeq};
use relay_core::machine::conversation::Coming;
use relay_core::protocol::Task;
use secrecy::ExposeSecret;

use super::{Report, address, conversation, explain, open, twilio};
use crate::app::{Kept, alias_note};
use crate::channels::twilio::history;
use crate::config::AdminConfig;

/// Messages, from the latest on, whose pages may still be there.
const PAGES_MAX: u64 = 1_000;

/// Erase the conversation of `user`, and with `at_twilio` their messages there.
pub(super) async fn forget(config: &AdminConfig, user: &str, at_twilio: bool) -> anyhow::Result<Report> {
    let id = conversation(user, config.relay_secret.as_ref())?;
    let store = open(config).await?;
    let state = store.conversation(&id).await.map_err(explain)?;
    let reached_at = state.as_ref().and_then(|state| state.address.clone());
    let mut lines = Vec::new();
    if at_twilio {
        let person =
            address(user)?.or(reached_at).context("where this person is reached is not known: give their address")?;
        let api = twilio::api(config)?;
        let alias = state.as_ref().and_then(|state| state.alias.clone());
        let mut count = 0;
        // Messages lie under whatever Twilio called the person when they came.
        for name in [Some(person), alias].into_iter().flatten() {
            count += history::redact(&api, &name.name).await.map_err(|error| twilio::told(&error))?;
        }
        lines.push(format!("{count} messages at Twilio have no words and files any more"));
    }
    let (mut blobs, mut notes) = (Vec::new(), Vec::new());
    if let Some(state) = &state {
        blobs.extend(state.blobs.iter().cloned());
        blobs.extend(state.arriving.iter().flat_map(|arriving| &arriving.files).filter_map(blob_of));
        for task in &state.queue {
            if let Task::Prompt { files, .. } = task {
                blobs.extend(files.iter().map(|file| file.id.clone()));
            }
        }
        if let Some(secret) = &config.relay_secret {
            // Their names are made from places in the outbox; those that are older have expired.
            let places = state.effects.saturating_sub(PAGES_MAX)..=state.effects;
            blobs.extend(places.map(|place| Kept::Page { conversation: &id, effect: EffectSeq(place) }.id(secret)));
        }
        if let (Some(alias), Some(secret)) = (&state.alias, &config.relay_secret) {
            notes.push(alias_note(&Address::conversation(alias, secret.expose_secret().as_bytes())));
        }
    }
    match store.forget(&id, &blobs, &notes).await.map_err(explain)? {
        true => lines.push(format!("conversation {id} is erased")),
        false if at_twilio => lines.push(format!("there is no conversation {id}")),
        false => bail!("there is no conversation {id}"),
    }
    Ok(Report::of(lines.join("\n") + "\n"))
}

fn blob_of(coming: &Coming) -> Option<BlobId> {
    match coming {
        Coming::Fetching { .. } => None,
        Coming::Listening { file } | Coming::Kept { file, .. } => Some(file.id.clone()),
    }
}
