//! Files that people send: fetched from Twilio with our credentials, and from where Twilio then points to without them.

use reqwest::{Method, Response, StatusCode, header};
use url::Url;

use super::api::{Api, ApiError};
use super::errors::Meaning;
use super::send::CREDENTIALS_PAUSE_MS;
use crate::channels::media::{Media, MediaError};
use crate::http::{ReadError, read_up_to};
use relay_core::protocol::FILE_BYTES_MAX;

/// The file at `source`, which came with a webhook as `MediaUrl`.
pub(super) async fn fetch(api: &Api, source: &str) -> Result<Media, MediaError> {
    let url = Url::parse(source).map_err(|_| MediaError::ElsewhereNotAllowed)?;
    if url.origin() != api.config.api_url.origin() {
        return Err(MediaError::ElsewhereNotAllowed);
    }
    let no_answer = |_| MediaError::NoAnswer(None);
    let answer = api.request(Method::GET, url).send().await.map_err(no_answer)?;
    let answer = match (moved_to(&answer), answer.status()) {
        (Some(there), _) => {
            api.accepted();
            // One step, to Twilio's own hosts, and without the credentials, which are none of theirs.
            let there = there.filter(|there| is_allowed(there, &api.config.media_hosts));
            let there = there.ok_or(MediaError::ElsewhereNotAllowed)?;
            api.anonymous(there).send().await.map_err(no_answer)?
        }
        (None, StatusCode::NOT_FOUND | StatusCode::GONE) => return Err(MediaError::Gone),
        (None, status) if status.is_client_error() || status.is_server_error() => {
            return Err(refusal(api.refusal(answer).await));
        }
        (None, _) => answer,
    };
    match answer.status() {
        status if status.is_success() => {}
        StatusCode::NOT_FOUND | StatusCode::GONE => return Err(MediaError::Gone),
        status if status.is_redirection() => return Err(MediaError::ElsewhereNotAllowed),
        // Where we were sent, an address is good for a while only: the next try is given a new one.
        _ => return Err(MediaError::NoAnswer(None)),
    }
    if answer.content_length().is_some_and(|length| length > FILE_BYTES_MAX as u64) {
        return Err(MediaError::TooLarge);
    }
    let bytes = read_up_to(answer, FILE_BYTES_MAX).await.map_err(|error| match error {
        ReadError::Broken => MediaError::NoAnswer(None),
        ReadError::TooLarge => MediaError::TooLarge,
    })?;
    Media::of(bytes)
}

fn refusal(error: ApiError) -> MediaError {
    match error {
        ApiError::Busy(retry_after_ms) | ApiError::NoAnswer(retry_after_ms) => MediaError::NoAnswer(retry_after_ms),
        ApiError::Refused { meaning: Meaning::Credentials, .. } => MediaError::NotAccepted(CREDENTIALS_PAUSE_MS),
        ApiError::NotConnected | ApiError::Refused { .. } => MediaError::NoAnswer(None),
    }
}

/// Where the answer says that the file is, if it says so; nothing inside when that is no address.
fn moved_to(answer: &Response) -> Option<Option<Url>> {
    let moves = matches!(answer.status(), StatusCode::FOUND | StatusCode::TEMPORARY_REDIRECT);
    let location = answer.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
    moves.then(|| location.and_then(|location| Url::parse(location).ok()))
}

/// Named as `host` or `host:port`; https but for a host of this machine.
fn is_allowed(url: &Url, hosts: &[String]) -> bool {
    let Some(host) = url.host_str() else { return false };
    let named = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let is_safe = url.scheme() == "https" || matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    is_safe && url.username().is_empty() && hosts.contains(&named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_twilios_own_hosts_are_followed() {
        let hosts = ["mms.twiliocdn.com".to_owned(), "127.0.0.1:9".to_owned()];
        for (url, allowed) in [
            ("https://mms.twiliocdn.com/x?Signature=y", true),
            ("http://mms.twiliocdn.com/x", false),
            ("https://mms.twiliocdn.com.evil.example/x", false),
            ("https://evil.example/mms.twiliocdn.com", false),
            ("https://a@mms.twiliocdn.com/x", false),
            ("https://mms.twiliocdn.com:444/x", false),
            ("http://127.0.0.1:9/x", true),
            ("http://127.0.0.1:10/x", false),
            ("http://169.254.169.254/latest", false),
        ] {
            assert_eq!(is_allowed(&Url::parse(url).unwrap(), &hosts), allowed, "{url}");
        }
    }
}
