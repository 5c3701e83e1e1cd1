//! What needs Twilio: catching up with missed messages, and the templates with the buttons.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use relay_core::id::{ConversationId, NodeId};
use relay_core::machine::Event;
use relay_core::store::{DEDUPE_KEEP, Ingest, Ingested, Store};

use super::{Report, explain, open};
use crate::channels::twilio::api::{Api, ApiError};
use crate::channels::twilio::{history, template};
use crate::clock;
use crate::config::AdminConfig;
use crate::config::twilio::{APPROVAL_CONTENT_SID, INQUIRY_CONTENT_SIDS};
use crate::identity;
use crate::worker::lost_event;

/// `90s`, `15m`, `2h`, `3d`.
pub(super) fn parse_span(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        _ => return Err("must be a number with s, m, h or d".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "must be a number with s, m, h or d".to_owned())?;
    let span = Duration::from_secs(number.saturating_mul(seconds));
    // What is older was forgotten, so that it would be taken in twice.
    if span > DEDUPE_KEEP {
        return Err(format!("must not be longer than {} days", DEDUPE_KEEP.as_secs() / (24 * 3_600)));
    }
    Ok(span)
}

/// Twilio's API, as the relays use it.
pub(super) fn api(config: &AdminConfig) -> anyhow::Result<Api> {
    let twilio =
        config.twilio.clone().context("TWILIO_ACCOUNT_SID and what goes with it must be set as the relays have it")?;
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(CALL_TIMEOUT).build()?;
    Ok(Api::new(http, twilio))
}

const CALL_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn told(error: &ApiError) -> anyhow::Error {
    match error {
        ApiError::NoAnswer(_) => anyhow!("Twilio gave no answer that can be read"),
        ApiError::NotConnected => anyhow!("nobody listens at TWILIO_API_URL"),
        ApiError::Busy(_) => anyhow!("Twilio has had too many requests; try again in a moment"),
        ApiError::Refused { status, code, .. } => {
            anyhow!("Twilio answered {} (error {})", status.as_u16(), code.unwrap_or_default())
        }
    }
}

/// Put what was missed into the inboxes; relays take it from there.
pub(super) async fn reconcile(config: &AdminConfig, since: Duration) -> anyhow::Result<Report> {
    let api = api(config)?;
    let secret = config.relay_secret.as_ref().context("RELAY_SECRET must be set as the relays have it")?;
    let store = open(config).await?;
    let since = clock::now() - since;
    let lost = history::lost(&api, since).await.map_err(|error| told(&error))?;
    let (messages, mut strangers) = history::inbound(&api, since).await.map_err(|error| told(&error))?;
    let mut failures = 0;
    for lost in lost {
        let event = lost_event(&*store, secret, lost).await.map_err(explain)?;
        let Some((conversation, event)) = event else { continue };
        failures += usize::from(is_taken(&ingest(&*store, conversation, event).await?)?);
    }
    let (mut known, mut taken) = (0, 0);
    for missed in messages {
        let from = &missed.message().from;
        let found = identity::of_sender(&*store, secret, &api.config.allowed, (from, Some(from)), missed.is_named);
        let Some(conversation) = found.await.map_err(explain)? else {
            strangers += 1;
            continue;
        };
        let message = missed.with_files(&api).await.map_err(|error| told(&error))?;
        match is_taken(&ingest(&*store, conversation, Event::Message(message)).await?)
            .with_context(|| format!("{taken} messages were taken in"))?
        {
            true => taken += 1,
            false => known += 1,
        }
    }
    Ok(Report::of(format!(
        "{taken} taken in, {known} known already, {strangers} from people who may not write; \
         {failures} of ours did not arrive and nobody knew\n"
    )))
}

fn is_taken(ingested: &Ingested) -> anyhow::Result<bool> {
    match ingested {
        Ingested::Duplicate => Ok(false),
        Ingested::Full => bail!("an inbox is full; try again when relays have caught up"),
        Ingested::Held(_) | Ingested::Queued => Ok(true),
    }
}

/// The lease that comes with it is not used: it runs out at once, and a relay takes the conversation over.
async fn ingest(store: &dyn Store, conversation: ConversationId, event: Event) -> anyhow::Result<Ingested> {
    let id = event.id().context("a message has an id")?;
    let long_ago = clock::now() - relay_core::store::LEASE;
    let (node, nonce) = (NodeId::parse("admin").expect("short and plain"), clock::nonce());
    store.ingest(Ingest { conversation, id, event, node, nonce, now: long_ago }).await.map_err(explain)
}

/// Make the templates that are not set.
pub(super) async fn templates(config: &AdminConfig) -> anyhow::Result<Report> {
    let api = api(config)?;
    let (approval, inquiries) = (&api.config.approval_content_sid, &api.config.inquiry_content_sids);
    ensure!(
        approval.is_none() || inquiries.is_none(),
        "{APPROVAL_CONTENT_SID} and {INQUIRY_CONTENT_SIDS} are set: all templates are there already"
    );
    let mut text = String::new();
    if approval.is_none() {
        let sid = template::create_approval(&api).await.map_err(|error| told(&error))?;
        text += &format!("{APPROVAL_CONTENT_SID}={sid}\n");
    }
    if inquiries.is_none() {
        let mut sids = Vec::new();
        for options in template::OPTIONS {
            let made = template::create_inquiry(&api, options).await.map_err(|error| told(&error));
            sids.push(made.with_context(|| format!("not all could be made; made were: {text}{}", sids.join(",")))?);
        }
        text += &format!("{INQUIRY_CONTENT_SIDS}={}\n", sids.join(","));
    }
    Ok(Report { text, aside: "Set this for the relays, and start them again:\n\n".to_owned(), is_well: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_numbers_with_a_unit() {
        assert_eq!(parse_span("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_span("2h"), Ok(Duration::from_secs(7_200)));
        for bad in ["", "h", "2", "2w", "-1h", "8d", "2ü", "99999999999999999999h"] {
            assert!(parse_span(bad).is_err(), "{bad:?}");
        }
    }
}
