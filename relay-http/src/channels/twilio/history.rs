//! What Twilio remembers of our messages (`GET /2010-04-01/Accounts/{sid}/Messages.json`): to find one whose fate is in doubt,
//! to catch up with what people wrote while no relay was there, and to erase.

use std::time::Duration;

use relay_core::id::{Address, ChannelKind, MessageId};
use relay_core::machine::delivery::Delivery;
use relay_core::machine::{Attachment, Content, Failure, Message};
use relay_core::time::Timestamp;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use url::Url;

use super::api::{Api, ApiError, day, instant};
use super::inbound::{Sender, sender};
use super::{errors, limits, send};
use crate::channels::Outgoing;

/// A message in doubt that no known one precedes is looked for this far back.
const DOUBT_SPAN: Duration = Duration::from_secs(3600);
/// Twilio's clock and ours may differ by so much, and its instants are whole seconds.
const CLOCK_SPREAD: Duration = Duration::from_secs(5);
/// Messages per page; Twilio allows a thousand.
const PAGE_SIZE: &str = "200";
/// Pages that are read at most; that there were more is logged.
const PAGES_MAX: usize = 200;

/// A message as Twilio lists it.
#[derive(Clone, Debug, Deserialize)]
struct Listed {
    sid: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    direction: Option<String>,
    #[serde(default)]
    num_media: Option<String>,
    #[serde(default)]
    error_code: Option<u32>,
    #[serde(default)]
    date_created: Option<String>,
    #[serde(default)]
    date_sent: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    messages: Vec<Listed>,
    #[serde(default)]
    next_page_uri: Option<String>,
}

#[derive(Deserialize)]
struct MediaPage {
    media_list: Vec<ListedMedia>,
}

#[derive(Deserialize)]
struct ListedMedia {
    sid: String,
    #[serde(default)]
    content_type: Option<String>,
}

impl Listed {
    fn at(&self) -> Option<Timestamp> {
        self.date_created.as_deref().or(self.date_sent.as_deref()).and_then(instant)
    }

    fn failed(&self) -> bool {
        matches!(self.status.as_deref(), Some("failed" | "undelivered" | "canceled"))
    }

    fn has_media(&self) -> bool {
        !matches!(self.num_media.as_deref(), None | Some("" | "0"))
    }
}

/// The name of the message that `outgoing` became, if Twilio has it. Only one is taken for it that is younger than the one sent
/// before it, is not known, and says the same to the same person; one that failed was not sent.
pub(super) async fn find(
    api: &Api,
    outgoing: &Outgoing<'_>,
    delivery: &Delivery,
    now: Timestamp,
) -> Result<Option<MessageId>, ApiError> {
    let before = delivery.doubts.get(&outgoing.effect).map(|doubt| doubt.since);
    let since = before.filter(|since| *since > Timestamp::default()).unwrap_or(now - DOUBT_SPAN) - CLOCK_SPREAD;
    let body = send::body(outgoing);
    let is_it = |listed: &Listed| {
        let is_known = MessageId::parse(listed.sid.as_str()).is_ok_and(|sid| delivery.knows(&sid));
        let young = listed.at().is_none_or(|at| at >= since);
        let same = listed.body.as_deref().unwrap_or_default().trim() == body.trim();
        young && same && !listed.failed() && !is_known && listed.has_media() == outgoing.picture.is_some()
    };
    let query = [("To", outgoing.to.name.as_str()), ("From", &api.config.from), ("DateSent>", &day(since))];
    // The newest come first, and there were few since the last one known.
    let page: Page =
        api.json(api.request(Method::GET, list(api)).query(&query).query(&[("PageSize", PAGE_SIZE)])).await?;
    // The oldest that fits: should it have been sent twice, the first is the one in doubt.
    Ok(page
        .messages
        .iter()
        .rev()
        .find(|listed| is_it(listed))
        .and_then(|listed| MessageId::parse(listed.sid.as_str()).ok()))
}

/// A message that somebody wrote to us.
pub struct Missed {
    /// What is known of it before its files are asked for.
    message: Message,
    has_files: bool,
    /// Whether its sender is named among those who may write; if not, they may be known by another name.
    pub is_named: bool,
}

impl Missed {
    /// Who wrote, and what without its files.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// All of it.
    pub async fn with_files(self, api: &Api) -> Result<Message, ApiError> {
        let Self { mut message, has_files, .. } = self;
        if let (true, Content::Text { text }) = (has_files, &message.content) {
            let (text, files) = (text.clone(), attachments(api, message.id.as_str()).await?);
            message.content = Content::Files { text, files };
        }
        Ok(message)
    }
}

/// What was written to us since then, in order, and how many messages came from people who may not write.
pub async fn inbound(api: &Api, since: Timestamp) -> Result<(Vec<Missed>, usize), ApiError> {
    let mut listed = all(api, ("To", &api.config.from), Some(since)).await?;
    listed.retain(|message| message.direction.as_deref() == Some("inbound"));
    // The newest come first.
    listed.reverse();
    listed.sort_by_key(Listed::at);
    let (mut messages, mut strangers) = (Vec::new(), 0);
    for listed in listed {
        let (Some(from), Ok(id)) = (listed.from.as_deref(), MessageId::parse(listed.sid.as_str())) else { continue };
        let Some(Sender { address, alias, is_named }) = sender(from, "", "", &api.config.allowed) else {
            strangers += 1;
            continue;
        };
        let (sent_at, has_files) = (listed.at(), listed.has_media());
        let content = Content::Text { text: listed.body.unwrap_or_default() };
        let message = Message { sent_at, alias, ..Message::new(id, address, content) };
        messages.push(Missed { message, has_files, is_named });
    }
    Ok((messages, strangers))
}

/// A message of ours that did not arrive.
pub struct Lost {
    /// For whom it was.
    pub to: Address,
    /// Twilio's name for it.
    pub message: MessageId,
    /// Why.
    pub failure: Failure,
}

/// What of all that may have failed since then did not arrive, in order. It was told, but perhaps to nobody.
pub async fn lost(api: &Api, since: Timestamp) -> Result<Vec<Lost>, ApiError> {
    let mut listed = all(api, ("From", &api.config.from), Some(since - limits::WAITS_MAX)).await?;
    // The newest come first; what is sent again goes in its old order.
    listed.reverse();
    listed.sort_by_key(Listed::at);
    let ours = |listed: &Listed| listed.failed() && listed.direction.as_deref() != Some("inbound");
    let lost = |listed: Listed| {
        let to = Address { channel: ChannelKind::Twilio, name: listed.to? };
        let message = MessageId::parse(listed.sid).ok()?;
        Some(Lost { to, message, failure: errors::failure(listed.error_code) })
    };
    Ok(listed.into_iter().filter(ours).filter_map(lost).collect())
}

/// The files of a message. Where they were deleted, the one that is asked for instead says so when it is fetched.
async fn attachments(api: &Api, sid: &str) -> Result<Vec<Attachment>, ApiError> {
    let page = api.json(api.request(Method::GET, api.account(&format!("/Messages/{sid}/Media.json")))).await;
    let page: MediaPage = match page {
        Err(ApiError::Refused { status: StatusCode::NOT_FOUND | StatusCode::GONE, .. }) => {
            MediaPage { media_list: Vec::new() }
        }
        page => page?,
    };
    if page.media_list.is_empty() {
        let source = api.account(&format!("/Messages/{sid}/Media/gone")).to_string();
        return Ok(vec![Attachment { source, voice: false }]);
    }
    let attachment = |media: ListedMedia| Attachment {
        source: api.account(&format!("/Messages/{sid}/Media/{}", media.sid)).to_string(),
        voice: media.content_type.is_some_and(|kind| kind.starts_with("audio/")),
    };
    Ok(page.media_list.into_iter().map(attachment).collect())
}

/// Erase the words and the files of every message from and to a person; how many messages there were.
pub async fn redact(api: &Api, person: &str) -> Result<usize, ApiError> {
    let mut listed = all(api, ("To", person), None).await?;
    listed.extend(all(api, ("From", person), None).await?);
    for message in &listed {
        let ours = message.to.as_deref() == Some(person) || message.from.as_deref() == Some(person);
        if !ours {
            continue;
        }
        if message.has_media() {
            let page: MediaPage = api
                .json(api.request(Method::GET, api.account(&format!("/Messages/{}/Media.json", message.sid))))
                .await?;
            for media in page.media_list {
                let url = api.account(&format!("/Messages/{}/Media/{}.json", message.sid, media.sid));
                api.call(api.request(Method::DELETE, url)).await?;
            }
        }
        let url = api.account(&format!("/Messages/{}.json", message.sid));
        api.call(api.request(Method::POST, url).form(&[("Body", "")])).await?;
    }
    Ok(listed.len())
}

fn list(api: &Api) -> Url {
    api.account("/Messages.json")
}

/// Every message of a list that is no older than `since`. The newest come first.
async fn all(api: &Api, (side, name): (&str, &str), since: Option<Timestamp>) -> Result<Vec<Listed>, ApiError> {
    let since = since.map(|since| since - CLOCK_SPREAD);
    let mut query = vec![(side, name.to_owned()), ("PageSize", PAGE_SIZE.to_owned())];
    query.extend(since.map(|since| ("DateSent>", day(since))));
    let is_young = |listed: &Listed| since.is_none_or(|since| listed.at().is_none_or(|at| at >= since));
    let mut messages = Vec::new();
    let mut request = api.request(Method::GET, list(api)).query(&query);
    for _ in 0..PAGES_MAX {
        let page: Page = api.json(request).await?;
        let was_empty = page.messages.is_empty();
        let before = messages.len();
        messages.extend(page.messages.into_iter().filter(is_young));
        let Some(next) = page.next_page_uri.filter(|next| next.starts_with('/')) else { return Ok(messages) };
        // Of what is older than asked for, a page may have the rest of a day.
        if !was_empty && messages.len() == before {
            return Ok(messages);
        }
        let url = api.config.api_url.join(&next).map_err(|_| ApiError::NoAnswer(None))?;
        request = api.request(Method::GET, url);
    }
    tracing::warn!(count = messages.len(), "Twilio lists more messages than are looked at; the oldest are left out");
    Ok(messages)
}
