//! Takes what runs report to the relay: in order per run, again and again until it is taken, one call at a time. It never
//! changes a run; the journal says what waits.

use std::time::Duration;

use axum::http::header;
use relay_core::id::RunId;
use relay_core::protocol::{Report, signature};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::clock;
use crate::runs::Runs;

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Delivers reports to one relay address.
#[derive(Debug)]
pub struct Publisher {
    runs: Runs,
    relay_url: Url,
    secret: SecretString,
    client: reqwest::Client,
}

enum Delivery {
    Taken,
    /// The relay will never take it.
    Refused(StatusCode),
    Failed(String),
}

impl Publisher {
    /// Delivers what `runs` have to report.
    pub fn new(runs: Runs, relay_url: Url, secret: SecretString) -> reqwest::Result<Self> {
        let client =
            reqwest::Client::builder().timeout(CALL_TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { runs, relay_url, secret, client })
    }

    /// Deliver for ever.
    pub async fn run(self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            // Taken before looking, so that what is appended while looking is not missed.
            let appended = self.runs.appended();
            if self.pass().await {
                backoff = BACKOFF_MIN;
                appended.await;
            } else {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }

    /// Deliver what waits, run by run; false when something had to be left for later. A run that is stuck does not hold the
    /// others up.
    async fn pass(&self) -> bool {
        let mut all = true;
        for run in self.runs.reporting() {
            all &= self.deliver_run(&run).await;
        }
        all
    }

    async fn deliver_run(&self, run: &RunId) -> bool {
        while let Some(report) = self.runs.next_report(run) {
            match self.deliver(&report).await {
                Delivery::Taken => {}
                Delivery::Refused(status) => {
                    tracing::error!(%run, seq = report.seq, %status, "the relay refuses a report; leaving it out");
                }
                Delivery::Failed(error) => {
                    tracing::warn!(%run, seq = report.seq, error, "a report is not delivered yet");
                    return false;
                }
            }
            self.runs.delivered(run, report.seq);
        }
        true
    }

    async fn deliver(&self, report: &Report) -> Delivery {
        let body = match serde_json::to_vec(report) {
            Ok(body) => body,
            Err(error) => return Delivery::Failed(error.to_string()),
        };
        let mut address = self.relay_url.clone();
        address.set_path(&format!("{}/callback/{}", self.relay_url.path().trim_end_matches('/'), report.run));
        let secret = self.secret.expose_secret().as_bytes();
        let signed = signature::sign(secret, clock::now(), "POST", address.path(), &body);
        let call = self.client.post(address).header(header::CONTENT_TYPE, "application/json");
        match call.header(signature::HEADER, signed).body(body).send().await {
            Ok(answer) => judge(answer.status()),
            Err(error) => Delivery::Failed(error.without_url().to_string()),
        }
    }
}

/// Refused for good are only answers that are about the report itself. A wrong clock, secret or address, an overloaded
/// relay, and a proxy without a relay behind it can all be mended.
fn judge(status: StatusCode) -> Delivery {
    match status {
        status if status.is_success() => Delivery::Taken,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Delivery::Refused(status)
        }
        status => Delivery::Failed(status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_about_the_report_itself_ends_the_tries() {
        for (code, taken, refused) in [
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
            assert_eq!(matches!(delivery, Delivery::Taken), taken, "{code}");
            assert_eq!(matches!(delivery, Delivery::Refused(_)), refused, "{code}");
        }
    }
}
