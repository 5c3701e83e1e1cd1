//! The settings for WhatsApp by way of Twilio, and for voice notes.

use std::collections::HashSet;
use std::time::Duration;

use relay_core::settings::Reader;
use secrecy::SecretString;
use url::Url;

use crate::channels::twilio::inbound::bare;
use crate::channels::twilio::limits;

/// WhatsApp by way of Twilio.
#[derive(Clone, Debug)]
pub struct TwilioConfig {
    /// `TWILIO_ACCOUNT_SID`
    pub account_sid: String,
    /// `TWILIO_AUTH_TOKEN`: one, or several with commas while one is being replaced; any of them may sign a webhook.
    pub auth_tokens: Vec<SecretString>,
    /// `TWILIO_API_KEY` and `TWILIO_API_SECRET`: used for sending instead of the auth token.
    pub api_key: Option<(String, SecretString)>,
    /// `TWILIO_FROM`: our sender, `whatsapp:+…`.
    pub from: String,
    /// `TWILIO_API_URL`
    pub api_url: Url,
    /// `TWILIO_CONTENT_URL`: the Content API, for templates.
    pub content_url: Url,
    /// `TWILIO_MESSAGING_URL`: the Messaging API, for the typing indicator.
    pub messaging_url: Url,
    /// `TWILIO_MEDIA_HOSTS`: where files that people send may be fetched from, besides the API itself.
    pub media_hosts: Vec<String>,
    /// `ALLOWED_PHONE_NUMBERS`: who may write, with commas; `+…` or `whatsapp:…`; kept without the
    /// channel.
    pub allowed: HashSet<String>,
    /// `TWILIO_APPROVAL_CONTENT_SID`: the template with the buttons for a diff.
    pub approval_content_sid: Option<String>,
    /// `TWILIO_INQUIRY_CONTENT_SIDS`: the templates with the buttons for inquiries, one for each of
    /// [`OPTIONS`](crate::channels::twilio::template::OPTIONS), with a comma.
    pub inquiry_content_sids: Option<[String; 2]>,
    /// `TWILIO_MESSAGES_PER_SECOND`, as the time between two messages of our sender.
    pub send_interval: Duration,
    /// `TWILIO_USER_INTERVAL_MS`: the time between two messages to one person, sustained.
    pub user_interval: Duration,
}

/// Where voice notes are written down: anything that speaks OpenAI's `POST /audio/transcriptions`.
#[derive(Clone, Debug)]
pub struct TranscriptionConfig {
    /// `TRANSCRIPTION_URL`: the base, such as `https://api.openai.com/v1`.
    pub url: Url,
    /// `TRANSCRIPTION_API_KEY`
    pub api_key: Option<SecretString>,
    /// `TRANSCRIPTION_MODEL`
    pub model: String,
}

/// Where the template for approvals is named.
pub const APPROVAL_CONTENT_SID: &str = "TWILIO_APPROVAL_CONTENT_SID";
/// Where the templates for inquiries are.
pub const INQUIRY_CONTENT_SIDS: &str = "TWILIO_INQUIRY_CONTENT_SIDS";
const API_URL: &str = "https://api.twilio.com";
const CONTENT_URL: &str = "https://content.twilio.com";
const MESSAGING_URL: &str = "https://messaging.twilio.com";
const TRANSCRIPTION_MODEL: &str = "whisper-1";
/// Rates that make sense; above, Twilio allows nobody to send.
const PER_SECOND: std::ops::RangeInclusive<f64> = 0.01..=1_000.0;

/// Every setting is read before the first missing one makes an end of it.
pub(super) fn read(reader: &mut Reader) -> Option<TwilioConfig> {
    let account_sid = reader.required("TWILIO_ACCOUNT_SID");
    let auth_tokens = reader.list("TWILIO_AUTH_TOKEN");
    let from = reader.required("TWILIO_FROM");
    let allowed = reader.list("ALLOWED_PHONE_NUMBERS");
    let api_url = reader.url("TWILIO_API_URL", Some(API_URL));
    let content_url = reader.url("TWILIO_CONTENT_URL", Some(CONTENT_URL));
    let messaging_url = reader.url("TWILIO_MESSAGING_URL", Some(MESSAGING_URL));
    let api_key = match (reader.value("TWILIO_API_KEY"), reader.value("TWILIO_API_SECRET")) {
        (Some(key), Some(secret)) => Some(Some((key, SecretString::from(secret)))),
        (None, None) => Some(None),
        _ => reader.fault("TWILIO_API_KEY", "goes with TWILIO_API_SECRET: set both or neither"),
    };
    let media_hosts = match reader.value("TWILIO_MEDIA_HOSTS") {
        Some(_) => reader.list("TWILIO_MEDIA_HOSTS"),
        None => Some(limits::MEDIA_HOSTS.map(str::to_owned).to_vec()),
    };
    let per_second = reader.parsed("TWILIO_MESSAGES_PER_SECOND", &limits::per_second(from.as_deref()).to_string());
    let send_interval = match per_second {
        Some(rate) if PER_SECOND.contains(&rate) => Some(Duration::from_secs_f64(1.0 / rate)),
        Some(_) => {
            reader.fault("TWILIO_MESSAGES_PER_SECOND", "must be a rate that Twilio may grant, such as 80 or 0.33")
        }
        None => None,
    };
    let inquiry_content_sids = match reader.value(INQUIRY_CONTENT_SIDS) {
        Some(_) => reader.list(INQUIRY_CONTENT_SIDS).and_then(|sids| match <[String; 2]>::try_from(sids) {
            Ok(sids) => Some(Some(sids)),
            Err(_) => {
                reader.fault(INQUIRY_CONTENT_SIDS, "must be two names, as `relay admin twilio-template` prints them")
            }
        }),
        None => Some(None),
    };
    let user_interval = reader.millis("TWILIO_USER_INTERVAL_MS", limits::USER_INTERVAL);
    Some(TwilioConfig {
        account_sid: account_sid?,
        auth_tokens: auth_tokens?.into_iter().map(SecretString::from).collect(),
        api_key: api_key?,
        from: from?,
        api_url: api_url?,
        content_url: content_url?,
        messaging_url: messaging_url?,
        media_hosts: media_hosts?,
        allowed: allowed?.iter().map(|name| bare(name).to_owned()).collect(),
        approval_content_sid: reader.value(APPROVAL_CONTENT_SID),
        inquiry_content_sids: inquiry_content_sids?,
        send_interval: send_interval?,
        user_interval: user_interval?,
    })
}

pub(super) fn read_transcription(reader: &mut Reader) -> Option<Option<TranscriptionConfig>> {
    if reader.value("TRANSCRIPTION_URL").is_none() {
        return Some(None);
    }
    let url = reader.url("TRANSCRIPTION_URL", None)?;
    let api_key = reader.value("TRANSCRIPTION_API_KEY").map(SecretString::from);
    let model = reader.value("TRANSCRIPTION_MODEL").unwrap_or_else(|| TRANSCRIPTION_MODEL.to_owned());
    Some(Some(TranscriptionConfig { url, api_key, model }))
}
