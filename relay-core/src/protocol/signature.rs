//! The signature between relay and VM, both ways: `X-Textslash-Signature: t=<unix seconds>,v1=<hex>` where `v1` is
//! HMAC-SHA256 under the shared secret over `t`, method, path with query, and body, separated by dots. Path and method
//! hold no dot before the body that could move a border, because `t` and the method are of fixed alphabets and the path
//! is what the receiver itself was asked for.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::time::Timestamp;

/// The header's name.
pub const HEADER: &str = "x-textslash-signature";

/// How far the two clocks may differ, and how long a captured request could be replayed.
pub const SKEW_MAX: Duration = Duration::from_secs(300);

/// Why a request is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No header, or not of the form `t=…,v1=…`.
    #[error("the signature is missing or malformed")]
    Malformed,
    /// Signed too long ago, or in the future.
    #[error("the signature is too old, or the clocks differ")]
    Expired,
    /// Not what the shared secret gives for this request.
    #[error("the signature does not match")]
    Mismatch,
}

/// The header's value for a request made at `now`.
pub fn sign(secret: &[u8], now: Timestamp, method: &str, path_and_query: &str, body: &[u8]) -> String {
    let seconds = now.as_millis() / 1000;
    format!("t={seconds},v1={}", hex::encode(mac(secret, seconds, method, path_and_query, body)))
}

/// Check the header's value against the request as received.
pub fn verify(
    secret: &[u8],
    now: Timestamp,
    method: &str,
    path_and_query: &str,
    body: &[u8],
    header: Option<&str>,
) -> Result<(), SignatureError> {
    let (seconds, claimed) = header.and_then(parse).ok_or(SignatureError::Malformed)?;
    if (now.as_millis() / 1000).abs_diff(seconds) > SKEW_MAX.as_secs() {
        return Err(SignatureError::Expired);
    }
    let expected = mac(secret, seconds, method, path_and_query, body);
    if bool::from(expected.as_slice().ct_eq(&claimed)) { Ok(()) } else { Err(SignatureError::Mismatch) }
}

fn parse(header: &str) -> Option<(u64, Vec<u8>)> {
    let (seconds, claimed) = header.strip_prefix("t=")?.split_once(",v1=")?;
    Some((seconds.parse().ok()?, hex::decode(claimed).ok()?))
}

fn mac(secret: &[u8], seconds: u64, method: &str, path_and_query: &str, body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(format!("{seconds}.{method}.{path_and_query}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn check(
        method: &str,
        path: &str,
        body: &[u8],
        header: Option<&str>,
        now: Timestamp,
    ) -> Result<(), SignatureError> {
        verify(b"secret", now, method, path, body, header)
    }

    #[test]
    fn what_was_signed_verifies_and_nothing_else_does() {
        let header = sign(b"secret", NOW, "POST", "/command", b"{}");
        let header = Some(header.as_str());
        assert_eq!(check("POST", "/command", b"{}", header, NOW), Ok(()));
        for (method, path, body) in [
            ("GET", "/command", &b"{}"[..]),
            ("POST", "/cancel", b"{}"),
            ("POST", "/command?x=1", b"{}"),
            ("POST", "/command", b"{ }"),
        ] {
            assert_eq!(check(method, path, body, header, NOW), Err(SignatureError::Mismatch));
        }
        assert_eq!(verify(b"other", NOW, "POST", "/command", b"{}", header), Err(SignatureError::Mismatch));
    }

    #[test]
    fn a_signature_ages_out_in_both_directions() {
        let header = sign(b"secret", NOW, "POST", "/command", b"{}");
        let late = NOW + SKEW_MAX + Duration::from_secs(1);
        let early = NOW - SKEW_MAX - Duration::from_secs(1);
        for now in [late, early] {
            assert_eq!(check("POST", "/command", b"{}", Some(&header), now), Err(SignatureError::Expired));
        }
        assert_eq!(check("POST", "/command", b"{}", Some(&header), NOW + SKEW_MAX), Ok(()));
    }

    #[test]
    fn a_malformed_header_is_refused() {
        for header in
            [None, Some(""), Some("v1=00"), Some("t=x,v1=00"), Some("t=1800000000,v1=zz"), Some("t=1800000000")]
        {
            assert_eq!(check("POST", "/command", b"{}", header, NOW), Err(SignatureError::Malformed));
        }
    }
}
