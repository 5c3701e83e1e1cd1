//! Names of things, parsed once. An identifier that exists is well formed.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::time::Timestamp;

/// Why a text is not an identifier.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a valid {kind}: {why}")]
pub struct InvalidId {
    kind: &'static str,
    why: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Parse `text`, which must be non-empty, bounded and of the allowed characters.
            pub fn parse(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                let allowed: fn(char) -> bool = $allowed;
                let why = if text.is_empty() {
                    "empty"
                } else if text.len() > $max {
                    "too long"
                } else if !text.chars().all(allowed) {
                    "a character that is not allowed"
                } else {
                    return Ok(Self(text));
                };
                Err(InvalidId { kind: $kind, why })
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// One conversation: a keyed hash of (channel, address), so that it may stand in a log, a key or a URL.
    ConversationId, "conversation id", 64, |c| c.is_ascii_alphanumeric()
);
text_id!(
    /// One piece of agent work: the conversation's id, when it began, and its number within it, with dashes between.
    RunId, "run id", 96, |c| c.is_ascii_alphanumeric() || c == '-'
);
text_id!(
    /// The provider's id of an inbound message, or the one that the web console gave it: what a repeat is known by.
    MessageId, "message id", 128, |c| c.is_ascii_graphic()
);
text_id!(
    /// What an event is known by: the same event handed in twice has the same id.
    EventId, "event id", 256, |c| c.is_ascii_graphic()
);
text_id!(
    /// One relay process, from its start to its end.
    NodeId, "node id", 64, |c| c.is_ascii_alphanumeric() || c == '-'
);
text_id!(
    /// One call to the store, so that a call which is carried out twice is known as a repeat.
    Nonce, "nonce", 64, |c| c.is_ascii_alphanumeric() || c == '-'
);
text_id!(
    /// A git tree: the name of one exact state of a repository's files.
    TreeHash, "tree hash", 64, |c| c.is_ascii_hexdigit()
);
text_id!(
    /// A stored picture.
    BlobId, "blob id", 64, |c| c.is_ascii_alphanumeric() || c == '-'
);

impl RunId {
    /// The `number`th run of `conversation`, whose first run was at `origin`: a conversation whose state was lost begins
    /// anew with numbers, but not with names that a VM has seen.
    pub fn of(conversation: &ConversationId, origin: Timestamp, number: u64) -> Self {
        Self(format!("{conversation}-{:x}-{number}", origin.as_millis()))
    }

    /// Whose run it is.
    pub fn conversation(&self) -> Option<ConversationId> {
        ConversationId::parse(self.0.split_once('-')?.0).ok()
    }

    /// What people call the run: its number within the conversation.
    pub fn number(&self) -> &str {
        self.0.rsplit('-').next().unwrap_or(&self.0)
    }
}

impl TreeHash {
    /// The first characters, enough to tell two trees apart by eye.
    pub fn short(&self) -> &str {
        &self.0[..self.0.len().min(10)]
    }
}

/// Grows with every lease on a conversation. Whoever carries a smaller one has lost the conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// The position of an effect in its conversation's outbox; never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EffectSeq(pub u64);

/// Which service carries a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// WhatsApp by way of Twilio.
    Twilio,
    /// The relay's own web chat.
    Console,
}

impl ChannelKind {
    /// The channel's name in configuration, identifiers and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Twilio => "twilio",
            Self::Console => "console",
        }
    }
}

/// Where a person is reached: a channel, and what that channel calls them. Never parsed as a phone number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address {
    /// The service that carries the messages.
    pub channel: ChannelKind,
    /// The person's name there, as the channel gave it (`whatsapp:+15551230000`, `whatsapp:US.abc`, `console:main`).
    pub name: String,
}

impl Address {
    /// The conversation with this address: HMAC-SHA256 under the deployment's identity key, shortened to 128 bits.
    pub fn conversation(&self, identity_key: &[u8]) -> ConversationId {
        let mut mac = Hmac::<Sha256>::new_from_slice(identity_key).expect("HMAC takes a key of any length");
        mac.update(self.channel.name().as_bytes());
        mac.update(b"\0");
        mac.update(self.name.as_bytes());
        ConversationId(hex::encode(&mac.finalize().into_bytes()[..16]))
    }
}

/// Shows the channel alone: an address is personal data and must not reach a log.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({}:…)", self.channel.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(channel: ChannelKind, name: &str) -> Address {
        Address { channel, name: name.to_owned() }
    }

    #[test]
    fn a_conversation_is_named_by_channel_address_and_key() {
        let twilio = address(ChannelKind::Twilio, "whatsapp:+15551230000");
        assert_eq!(twilio.conversation(b"key"), twilio.conversation(b"key"));
        assert_ne!(twilio.conversation(b"key"), twilio.conversation(b"other"));
        assert_ne!(
            twilio.conversation(b"key"),
            address(ChannelKind::Console, "whatsapp:+15551230000").conversation(b"key")
        );
    }

    #[test]
    fn an_address_never_prints_itself() {
        assert!(!format!("{:?}", address(ChannelKind::Twilio, "whatsapp:+15551230000")).contains("555"));
    }

    #[test]
    fn identifiers_refuse_what_could_escape_a_path_or_a_header() {
        for bad in ["", "../etc", "a b", "a\nb", "run/1"] {
            assert!(RunId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<RunId>("\"a/b\"").is_err());
        assert_eq!(RunId::parse("abc-12").unwrap().number(), "12");
        assert_eq!(RunId::parse("abc").unwrap().conversation(), None);
        let run = RunId::of(&ConversationId::parse("c0ffee").unwrap(), Timestamp(500), 3);
        assert_eq!(run.conversation(), ConversationId::parse("c0ffee").ok());
    }
}
