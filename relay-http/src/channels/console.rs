//! The web console: messages are entries of the conversation's feed, which the page follows from any relay.

use std::sync::Arc;

use async_trait::async_trait;
use relay_core::id::{Address, ChannelKind, ConversationId, MessageId};
use relay_core::machine::delivery::Delivery;
use relay_core::machine::{Asked, Attachment, Capabilities, Choice, Content, Message, Outcome};
use relay_core::store::{Store, StoreError};
use relay_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::channels::media::{Media, MediaError};
use crate::channels::{Channel, Inbound, Incoming, Line, Outgoing};
use crate::error::RequestError;

/// The console, outgoing, and the feed that its page follows.
pub struct ConsoleChannel {
    store: Arc<dyn Store>,
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
    /// A console whose feeds are in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, appended: watch::Sender::new(0) }
    }

    /// The address of the console's one conversation.
    pub fn address() -> Address {
        Address { channel: ChannelKind::Console, name: "console:main".to_owned() }
    }

    /// Show what the person wrote. The same id again changes nothing.
    pub async fn echo(&self, conversation: &ConversationId, id: &MessageId, text: &str) -> Result<(), StoreError> {
        self.append(conversation, &format!("person:{id}"), &Entry::Person { id, text }).await
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

/// What the page sends: text, or the payload of a button.
#[derive(Deserialize)]
struct Typed {
    id: MessageId,
    text: Option<String>,
    button: Option<String>,
}

#[async_trait]
impl Channel for ConsoleChannel {
    fn capabilities(&self) -> Capabilities {
        Capabilities::FREE
    }

    /// Whoever may call the route may write.
    fn receive(&self, request: &Incoming<'_>) -> Result<Inbound, RequestError> {
        let typed: Typed =
            serde_json::from_slice(request.body).map_err(|_| RequestError::Malformed("the body is not a message"))?;
        let content = match (typed.text, typed.button) {
            (Some(text), None) => Content::Text { text },
            (None, Some(payload)) => Content::Button { payload },
            _ => return Err(RequestError::Malformed("either text or button")),
        };
        Ok(Inbound::Message(Box::new(Message::new(typed.id, Self::address(), content))))
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

    async fn fetch(&self, _: &Attachment) -> Result<Media, MediaError> {
        Err(MediaError::ElsewhereNotAllowed)
    }

    async fn show_typing(&self, _: &MessageId) {}

    fn line(&self) -> Option<Line> {
        None
    }

    fn concerns(&self) -> Vec<String> {
        Vec::new()
    }
}
