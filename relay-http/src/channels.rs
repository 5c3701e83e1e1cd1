//! The services that carry messages to people. Each has a folder of its own; nothing outside it knows its words.

use async_trait::async_trait;
use relay_core::id::{Address, ConversationId, EffectSeq};
use relay_core::machine::{Outcome, Say};
use url::Url;

pub mod console;
pub mod twilio;

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
}

/// A service that carries messages.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Hand one message over. The caller bounds the time; a call that is cut short may or may not have arrived.
    ///
    /// [`Outcome::Done`] once the service has it, [`Outcome::NoAnswer`] or [`Outcome::Busy`] when it is to be tried again,
    /// [`Outcome::Refused`] when trying again is of no use.
    async fn send(&self, message: Outgoing<'_>) -> Outcome;
}
