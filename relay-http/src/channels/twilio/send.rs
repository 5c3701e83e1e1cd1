//! Sending by Twilio's Messages API (`POST /2010-04-01/Accounts/{sid}/Messages.json`).

use async_trait::async_trait;
use relay_core::machine::Outcome;
use reqwest::{Response, StatusCode, header};
use secrecy::ExposeSecret;
use serde::Deserialize;
use url::Url;

use crate::channels::{Channel, Outgoing};
use crate::config::TwilioConfig;
use crate::http::read_up_to;

/// WhatsApp, outgoing.
pub struct TwilioChannel {
    http: reqwest::Client,
    config: TwilioConfig,
    endpoint: Url,
}

/// The body of an error answer.
#[derive(Deserialize)]
struct ErrorBody {
    code: Option<u32>,
}

/// Twilio's code for credentials that are not accepted: an operator's fault, so messages are tried again like those of a
/// busy provider, and can be redriven after that.
const AUTHENTICATION: u32 = 20003;
/// An error body is read up to here.
const ERROR_BYTES_MAX: usize = 16 * 1024;

impl TwilioChannel {
    /// Send as `config` says, over `http`.
    pub fn new(http: reqwest::Client, config: TwilioConfig) -> anyhow::Result<Self> {
        let path = format!("2010-04-01/Accounts/{}/Messages.json", config.account_sid);
        let endpoint = config.api_url.join(&path)?;
        Ok(Self { http, config, endpoint })
    }

    fn form(&self, message: &Outgoing<'_>) -> Vec<(&'static str, String)> {
        let mut form = vec![("To", message.to.name.clone()), ("From", self.config.from.clone())];
        let body = body(&message.say.text, message.say.code.as_deref());
        if !body.is_empty() {
            form.push(("Body", body));
        }
        if let Some(picture) = &message.picture {
            form.push(("MediaUrl", picture.to_string()));
        }
        form
    }
}

/// Text and code as one body. Fences inside the code would end it early, so they are broken up.
fn body(text: &str, code: Option<&str>) -> String {
    let fenced = code.map(|code| format!("```\n{}\n```", code.trim_end().replace("```", "'''")));
    match (text, fenced) {
        ("", Some(code)) => code,
        (text, Some(code)) => format!("{text}\n{code}"),
        (text, None) => text.to_owned(),
    }
}

#[async_trait]
impl Channel for TwilioChannel {
    async fn send(&self, message: Outgoing<'_>) -> Outcome {
        let request = self.http.post(self.endpoint.clone()).form(&self.form(&message));
        let request = match &self.config.api_key {
            Some((key, secret)) => request.basic_auth(key, Some(secret.expose_secret())),
            None => request.basic_auth(&self.config.account_sid, Some(self.config.auth_tokens[0].expose_secret())),
        };
        match request.send().await {
            Ok(response) if response.status().is_success() => Outcome::Done,
            Ok(response) => refused(response).await,
            Err(_) => Outcome::NoAnswer { waited_ms: 0 },
        }
    }
}

async fn refused(response: Response) -> Outcome {
    let status = response.status();
    let retry_after_ms = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|seconds| seconds.to_str().ok()?.parse::<u64>().ok())
        .map(|seconds| seconds.saturating_mul(1000));
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Outcome::busy(retry_after_ms);
    }
    let body = read_up_to(response, ERROR_BYTES_MAX).await.unwrap_or_default();
    let code = serde_json::from_slice::<ErrorBody>(&body).ok().and_then(|body| body.code);
    if status == StatusCode::UNAUTHORIZED || code == Some(AUTHENTICATION) {
        tracing::error!(
            code,
            "Twilio does not accept the credentials; messages are tried again, then kept as dead letters"
        );
        return Outcome::busy(retry_after_ms);
    }
    let message = code.map_or_else(|| format!("Twilio answered {status}"), |code| format!("Twilio error {code}"));
    Outcome::Refused { reason: None, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_fenced_and_cannot_end_its_fence() {
        assert_eq!(body("hi", None), "hi");
        assert_eq!(body("hi", Some("a\n```\nb\n")), "hi\n```\na\n'''\nb\n```");
        assert_eq!(body("", Some("x")), "```\nx\n```");
    }
}
