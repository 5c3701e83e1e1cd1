//! WhatsApp by way of Twilio: webhooks in, the Messages API out.
//!
//! `inbound` reads webhooks, `signature` checks them; `send` hands messages over and `history` finds what was said before;
//! `media` fetches files; `template` has the buttons. What Twilio allows is in `limits`, what its error codes mean in `errors`.

use async_trait::async_trait;
use relay_core::id::MessageId;
use relay_core::machine::delivery::Delivery;
use relay_core::machine::{Attachment, Capabilities, Outcome};
use relay_core::time::Timestamp;
use reqwest::Method;
use secrecy::ExposeSecret;
use url::Url;

use crate::channels::media::{Media, MediaError};
use crate::channels::{Channel, Inbound, Incoming, Line, Outgoing};
use crate::config::TwilioConfig;
use crate::error::RequestError;
use crate::http::under;

pub mod api;
pub mod errors;
pub mod history;
pub mod inbound;
pub mod limits;
mod media;
mod send;
pub mod signature;
pub mod template;

use api::Api;
use errors::Meaning;
use template::Templates;

/// WhatsApp.
pub struct TwilioChannel {
    api: Api,
    templates: Templates,
    /// How the world reaches this relay, as Twilio was told.
    public_url: String,
}

impl TwilioChannel {
    /// WhatsApp as `config` says, over `http`, told of its messages at `public_url`.
    pub fn new(http: reqwest::Client, config: TwilioConfig, public_url: String) -> Self {
        let templates = Templates::new(&config);
        Self { api: Api::new(http, config), templates, public_url }
    }

    /// Whether Twilio accepts us, and has what we were told that it has. What is wrong is logged, and told by
    /// [`Channel::concerns`].
    pub async fn check(&self) {
        // A key of the usual kind may not look at the account itself.
        let account = self.api.request(Method::GET, self.api.account("/Messages.json")).query(&[("PageSize", "1")]);
        // Whoever can't be asked now is asked with the first message.
        if self.api.call(account).await.is_ok() {
            self.templates.check(&self.api).await;
        }
    }

    /// Twilio's API with our credentials.
    pub fn api(&self) -> &Api {
        &self.api
    }
}

#[async_trait]
impl Channel for TwilioChannel {
    fn capabilities(&self) -> Capabilities {
        limits::capabilities(&self.api.config)
    }

    fn receive(&self, request: &Incoming<'_>) -> Result<Inbound, RequestError> {
        let params: Vec<(String, String)> = form_urlencoded::parse(request.body).into_owned().collect();
        let keys: Vec<&str> = self.api.config.auth_tokens.iter().map(ExposeSecret::expose_secret).collect();
        let claimed = request.headers.get(signature::HEADER).and_then(|value| value.to_str().ok());
        if !signature::verify(&keys, &format!("{}{}", self.public_url, request.path), &params, claimed) {
            return Err(RequestError::WebhookSignature);
        }
        if params.iter().any(|(name, value)| name == "AccountSid" && *value != self.api.config.account_sid) {
            return Err(RequestError::WebhookSignature);
        }
        // Of a message that was taken and then failed: that the template was at fault is not told before.
        let code = params.iter().find(|(name, _)| name == "ErrorCode").and_then(|(_, value)| value.parse().ok());
        if let (Some(sid), Meaning::Template) = (inbound::template(request.path), errors::meaning(code, None)) {
            self.templates.is_of_no_use(sid, code);
        }
        inbound::parse(request.path, &params, &self.api.config.allowed).map_err(RequestError::Malformed)
    }

    async fn send(&self, message: Outgoing<'_>) -> Outcome {
        send::send(&self.api, &self.templates, &self.public_url, &message).await
    }

    async fn find(
        &self,
        message: &Outgoing<'_>,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<Option<MessageId>, Outcome> {
        history::find(&self.api, message, delivery, now).await.map_err(send::not_now)
    }

    async fn fetch(&self, attachment: &Attachment) -> Result<Media, MediaError> {
        media::fetch(&self.api, &attachment.source).await
    }

    /// In beta at Twilio, which also marks the message as read.
    async fn show_typing(&self, answering: &MessageId) {
        let url: Url = under(&self.api.config.messaging_url, "/v2/Indicators/Typing.json");
        let form = [("messageId", answering.as_str()), ("channel", "whatsapp")];
        // What this answers says nothing of messages: nobody heeds it.
        let _ = self.api.request(Method::POST, url).form(&form).send().await;
    }

    fn line(&self) -> Option<Line> {
        Some(Line { name: format!("twilio:{}", self.api.config.from), interval: self.api.config.send_interval })
    }

    fn concerns(&self) -> Vec<String> {
        self.api.concern().into_iter().chain(self.templates.concerns()).collect()
    }
}
