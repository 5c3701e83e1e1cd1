//! A person on WhatsApp: a stack that is set up for Twilio, with a fake of it.

use reqwest::Client;
use system_tests::process::binary;
use system_tests::stack::{BOUND, Plan, Stack};
use system_tests::twilio::{FakeTwilio, Sent, signed_webhook};
use system_tests::wait::wait_for;
use tokio::process::Command;

/// The Twilio account.
pub(crate) const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
/// Signs its webhooks.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Our sender.
pub(crate) const SENDER: &str = "whatsapp:+14155238886";
/// The person who may write.
pub(crate) const PERSON: &str = "whatsapp:+15551230000";

/// The person, the provider and everything behind it.
pub(crate) struct Phone {
    pub(crate) twilio: FakeTwilio,
    pub(crate) stack: Stack,
}

/// The answer to a webhook.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

impl Phone {
    /// Start everything. A second auth token stands first, as while one is being replaced; an API key is used for sending.
    pub(crate) async fn ready() -> Self {
        Self::ready_with(|plan| plan).await
    }

    /// With more settings.
    pub(crate) async fn ready_with(settings: impl FnOnce(Plan) -> Plan) -> Self {
        let twilio = FakeTwilio::start(ACCOUNT, TOKEN).await;
        Self::over(twilio, settings).await
    }

    /// With the templates that `relay admin twilio-template` makes.
    pub(crate) async fn with_template() -> Self {
        let twilio = FakeTwilio::start(ACCOUNT, TOKEN).await;
        let templates = twilio.make_templates(SENDER).await;
        let set = |plan: Plan, (name, value): (String, String)| plan.relay(&name, value);
        Self::over(twilio, |plan| templates.into_iter().fold(plan, set)).await
    }

    /// With this fake.
    pub(crate) async fn over(twilio: FakeTwilio, settings: impl FnOnce(Plan) -> Plan) -> Self {
        let plan = Plan::default()
            .relay("TWILIO_ACCOUNT_SID", ACCOUNT)
            .relay("TWILIO_AUTH_TOKEN", format!("a-new-token-not-yet-in-use,{TOKEN}"))
            .relay("TWILIO_API_KEY", ACCOUNT)
            .relay("TWILIO_API_SECRET", TOKEN)
            .relay("TWILIO_FROM", SENDER)
            .relay("TWILIO_API_URL", twilio.url())
            .relay("TWILIO_CONTENT_URL", twilio.url())
            .relay("TWILIO_MESSAGING_URL", twilio.url())
            .relay("TWILIO_MEDIA_HOSTS", twilio.media_host())
            .relay("TWILIO_MESSAGES_PER_SECOND", "1000")
            .relay("ALLOWED_PHONE_NUMBERS", "+15551230000");
        Self { stack: Stack::start(settings(plan)).await, twilio }
    }

    /// Where Twilio posts.
    pub(crate) fn webhook_url(&self) -> String {
        format!("{}/webhook", self.stack.relay_url())
    }

    /// Write, with these parameters beside those that every message has.
    pub(crate) async fn write(&self, sid: &str, extra: &[(&str, &str)]) {
        assert_eq!(self.write_as(PERSON, sid, extra).await.status, 200);
    }

    /// As [`Phone::write`], under another name; the answer to the webhook.
    pub(crate) async fn write_as(&self, from: &str, sid: &str, extra: &[(&str, &str)]) -> Answered {
        let mut params = vec![("MessageSid", sid), ("AccountSid", ACCOUNT), ("From", from)];
        params.extend(extra);
        let webhook = signed_webhook(TOKEN, &self.webhook_url(), &params);
        self.post(Some(&webhook.signature), webhook.body).await
    }

    /// Post a form as it is.
    pub(crate) async fn post(&self, signature: Option<&str>, body: String) -> Answered {
        let form = "application/x-www-form-urlencoded";
        let mut request = Client::new().post(self.webhook_url()).header("content-type", form).body(body);
        if let Some(signature) = signature {
            request = request.header("x-twilio-signature", signature);
        }
        let answer = request.send().await.expect("the relay answers");
        let content_type = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        Answered {
            status: answer.status().as_u16(),
            content_type: content_type.to_owned(),
            body: answer.text().await.expect("a text"),
        }
    }

    /// The first message that holds `text`.
    pub(crate) async fn reads(&self, text: &str) -> Sent {
        wait_for(&format!("the phone to show {text:?}"), BOUND, async || {
            let sent = self.twilio.sent();
            sent.iter().find(|sent| sent.body.contains(text)).cloned().ok_or(sent)
        })
        .await
    }

    /// One of the counts that an operator can see.
    pub(crate) async fn count(&self, name: &str) -> i64 {
        let listing = self.listing().await;
        listing["stats"][name].as_i64().unwrap_or_else(|| panic!("{name} is not in {listing}"))
    }

    /// The phase of the one conversation that there is; empty when there is none.
    pub(crate) async fn phase(&self) -> String {
        self.listing().await["conversations"][0]["phase"].as_str().unwrap_or_default().to_owned()
    }

    /// Nobody is at work on anything.
    pub(crate) async fn at_rest(&self) {
        wait_for("the conversation to be at rest", BOUND, async || match self.count("held").await {
            0 => Ok(()),
            held => Err(held),
        })
        .await;
    }

    /// `relay admin`, with what the relay knows; whether it ended well, and all that it printed.
    pub(crate) async fn admin(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new(binary("relay"))
            .arg("admin")
            .args(args)
            .env_clear()
            .env("STATE_STORE", format!("sqlite:{}", self.stack.database().display()))
            .env("RELAY_SECRET", system_tests::stack::SECRET)
            .env("TWILIO_ACCOUNT_SID", ACCOUNT)
            .env("TWILIO_AUTH_TOKEN", TOKEN)
            .env("TWILIO_FROM", SENDER)
            .env("TWILIO_API_URL", self.twilio.url())
            .env("TWILIO_CONTENT_URL", self.twilio.url())
            .env("ALLOWED_PHONE_NUMBERS", "+15551230000")
            .output()
            .await
            .expect("the relay's program starts");
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    async fn listing(&self) -> serde_json::Value {
        let output = Command::new(binary("relay"))
            .args(["admin", "conversations", "--json"])
            .env_clear()
            .env("STATE_STORE", format!("sqlite:{}", self.stack.database().display()))
            .output()
            .await
            .expect("the relay's program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}
