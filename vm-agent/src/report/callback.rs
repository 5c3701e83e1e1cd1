//! Reports as signed calls of one relay.

use std::time::Duration;

use axum::http::header;
use relay_core::protocol::{Report, signature};
use relay_core::telemetry::calls::{Call, Unanswered};
use relay_core::telemetry::traces;
use relay_core::trace;
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use tracing::Instrument;
use url::Url;

use super::Delivery;
use crate::clock;

const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls the relay at one address.
#[derive(Debug)]
pub struct Callback {
    relay_url: Url,
    secret: SecretString,
    client: reqwest::Client,
}

impl Callback {
    /// Calls the relay at `relay_url`, signed with `secret`.
    pub fn new(relay_url: Url, secret: SecretString) -> reqwest::Result<Self> {
        let client =
            reqwest::Client::builder().timeout(CALL_TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { relay_url, secret, client })
    }

    pub(super) async fn deliver(&self, report: &Report) -> Delivery {
        let body = match serde_json::to_vec(report) {
            Ok(body) => body,
            Err(error) => return Delivery::Failed(error.to_string()),
        };
        let mut address = self.relay_url.clone();
        address.set_path(&format!("{}/callback/{}", self.relay_url.path().trim_end_matches('/'), report.run));
        let secret = self.secret.expose_secret().as_bytes();
        let signed = signature::sign(secret, clock::now(), "POST", address.path(), &body);
        let mut call = Call::new("POST", &address, "/callback");
        let mut request = self.client.post(address).header(header::CONTENT_TYPE, "application/json");
        if let Some(trace) = traces::of(call.span()) {
            request = request.header(trace::HEADER, trace.to_string());
        }
        match request.header(signature::HEADER, signed).body(body).send().instrument(call.span().clone()).await {
            Ok(answer) => {
                call.answered(answer.status().as_u16());
                judge(answer.status())
            }
            Err(error) => {
                call.unanswered(Unanswered::told(error.is_connect(), error.is_timeout()));
                Delivery::Failed(error.without_url().to_string())
            }
        }
    }
}

/// Refused for good are only answers that are about the report itself. A wrong clock, secret or address, an overloaded
/// relay, and a proxy without a relay behind it can all be mended.
fn judge(status: StatusCode) -> Delivery {
    match status {
        status if status.is_success() => Delivery::Delivered,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Delivery::Refused(answered(status))
        }
        status => Delivery::Failed(answered(status)),
    }
}

fn answered(status: StatusCode) -> String {
    format!("the relay answers {status}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_about_the_report_itself_ends_the_tries() {
        for (code, delivered, refused) in [
            (204, true, false),
            (200, true, false),
            (400, false, true),
            (413, false, true),
            (422, false, true),
            (401, false, false),
            (403, false, false),
            (404, false, false),
            (405, false, false),
            (408, false, false),
            (409, false, false),
            (429, false, false),
            (302, false, false),
            (500, false, false),
            (503, false, false),
        ] {
            let delivery = judge(StatusCode::from_u16(code).unwrap());
            assert_eq!(matches!(delivery, Delivery::Delivered), delivered, "{code}");
            assert_eq!(matches!(delivery, Delivery::Refused(_)), refused, "{code}");
        }
    }
}
