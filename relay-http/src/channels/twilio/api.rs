//! Calls to Twilio's REST API: who we are, where things are, and what an answer says.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use relay_core::telemetry::calls::{Call, Unanswered};
use relay_core::time::Timestamp;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tracing::Instrument;
use url::Url;

use super::errors::{self, Meaning};
use crate::clock;
use crate::config::TwilioConfig;
use crate::http::{read_up_to, why};

/// An answer is read up to here; a page of the list of messages is the largest.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Twilio's API, with our credentials.
pub struct Api {
    http: reqwest::Client,
    /// What we are told from outside.
    pub config: TwilioConfig,
    /// Why Twilio does not accept us, as long as it does not.
    refused: Mutex<Option<String>>,
}

/// Why a call came to nothing.
#[derive(Debug)]
pub enum ApiError {
    /// Nobody answered, or not in a way that can be read: it may have been carried out. Where something stood in for the answer
    /// that asked for a pause, that pause.
    NoAnswer(Option<u64>),
    /// The call never left: nobody listens there.
    NotConnected,
    /// It was refused for now; that long, if it was said.
    Busy(Option<u64>),
    /// It was refused.
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// Twilio's code.
        code: Option<u32>,
        /// What it means for a message.
        meaning: Meaning,
    },
}

/// The body of an error answer.
#[derive(Deserialize)]
struct ErrorBody {
    code: Option<u32>,
}

impl Api {
    /// Call as `config` says, over `http`.
    pub fn new(http: reqwest::Client, config: TwilioConfig) -> Self {
        Self { http, config, refused: Mutex::new(None) }
    }

    /// The address of something below our account.
    pub fn account(&self, path: &str) -> Url {
        crate::http::under(&self.config.api_url, &format!("/2010-04-01/Accounts/{}{path}", self.config.account_sid))
    }

    /// A request with our credentials.
    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.config.api_key {
            Some((key, secret)) => request.basic_auth(key, Some(secret.expose_secret())),
            None => request.basic_auth(&self.config.account_sid, Some(self.config.auth_tokens[0].expose_secret())),
        }
    }

    /// A request without credentials.
    pub fn anonymous(&self, url: Url) -> RequestBuilder {
        self.http.get(url)
    }

    /// The body of a successful answer.
    pub async fn call(&self, request: RequestBuilder) -> Result<Bytes, ApiError> {
        let request = request.build().map_err(|_| ApiError::NotConnected)?;
        let mut call = Call::new(request.method().as_str(), request.url(), template(request.url()));
        let sent = self.http.execute(request).instrument(call.span().clone()).await;
        let response = sent.map_err(|error| {
            call.unanswered(why(&error));
            if error.is_connect() { ApiError::NotConnected } else { ApiError::NoAnswer(None) }
        })?;
        let status = response.status();
        call.answered(status.as_u16());
        if status.is_success() {
            self.accepted();
            return read_up_to(response, ANSWER_BYTES_MAX).await.map_err(|_| {
                call.unanswered(Unanswered::Broken);
                ApiError::NoAnswer(None)
            });
        }
        Err(self.refusal(response).await)
    }

    /// The same, as JSON.
    pub async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ApiError> {
        let body = self.call(request).await?;
        serde_json::from_slice(&body).map_err(|_| ApiError::NoAnswer(None))
    }

    /// Why Twilio does not accept our credentials, if it does not.
    pub fn concern(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What an answer says that is none of those hoped for.
    pub(super) async fn refusal(&self, response: Response) -> ApiError {
        let status = response.status();
        let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after_ms = asked.and_then(|asked| retry_after_ms(asked, clock::machine()));
        if status == StatusCode::TOO_MANY_REQUESTS {
            return ApiError::Busy(retry_after_ms);
        }
        if status.is_server_error() {
            // It may have been carried out all the same.
            return ApiError::NoAnswer(retry_after_ms);
        }
        let body = read_up_to(response, ANSWER_BYTES_MAX).await.unwrap_or_default();
        let code = serde_json::from_slice::<ErrorBody>(&body).ok().and_then(|body| body.code);
        let meaning = match errors::meaning(code, Some(status.as_u16())) {
            _ if status == StatusCode::UNAUTHORIZED => Meaning::Credentials,
            meaning => meaning,
        };
        if meaning == Meaning::Credentials {
            self.not_accepted(status, code);
        }
        ApiError::Refused { status, code, meaning }
    }

    fn not_accepted(&self, status: StatusCode, code: Option<u32>) {
        let concern = format!(
            "Twilio does not accept the credentials (HTTP {}, error {}): check TWILIO_ACCOUNT_SID and TWILIO_API_KEY with \
             TWILIO_API_SECRET, or TWILIO_AUTH_TOKEN. Messages wait until it does.",
            status.as_u16(),
            code.unwrap_or_default()
        );
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.replace(concern.clone()).is_none() {
            tracing::error!("{concern}");
        }
    }

    /// Twilio has answered as it does to whom it knows.
    pub(super) fn accepted(&self) {
        if self.refused.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("Twilio accepts the credentials again");
        }
    }
}

/// The pause that `Retry-After` asks for: seconds, or an instant (RFC 9110, section 10.2.3).
fn retry_after_ms(asked: &str, now: Timestamp) -> Option<u64> {
    let seconds = asked.trim().parse().ok().map(|seconds: u64| seconds.saturating_mul(1_000));
    seconds.or_else(|| Some(instant(asked)?.as_millis().saturating_sub(now.as_millis())))
}

/// The instant that Twilio writes as `Sun, 22 Nov 2026 12:00:00 +0000`.
pub fn instant(text: &str) -> Option<Timestamp> {
    let at = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    u64::try_from(at.unix_timestamp()).ok().map(|seconds| Timestamp(seconds.saturating_mul(1_000)))
}

/// The day of an instant, as Twilio's lists are asked for it.
pub fn day(at: Timestamp) -> String {
    let seconds = i64::try_from(at.as_millis() / 1_000).unwrap_or(i64::MAX);
    let date = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH).date();
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

/// What an address of Twilio's is for, without whose it is.
fn template(url: &Url) -> &'static str {
    match url.path() {
        path if path.ends_with("/Messages.json") => "/Messages.json",
        path if path.contains("/Messages/") => "/Messages/{sid}",
        _ => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_days_are_twilios() {
        assert_eq!(instant("Sun, 22 Nov 2026 12:00:00 +0000"), Some(Timestamp(1_795_348_800_000)));
        assert_eq!(instant("yesterday"), None);
        let now = Timestamp(1_795_348_800_000);
        assert_eq!(retry_after_ms("30", now), Some(30_000));
        assert_eq!(retry_after_ms("Sun, 22 Nov 2026 12:00:05 GMT", now), Some(5_000));
        assert_eq!(retry_after_ms("Sun, 22 Nov 2026 11:00:00 GMT", now), Some(0));
        assert_eq!(retry_after_ms("soon", now), None);
        assert_eq!(day(Timestamp(1_795_348_800_000)), "2026-11-22");
    }
}
