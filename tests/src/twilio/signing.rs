//! Webhooks signed as Twilio signs them: this crate's own reading of Twilio's documentation, which shares no code with the
//! relay and is held against vectors made by Twilio's own library.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha1::Sha1;

/// A webhook as Twilio posts it.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// The form-encoded body; its type is `application/x-www-form-urlencoded`.
    pub body: String,
    /// The value of `X-Twilio-Signature`.
    pub signature: String,
}

/// The body and signature of a webhook to `url`, which is the URL that Twilio was told, not where the test connects.
pub fn signed_webhook(token: &str, url: &str, params: &[(&str, &str)]) -> Webhook {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    Webhook { body, signature: signature(token, url, params) }
}

/// The signature: base64 of HMAC-SHA1 under the token over the URL and, sorted by name, each name with its values, a
/// value that comes twice only once.
pub fn signature(token: &str, url: &str, params: &[(&str, &str)]) -> String {
    let sorted: BTreeSet<(&str, &str)> = params.iter().copied().collect();
    let mut mac = Hmac::<Sha1>::new_from_slice(token.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(url.as_bytes());
    for (name, value) in sorted {
        mac.update(name.as_bytes());
        mac.update(value.as_bytes());
    }
    STANDARD.encode(mac.finalize().into_bytes())
}

/// A webhook with a signature by Twilio's own library.
#[derive(Clone, Debug, Deserialize)]
pub struct Vector {
    /// What it is about.
    pub name: String,
    /// The token that the receiver knows.
    pub auth_token: String,
    /// The URL that the receiver was configured with.
    pub url: String,
    /// The parameters, decoded, in order.
    pub form_params: Vec<(String, String)>,
    /// The same as the body of the request.
    pub raw_body: String,
    /// The signature that came with it.
    pub signature: String,
    /// Whether it is the right one.
    pub valid: bool,
}

/// Requests of the shapes that WhatsApp messages come in, genuine and tampered with; see the fixture's `about`.
///
/// # Panics
/// When the fixture is not what it was.
pub fn vectors() -> Vec<Vector> {
    #[derive(Deserialize)]
    struct Fixture {
        vectors: Vec<Vector>,
    }
    let fixture = include_str!("../../fixtures/twilio/signature_whatsapp.json");
    serde_json::from_str::<Fixture>(fixture).expect("the fixture holds vectors").vectors
}
