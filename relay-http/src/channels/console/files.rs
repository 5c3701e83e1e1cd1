//! Files that a person attaches in the console. They come before the message that they are for, each by itself, and the page is
//! given a ticket for each: a signed word that only this conversation's messages can name it by, and only for a while.

use relay_core::id::{Address, BlobId};
use relay_core::machine::Attachment;
use relay_core::time::Timestamp;
use serde::Deserialize;

use crate::clock;
use crate::error::RequestError;
use crate::links::{LinkError, Links, Purpose};

/// Characters of a file's name that are shown.
const NAME_CHARS_MAX: usize = 120;

/// A file as a message names it.
#[derive(Deserialize)]
pub(super) struct Named {
    /// The ticket.
    id: String,
    /// What the person calls it.
    #[serde(default)]
    name: String,
}

/// The ticket of what `blob` keeps, for messages from `from`, until it is kept no more.
pub(super) fn ticket(links: &Links, from: &Address, blob: &BlobId, voice: bool, expires_at: Timestamp) -> String {
    let kind = if voice { "voice" } else { "file" };
    links.sign(Purpose::Upload, &format!("{}/{kind}/{blob}", from.name), expires_at)
}

/// What a message from `from` names.
pub(super) fn attachment(links: &Links, from: &Address, named: &Named) -> Result<Attachment, RequestError> {
    let subject = links.verify(Purpose::Upload, &named.id, clock::now()).map_err(|error| match error {
        LinkError::Expired => RequestError::Malformed("a file is no longer kept; attach it again"),
        _ => RequestError::Malformed("a file is not known"),
    })?;
    let rest = subject.strip_prefix(&from.name).and_then(|rest| rest.strip_prefix('/'));
    let (kind, blob) =
        rest.and_then(|rest| rest.split_once('/')).ok_or(RequestError::Malformed("a file is not known"))?;
    let name: String = named.name.chars().take(NAME_CHARS_MAX).collect();
    Ok(Attachment { source: format!("{blob}/{name}"), voice: kind == "voice" })
}

/// Where the store has the file, and what the person calls it.
pub(super) fn parts(attachment: &Attachment) -> Option<(BlobId, &str)> {
    let (blob, name) = attachment.source.split_once('/')?;
    Some((BlobId::parse(blob).ok()?, name))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use relay_core::id::ChannelKind;

    use super::*;
    use crate::links::LinkKey;

    fn links() -> Links {
        Links::new(vec![LinkKey::derived(&"a secret".into())])
    }

    fn address(name: &str) -> Address {
        Address { channel: ChannelKind::Console, name: name.to_owned() }
    }

    fn attach(from: &str, id: String, name: &str) -> Option<Attachment> {
        attachment(&links(), &address(from), &Named { id, name: name.to_owned() }).ok()
    }

    #[test]
    fn a_file_is_known_to_its_own_conversation_and_for_a_while() {
        let blob = BlobId::parse("0123abcd").unwrap();
        let mine = address("console:main");
        let later = clock::now() + Duration::from_secs(60);
        let id = ticket(&links(), &mine, &blob, true, later);
        let attached = attach("console:main", id.clone(), "a/b.png").unwrap();
        assert_eq!((parts(&attached), attached.voice), (Some((blob.clone(), "a/b.png")), true));
        assert_eq!(attach("console:other", id.clone(), ""), None, "another conversation's");
        assert_eq!(attach("console:mai", id.clone(), ""), None, "one whose name begins alike");
        assert_eq!(attach("console:main", format!("{id}0"), ""), None, "not ours");
        assert_eq!(attach("console:main", blob.to_string(), ""), None, "the name in the store alone");
        let other = links().sign(Purpose::Review, &format!("console:main/file/{blob}"), later);
        assert_eq!(attach("console:main", other, ""), None, "signed for something else");
        assert_eq!(attach("console:main", ticket(&links(), &mine, &blob, false, clock::now()), ""), None, "expired");
        let long = attach("console:main", id, &"ä".repeat(NAME_CHARS_MAX + 1)).unwrap();
        assert_eq!(parts(&long).unwrap().1, "ä".repeat(NAME_CHARS_MAX));
    }
}
