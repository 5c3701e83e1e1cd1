//! Signed links: addresses that are the permission to use them, for one purpose, about one subject, until an instant.
//!
//! A link is `{base64url(payload)}.{key id}.{base64url(mac)}`. The payload is the instant in milliseconds, a colon, and the
//! subject. What is signed is purpose, key id and payload, so that none of them can be exchanged for another. Links are
//! secrets: they must reach no log.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use relay_core::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// A longer text is no link of ours, and is not looked at.
pub const LINK_CHARS_MAX: usize = 1_024;
/// The id of the key that is made from the relay's own secret.
const DERIVED: &str = "0";

/// What a link is good for. One that was signed for another purpose is no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To read one diff and to decide on it; the subject is `{run}/{tree}`.
    Review,
    /// To follow one run; the subject is its name.
    Run,
    /// To send the form of a page that was shown; the subject is the page's own link.
    Form,
    /// To send a file that was given to the console; the subject is `{conversation's address}/{kind}/{blob}`.
    Upload,
    /// To become a guest of the console; the subject is `{guest}/{invitation}`.
    Invitation,
    /// To be that guest: what the browser holds that has accepted the invitation. The subject is the same.
    Guest,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Review => "review",
            Self::Run => "run",
            Self::Form => "form",
            Self::Upload => "upload",
            Self::Invitation => "invitation",
            Self::Guest => "guest",
        }
    }
}

/// Why a link is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not of the form of a link.
    #[error("the link is malformed")]
    Malformed,
    /// Signed with a key that is not, or no longer, among ours.
    #[error("the link was signed with a key that is not known")]
    UnknownKey,
    /// Not what our key gives for this text and purpose.
    #[error("the link's signature does not match")]
    Mismatch,
    /// It was one of ours, and its time is over.
    #[error("the link has expired")]
    Expired,
}

/// A key, and the name by which links say that it signed them.
#[derive(Clone, Debug)]
pub struct LinkKey {
    /// Short, and not secret.
    pub id: String,
    /// What signs.
    pub secret: SecretString,
}

impl LinkKey {
    /// The key of a deployment that was given none.
    pub fn derived(relay_secret: &SecretString) -> Self {
        let secret = hex::encode(mac(relay_secret, &["links"]));
        Self { id: DERIVED.to_owned(), secret: secret.into() }
    }
}

/// Signs links, and knows those that it signed.
#[derive(Clone, Debug)]
pub struct Links {
    keys: Vec<LinkKey>,
}

impl Links {
    /// The first key signs, each of them verifies; there is at least one.
    pub fn new(keys: Vec<LinkKey>) -> Self {
        assert!(!keys.is_empty(), "something has to sign");
        Self { keys }
    }

    /// With the keys of a deployment, or the one that is made from its secret.
    pub fn configured(keys: &[LinkKey], relay_secret: &SecretString) -> Self {
        if keys.is_empty() { Self::new(vec![LinkKey::derived(relay_secret)]) } else { Self::new(keys.to_vec()) }
    }

    /// A link for `purpose` about `subject`, good until `expires_at`.
    pub fn sign(&self, purpose: Purpose, subject: &str, expires_at: Timestamp) -> String {
        let key = &self.keys[0];
        let payload = URL_SAFE_NO_PAD.encode(format!("{}:{subject}", expires_at.as_millis()));
        let mac = URL_SAFE_NO_PAD.encode(signature(key, purpose, &payload));
        format!("{payload}.{}.{mac}", key.id)
    }

    /// What a link for `purpose` is about.
    pub fn verify(&self, purpose: Purpose, signed: &str, now: Timestamp) -> Result<String, LinkError> {
        let fields: Vec<&str> = signed.split('.').take(4).collect();
        let [payload, id, mac] = fields[..] else { return Err(LinkError::Malformed) };
        if signed.len() > LINK_CHARS_MAX {
            return Err(LinkError::Malformed);
        }
        let claimed = URL_SAFE_NO_PAD.decode(mac).map_err(|_| LinkError::Malformed)?;
        let key = self.keys.iter().find(|key| key.id == id).ok_or(LinkError::UnknownKey)?;
        if !bool::from(signature(key, purpose, payload).as_slice().ct_eq(&claimed)) {
            return Err(LinkError::Mismatch);
        }
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| LinkError::Malformed)?;
        let payload = String::from_utf8(payload).map_err(|_| LinkError::Malformed)?;
        let (expires_at, subject) = payload.split_once(':').ok_or(LinkError::Malformed)?;
        let expires_at = Timestamp(expires_at.parse().map_err(|_| LinkError::Malformed)?);
        if expires_at <= now { Err(LinkError::Expired) } else { Ok(subject.to_owned()) }
    }
}

/// None of the three can hold the sign that separates them.
fn signature(key: &LinkKey, purpose: Purpose, payload: &str) -> Vec<u8> {
    mac(&key.secret, &[purpose.name(), &key.id, payload])
}

fn mac(secret: &SecretString, fields: &[&str]) -> Vec<u8> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(fields.join("\0").as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const SUBJECT: &str = "c0ffee-18f-7/4b825dc642cb6eb9a060e54bf8d69288fbee4904";

    fn key(id: &str) -> LinkKey {
        LinkKey { id: id.to_owned(), secret: format!("a secret of key {id}, long enough").into() }
    }

    fn links(ids: &[&str]) -> Links {
        Links::new(ids.iter().map(|id| key(id)).collect())
    }

    fn later() -> Timestamp {
        NOW + Duration::from_secs(60)
    }

    #[test]
    fn what_was_signed_is_read_back_until_it_expires() {
        let links = links(&["a"]);
        let signed = links.sign(Purpose::Review, SUBJECT, later());
        assert_eq!(links.verify(Purpose::Review, &signed, NOW), Ok(SUBJECT.to_owned()));
        assert_eq!(links.verify(Purpose::Review, &signed, later()), Err(LinkError::Expired));
        assert!(signed.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "fit for an address: {signed}");
    }

    #[test]
    fn a_link_for_one_purpose_is_none_for_another() {
        let links = links(&["a"]);
        let signed = links.sign(Purpose::Run, SUBJECT, later());
        assert_eq!(links.verify(Purpose::Review, &signed, NOW), Err(LinkError::Mismatch));
        // Nobody is told that a link of another purpose has expired either.
        assert_eq!(links.verify(Purpose::Review, &signed, later()), Err(LinkError::Mismatch));
    }

    #[test]
    fn no_character_of_a_link_can_be_another_one() {
        let links = links(&["a"]);
        let signed = links.sign(Purpose::Review, SUBJECT, later());
        for at in 0..signed.len() {
            for other in ["A", "b", "_", "."] {
                let mut tampered = signed.clone();
                tampered.replace_range(at..=at, other);
                if tampered != signed {
                    assert!(links.verify(Purpose::Review, &tampered, NOW).is_err(), "{tampered}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_link_is_refused() {
        let links = links(&["a"]);
        let long = "x".repeat(LINK_CHARS_MAX) + ".a.AAAA";
        for text in ["", ".", "..", "...", "a.b", "x.a.", "x.a.*", "x.a.AAAA.x", "é.a.AAAA", long.as_str()] {
            assert!(links.verify(Purpose::Review, text, NOW).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_is_replaced_without_a_link_being_lost() {
        let (old, both, new) = (links(&["a"]), links(&["b", "a"]), links(&["b"]));
        let before = old.sign(Purpose::Review, SUBJECT, later());
        assert_eq!(both.verify(Purpose::Review, &before, NOW), Ok(SUBJECT.to_owned()));
        let after = both.sign(Purpose::Review, SUBJECT, later());
        assert_eq!(new.verify(Purpose::Review, &after, NOW), Ok(SUBJECT.to_owned()));
        assert_eq!(old.verify(Purpose::Review, &after, NOW), Err(LinkError::UnknownKey));
        assert_eq!(new.verify(Purpose::Review, &before, NOW), Err(LinkError::UnknownKey));
    }

    #[test]
    fn a_key_of_the_same_name_is_not_the_same_key() {
        let signed = links(&["a"]).sign(Purpose::Review, SUBJECT, later());
        let other =
            Links::new(vec![LinkKey { id: "a".to_owned(), secret: "another secret altogether, also long".into() }]);
        assert_eq!(other.verify(Purpose::Review, &signed, NOW), Err(LinkError::Mismatch));
    }

    #[test]
    fn without_keys_one_is_made_from_the_relays_secret() {
        let derived = |secret: &str| Links::new(vec![LinkKey::derived(&secret.into())]);
        let signed = derived("one").sign(Purpose::Review, SUBJECT, later());
        assert_eq!(derived("one").verify(Purpose::Review, &signed, NOW), Ok(SUBJECT.to_owned()));
        assert_eq!(derived("two").verify(Purpose::Review, &signed, NOW), Err(LinkError::Mismatch));
    }

    #[test]
    fn a_key_does_not_print_itself() {
        assert!(!format!("{:?}", links(&["a"])).contains("secret of key"));
    }
}
