//! The web console: messages are entries of the conversation's feed, which the page follows from any relay.

use std::sync::Arc;

use async_trait::async_trait;
use relay_core::id::{Address, BlobId, ConversationId, MessageId};
use relay_core::machine::delivery::Delivery;
use relay_core::machine::{Asked, Attachment, Capabilities, Choice, Content, Message, Outcome};
use relay_core::protocol::FILES_MAX;
use relay_core::store::{Store, StoreError};
use relay_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::channels::media::{Media, MediaError};
use crate::channels::{Channel, Inbound, Incoming, Line, Outgoing};
use crate::clock;
use crate::error::RequestError;
use crate::links::Links;

pub mod conversations;
mod files;
pub mod person;

/// The console, outgoing, and the feed that its page follows.
pub struct ConsoleChannel {
    store: Arc<dyn Store>,
    links: Links,
    /// Counts what this process knows to be appended, so that its viewers need not wait for their next look.
    appended: watch::Sender<u64>,
}

/// One entry of the feed, as the page reads it.
#[derive(Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
enum Entry<'a> {
    Person {
        id: &'a MessageId,
        text: &'a str,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        files: Vec<&'a str>,
    },
    Relay {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        picture: Option<String>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        document: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        choice: Option<Buttons>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        options: Vec<OptionButton<'a>>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        settles: bool,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        passing: bool,
    },
}

#[derive(Serialize)]
struct Buttons {
    approve: String,
    reject: String,
}

impl From<&Choice> for Buttons {
    fn from(choice: &Choice) -> Self {
        Self { approve: choice.payload("approve"), reject: choice.payload("reject") }
    }
}

/// The button of an inquiry's option.
#[derive(Serialize)]
struct OptionButton<'a> {
    label: &'a str,
    payload: String,
}

fn options(asked: &Asked) -> impl Iterator<Item = OptionButton<'_>> {
    (1..).zip(&asked.labels).map(|(option, label)| OptionButton { label, payload: asked.payload(option) })
}

impl ConsoleChannel {
    /// A console whose feeds are in `store`, and whose files are named by what `links` signs.
    pub fn new(store: Arc<dyn Store>, links: Links) -> Self {
        Self { store, links, appended: watch::Sender::new(0) }
    }

    /// What a message from `address` can name the file in `blob` by, for as long as that is kept.
    pub fn ticket(&self, address: &Address, blob: &BlobId, voice: bool, expires_at: Timestamp) -> String {
        files::ticket(&self.links, address, blob, voice, expires_at)
    }

    /// Show what the person sent. The same id again changes nothing.
    pub async fn echo(&self, conversation: &ConversationId, message: &Message) -> Result<(), StoreError> {
        let id = &message.id;
        let (text, files) = match &message.content {
            Content::Button { payload } => (spoken(payload), Vec::new()),
            Content::Text { text } => (text.as_str(), Vec::new()),
            Content::Files { text, files } => {
                (text.as_str(), files.iter().filter_map(files::parts).map(|(_, name)| name).collect())
            }
            Content::Unsupported { .. } => return Ok(()),
        };
        self.append(conversation, &format!("person:{id}"), &Entry::Person { id, text, files }).await
    }

    /// Changes whenever a feed may have grown.
    pub fn appended(&self) -> watch::Receiver<u64> {
        self.appended.subscribe()
    }

    /// Have the viewers look: another relay may have appended to a feed.
    pub fn look(&self) {
        self.appended.send_modify(|count| *count += 1);
    }

    async fn append(&self, conversation: &ConversationId, key: &str, entry: &Entry<'_>) -> Result<(), StoreError> {
        let entry = serde_json::to_string(entry).expect("plain data with text keys");
        self.store.append_feed(conversation, key, &entry).await?;
        self.look();
        Ok(())
    }
}

/// What the page sends: text, with or without files, or the payload of a button.
#[derive(Deserialize)]
struct Typed {
    id: MessageId,
    text: Option<String>,
    button: Option<String>,
    #[serde(default)]
    files: Vec<files::Named>,
}

/// What one would type instead of pressing this button: a word, or the number of an option.
fn spoken(payload: &str) -> &str {
    let mut fields = payload.split(':');
    match (fields.next(), fields.next_back()) {
        (Some("reply"), Some(option)) => option,
        (word, _) => word.unwrap_or_default(),
    }
}

#[async_trait]
impl Channel for ConsoleChannel {
    fn capabilities(&self) -> Capabilities {
        Capabilities::FREE
    }

    /// Whoever the route has recognised may write.
    fn receive(&self, request: &Incoming<'_>) -> Result<Inbound, RequestError> {
        let typed: Typed =
            serde_json::from_slice(request.body).map_err(|_| RequestError::Malformed("the body is not a message"))?;
        if typed.files.len() > FILES_MAX {
            return Err(RequestError::Malformed("too many files"));
        }
        let from = request.caller.cloned().ok_or(RequestError::SignInFirst)?;
        let files = typed.files.iter().map(|file| files::attachment(&self.links, &from, file));
        let content = match (typed.text, typed.button, files.collect::<Result<Vec<_>, _>>()?) {
            (Some(text), None, files) if files.is_empty() => Content::Text { text },
            (text, None, files) if !files.is_empty() => Content::Files { text: text.unwrap_or_default(), files },
            (None, Some(payload), files) if files.is_empty() => Content::Button { payload },
            _ => return Err(RequestError::Malformed("either text, or files, or a button")),
        };
        Ok(Inbound::Message(Box::new(Message::new(typed.id, from, content))))
    }

    async fn send(&self, message: Outgoing<'_>) -> Outcome {
        let say = message.say;
        let entry = Entry::Relay {
            text: &message.text(),
            code: say.code.as_deref(),
            // A path, not an address: the page is read under whatever name this relay has for its reader.
            picture: message.picture.as_ref().map(|url| url.path().to_owned()),
            document: say.document,
            choice: say.choice.as_ref().map(Buttons::from),
            options: say.asked.iter().flat_map(options).collect(),
            settles: say.settles,
            passing: say.passing,
        };
        match self.append(message.conversation, &format!("effect:{}", message.effect.0), &entry).await {
            Ok(()) => Outcome::Done,
            Err(_) => Outcome::NO_ANSWER,
        }
    }

    /// Sending again changes nothing, so there is no doubt to clear up.
    async fn find(&self, _: &Outgoing<'_>, _: &Delivery, _: Timestamp) -> Result<Option<MessageId>, Outcome> {
        Ok(None)
    }

    async fn fetch(&self, attachment: &Attachment) -> Result<Media, MediaError> {
        let (id, _) = files::parts(attachment).ok_or(MediaError::ElsewhereNotAllowed)?;
        let blob = self.store.blob(&id, clock::now()).await.map_err(|_| MediaError::NoAnswer(None))?;
        Ok(Media { kept: Some(id), ..Media::of(blob.ok_or(MediaError::Gone)?.bytes.into())? })
    }

    async fn show_typing(&self, _: &MessageId) {}

    fn line(&self) -> Option<Line> {
        None
    }

    fn concerns(&self) -> Vec<String> {
        Vec::new()
    }
}
