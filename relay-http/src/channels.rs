//! The services that carry messages between people and the relay. Each has a folder or file of its own; nothing outside it
//! knows its words.

use async_trait::async_trait;
use axum::http::HeaderMap;
use bytes::Bytes;
use relay_core::id::{Address, ConversationId, EffectSeq, MessageId};
use relay_core::machine::delivery::Delivery;
use relay_core::machine::{Attachment, Capabilities, Message, Outcome, Receipt, Say, text};
use relay_core::time::Timestamp;
use url::Url;

use crate::error::RequestError;

pub mod console;
pub mod media;
pub mod twilio;

/// A request as it came, for a channel to make something of it.
#[derive(Clone, Debug)]
pub struct Incoming<'a> {
    /// Path and query, as the caller wrote them.
    pub path: &'a str,
    /// Every header.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a Bytes,
    /// Where the caller is reached, if the route knows it: a channel that does finds it in the request.
    pub caller: Option<&'a Address>,
}

/// What a genuine request tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inbound {
    /// Somebody who may write has written.
    Message(Box<Message>),
    /// What became of a message of ours.
    Receipt {
        /// The effect that asked for it.
        effect: EffectSeq,
        /// The provider's name for it.
        message: MessageId,
        /// What became of it.
        receipt: Receipt,
    },
    /// Somebody has written who is not named among those who may, but bears a name by which they may be known as one who is.
    Unnamed(Box<Message>),
    /// Somebody has written who may not.
    UnknownSender,
    /// Nothing that matters here.
    Nothing,
}

/// One message on its way to a person.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    /// To whom.
    pub to: &'a Address,
    /// In which conversation.
    pub conversation: &'a ConversationId,
    /// The effect that asks for it: with the conversation, what a repeat is known by.
    pub effect: EffectSeq,
    /// What it says.
    pub say: &'a Say,
    /// Where its picture can be fetched by anyone who knows the address.
    pub picture: Option<Url>,
    /// Where all of what it shows in part can be read by anyone who knows the address.
    pub page: Option<Url>,
    /// Where the diff that it asks about can be read and answered by anyone who knows the address.
    pub review: Option<Url>,
    /// Where anyone who knows the address can look on at the run.
    pub follow: Option<Url>,
}

impl Outgoing<'_> {
    /// Its text, with the addresses that belong to it.
    pub fn text(&self) -> String {
        let mut text = self.say.text.clone();
        if let Some(page) = &self.page {
            text = format!("{text} {page}");
        }
        if let Some(review) = &self.review {
            text = format!("{text}\n{} {review}", text::review::ADDRESS);
        }
        if let Some(follow) = &self.follow {
            text = format!("{text}\n{} {follow}", text::FOLLOW);
        }
        text
    }
}

/// A service that carries messages.
#[async_trait]
pub trait Channel: Send + Sync {
    /// What it can carry, and what it knows.
    fn capabilities(&self) -> Capabilities;

    /// Check that a request is genuine, and read it.
    fn receive(&self, request: &Incoming<'_>) -> Result<Inbound, RequestError>;

    /// Hand one message over. The caller bounds the time; a call that is cut short may or may not have arrived.
    ///
    /// [`Outcome::Done`] or [`Outcome::Sent`] once the service has it, [`Outcome::NoAnswer`] when it may have it,
    /// [`Outcome::Busy`] when it has not and is to be tried again, [`Outcome::Delayed`] when it was not even tried,
    /// [`Outcome::Undelivered`] when the service says why not.
    async fn send(&self, message: Outgoing<'_>) -> Outcome;

    /// Whether a message whose fate is in doubt was sent: then the provider's name for it. Never one that `delivery` knows.
    async fn find(
        &self,
        message: &Outgoing<'_>,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<Option<MessageId>, Outcome>;

    /// A file that a person sent. The error is for them.
    async fn fetch(&self, attachment: &Attachment) -> Result<media::Media, media::MediaError>;

    /// Show the person that their message is being worked on, if that can be shown. Nothing depends on it.
    async fn show_typing(&self, answering: &MessageId);

    /// The line that our messages stand in before they go, for all relays together.
    fn line(&self) -> Option<Line>;

    /// What works less well than it could, and how to mend it; one sentence each.
    fn concerns(&self) -> Vec<String>;
}

/// A line of messages: one may go each interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its name; the same for all relays that share it.
    pub name: String,
    /// From one message to the next.
    pub interval: std::time::Duration,
}
