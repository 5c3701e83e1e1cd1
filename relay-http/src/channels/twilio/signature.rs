//! Twilio's webhook signature (Twilio docs, "Security", "Validating signatures from Twilio").
//!
//! Base64 of HMAC-SHA1, under the account's auth token, over the full URL as configured at Twilio followed by every form
//! parameter's name and value, sorted by name. The URL is never rebuilt from the request: behind a proxy it would be
//! another one. Of a repeated name, each distinct value counts once, in order, as Twilio's Python and Node libraries have it.
//! Twilio is known to sign some URLs with the scheme's default port and some without any, so both forms are accepted.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

/// The header that carries the signature.
pub const HEADER: &str = "x-twilio-signature";

/// Whether `header` is the signature of a form post of `params` (decoded once, white space untouched) to `url` under any
/// of `keys`. Takes the same time wherever a wrong signature differs from the right one.
pub fn verify(keys: &[impl AsRef<[u8]>], url: &str, params: &[(String, String)], header: Option<&str>) -> bool {
    let Some(claimed) = header.and_then(|header| BASE64_STANDARD.decode(header).ok()) else {
        return false;
    };
    let form = canonical(params);
    // Which of the forms it is tells nothing about any key; the usual one comes first.
    url_forms(url).iter().any(|url| {
        let mut matches = subtle::Choice::from(0);
        for key in keys {
            matches |= mac(key.as_ref(), url, &form).ct_eq(&claimed);
        }
        matches.into()
    })
}

fn mac(key: &[u8], url: &str, form: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(url.as_bytes());
    mac.update(form.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn canonical(params: &[(String, String)]) -> String {
    let mut sorted: Vec<&(String, String)> = params.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect()
}

/// The URL without a port, and with the given or the scheme's default one. Cut by hand: a URL parser would normalise.
fn url_forms(url: &str) -> Vec<String> {
    let url = url.split('#').next().unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else {
        return vec![url.to_owned()];
    };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    let host_start = authority.rfind('@').map_or(0, |at| at + 1);
    let host_end = match authority.rfind(':') {
        Some(colon) if colon >= host_start && !authority[colon..].contains(']') => colon,
        _ => authority.len(),
    };
    let bare = &authority[..host_end];
    let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let port = if host_end < authority.len() { &authority[host_end..] } else { default_port };
    vec![format!("{scheme}://{bare}{tail}"), format!("{scheme}://{bare}{port}{tail}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn the_example_of_twilios_documentation_verifies() {
        let params = params(&[
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675310"),
            ("Digits", "1234"),
            ("From", "+14158675310"),
            ("To", "+18005551212"),
        ]);
        let url = "https://example.com/myapp.php?foo=1&bar=2";
        let header = Some("L/OH5YylLD5NRKLltdqwSvS0BnU=");
        assert!(verify(&["12345"], url, &params, header));
        assert!(verify(&["other", "12345"], url, &params, header), "any of the keys");
        assert!(!verify(&["other"], url, &params, header));
        assert!(!verify(&["12345"], "https://example.com/myapp.php?foo=1", &params, header));
        assert!(!verify(&["12345"], url, &params[1..], header));
        for header in [None, Some(""), Some("not base64!")] {
            assert!(!verify(&["12345"], url, &params, header));
        }
    }

    #[test]
    fn the_port_may_be_there_or_not() {
        assert_eq!(url_forms("https://h/p?q#f"), ["https://h/p?q", "https://h:443/p?q"]);
        assert_eq!(url_forms("http://h:8080"), ["http://h", "http://h:8080"]);
        assert_eq!(url_forms("https://u:p@[::1]:9/x"), ["https://u:p@[::1]/x", "https://u:p@[::1]:9/x"]);
        assert_eq!(url_forms("https://[::1]/x"), ["https://[::1]/x", "https://[::1]:443/x"]);
    }
}
