//! Webhooks as Twilio posts them: signed for the address that Twilio was told, which is the edge's, wherever they go.

use std::time::Duration;

use reqwest::Client;

use crate::twilio::signed_webhook;
use crate::wait::wait_until;

/// The Twilio account.
pub const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
/// Signs its webhooks.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Twilio gives a webhook up after this long.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Posts webhooks.
#[derive(Clone, Debug)]
pub struct Post {
    client: Client,
    edge: String,
    relays: Vec<String>,
}

impl Post {
    pub(super) fn new(edge: String, relays: Vec<String>) -> Self {
        let client = Client::builder().no_proxy().timeout(TIMEOUT).build().expect("a plain client");
        Self { client, edge, relays }
    }

    /// Give a webhook up after this long instead.
    #[must_use]
    pub fn patience(mut self, timeout: Duration) -> Self {
        self.client = Client::builder().no_proxy().timeout(timeout).build().expect("a plain client");
        self
    }

    /// A text of this person, through the edge; the status, or `None` when there was no answer.
    pub async fn write(&self, person: &str, sid: &str, body: &str) -> Option<u16> {
        self.post(&self.edge, person, sid, body).await
    }

    /// A text of this person, at one relay.
    pub async fn write_via(&self, relay: usize, person: &str, sid: &str, body: &str) -> Option<u16> {
        self.post(&self.relays[relay], person, sid, body).await
    }

    /// A text of this person, through the edge, again and again until it is accepted.
    ///
    /// # Panics
    /// When it is not accepted within `bound`.
    pub async fn deliver(&self, person: &str, sid: &str, body: &str, bound: Duration) {
        wait_until("a webhook to be accepted", bound, async || self.write(person, sid, body).await == Some(200)).await;
    }

    /// A button that this person presses, through the edge.
    pub async fn press(&self, person: &str, sid: &str, payload: &str) -> Option<u16> {
        let more = [("Body", "a button"), ("ButtonText", "a button"), ("ButtonPayload", payload)];
        self.form(&self.edge, person, sid, &more).await
    }

    async fn post(&self, to: &str, person: &str, sid: &str, body: &str) -> Option<u16> {
        self.form(to, person, sid, &[("Body", body)]).await
    }

    async fn form(&self, to: &str, person: &str, sid: &str, more: &[(&str, &str)]) -> Option<u16> {
        let mut params = vec![("MessageSid", sid), ("AccountSid", ACCOUNT), ("From", person), ("NumMedia", "0")];
        params.extend(more);
        let webhook = signed_webhook(TOKEN, &format!("{}/webhook", self.edge), &params);
        let request = self
            .client
            .post(format!("{to}/webhook"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-twilio-signature", webhook.signature)
            .body(webhook.body);
        let answer = request.send().await.ok()?;
        Some(answer.status().as_u16())
    }
}
