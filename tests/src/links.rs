//! Signed links as a relay makes them, by a program that is none: `{payload}.{key id}.{mac}`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The name of the one key.
const KEY_ID: &str = "test";
const KEY: &str = "a-key-of-links-for-tests-0123456789";
/// Far later than any test ends, in milliseconds.
const EXPIRES_AT: u64 = 4_000_000_000_000;

/// What `LINK_KEYS` has to be.
pub fn setting() -> (&'static str, String) {
    ("LINK_KEYS", format!("{KEY_ID}:{KEY}"))
}

/// A key for `purpose` about `subject`.
pub fn key(purpose: &str, subject: &str) -> String {
    let payload = URL_SAFE_NO_PAD.encode(format!("{EXPIRES_AT}:{subject}"));
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(format!("{purpose}\0{KEY_ID}\0{payload}").as_bytes());
    format!("{payload}.{KEY_ID}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// Where whoever has the address may read this diff of a run and answer.
pub fn review_url(relay: &str, run: &str, tree: &str) -> String {
    format!("{relay}/r/{}", key("review", &format!("{run}/{tree}")))
}

/// Where whoever has the address may look at a run.
pub fn run_url(relay: &str, run: &str) -> String {
    format!("{relay}/runs/{run}?key={}", key("run", run))
}
