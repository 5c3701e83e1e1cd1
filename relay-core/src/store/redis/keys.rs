//! Every key and channel, built here and nowhere else. All carry one hash tag, so that every script is legal on a cluster,
//! and the version of the layout. `docs/redis.md` says what each holds.

use crate::id::{BlobId, ConversationId};

/// The layout that this program reads and writes.
pub const LAYOUT: u32 = 1;
/// The namespace of a deployment that chose none.
pub const NAMESPACE: &str = "textslash";
const NAMESPACE_BYTES_MAX: usize = 64;

/// The keys of one deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// `{namespace}:v1:`
    prefix: String,
    layout: String,
}

impl Keys {
    /// The keys of the deployment called `namespace`, which [`Keys::is_namespace`] has passed.
    pub fn new(namespace: &str) -> Self {
        Self { prefix: format!("{{{namespace}}}:v{LAYOUT}:"), layout: format!("{{{namespace}}}:layout") }
    }

    /// Whether `text` can name a deployment: lower-case letters, digits and dashes.
    pub fn is_namespace(text: &str) -> bool {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        !text.is_empty() && text.len() <= NAMESPACE_BYTES_MAX && text.bytes().all(allowed)
    }

    /// The version of the layout, under a name that no version changes.
    pub fn layout(&self) -> &str {
        &self.layout
    }

    /// A conversation: lease, inbox, state and outbox.
    pub fn conversation(&self, id: &ConversationId) -> String {
        format!("{}conversation:{id}", self.prefix)
    }

    /// Event ids that were ingested, by when.
    pub fn seen(&self) -> String {
        format!("{}seen", self.prefix)
    }

    /// Every conversation, by when it is due; and below all instants those in which something is going on, as `busy:ID`, by what
    /// and since when.
    pub fn due(&self) -> String {
        format!("{}due", self.prefix)
    }

    /// Expires when a conversation is due: the only kind of key with a time to live.
    pub fn alarm(&self, id: &ConversationId) -> String {
        format!("{}alarm:{id}", self.prefix)
    }

    /// The conversation whose alarm this key is.
    pub fn rung(&self, key: &str) -> Option<ConversationId> {
        ConversationId::parse(key.strip_prefix(&self.prefix)?.strip_prefix("alarm:")?).ok()
    }

    /// What a VM has published about a conversation and nobody has taken yet.
    pub fn reports(&self, id: &ConversationId) -> String {
        format!("{}reports:{id}", self.prefix)
    }

    /// The reports of every conversation, as a pattern for access rules.
    pub fn all_reports(&self) -> String {
        format!("{}reports:*", self.prefix)
    }

    /// Conversations whose VM has published something; whichever relay pops one looks at it.
    pub fn wake(&self) -> String {
        format!("{}wake", self.prefix)
    }

    /// Channel of a conversation's reports, as they are published, for whoever looks on.
    pub fn live(&self, id: &ConversationId) -> String {
        format!("{}live:{id}", self.prefix)
    }

    /// The live channels of every conversation, as a pattern for access rules.
    pub fn all_live(&self) -> String {
        format!("{}live:*", self.prefix)
    }

    /// Channel that tells which conversation's feed has grown.
    pub fn fed(&self) -> String {
        format!("{}fed", self.prefix)
    }

    /// Channel that tells which conversation's log has grown.
    pub fn logged(&self) -> String {
        format!("{}logged", self.prefix)
    }

    /// Dead letters, by number.
    pub fn dead(&self) -> String {
        format!("{}dead", self.prefix)
    }

    /// The number of the latest dead letter.
    pub fn letters(&self) -> String {
        format!("{}letters", self.prefix)
    }

    /// A picture.
    pub fn blob(&self, id: &BlobId) -> String {
        format!("{}blob:{id}", self.prefix)
    }

    /// Every picture, by when it expires.
    pub fn blobs(&self) -> String {
        format!("{}blobs", self.prefix)
    }

    /// When the next turn of each line is free.
    pub fn lines(&self) -> String {
        format!("{}lines", self.prefix)
    }

    /// Short texts by name.
    pub fn notes(&self) -> String {
        format!("{}notes", self.prefix)
    }

    /// What each relay told of itself last, by its name.
    pub fn nodes(&self) -> String {
        format!("{}nodes", self.prefix)
    }

    /// The names of relays that an operator wants drained.
    pub fn drains(&self) -> String {
        format!("{}drains", self.prefix)
    }

    /// Channel on which relays are asked who is there.
    pub fn roll(&self) -> String {
        format!("{}roll", self.prefix)
    }

    /// What operators have done, the latest first.
    pub fn deeds(&self) -> String {
        format!("{}deeds", self.prefix)
    }

    /// A conversation's feed, by cursor.
    pub fn feed(&self, id: &ConversationId) -> String {
        format!("{}feed:{id}", self.prefix)
    }

    /// What the entries of a feed are known by, by cursor.
    pub fn feed_keys(&self, id: &ConversationId) -> String {
        format!("{}feed_keys:{id}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_deployment_share_one_hash_tag_and_its_layout() {
        let keys = Keys::new("blue");
        let id = ConversationId::parse("c1").unwrap();
        assert_eq!(keys.conversation(&id), "{blue}:v1:conversation:c1");
        assert_eq!(keys.layout(), "{blue}:layout");
        assert_eq!(keys.rung(&keys.alarm(&id)), Some(id));
        assert_eq!(keys.rung("{green}:v1:alarm:c1"), None);
        assert_eq!(keys.rung("{blue}:v1:alarm:"), None);
    }

    #[test]
    fn a_namespace_cannot_escape_its_tag() {
        for (text, good) in
            [("textslash", true), ("a-1", true), ("", false), ("a}b", false), ("A", false), ("a b", false)]
        {
            assert_eq!(Keys::is_namespace(text), good, "{text:?}");
        }
    }
}
