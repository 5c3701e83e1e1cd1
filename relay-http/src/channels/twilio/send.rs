//! Sending by Twilio's Messages API (`POST /2010-04-01/Accounts/{sid}/Messages.json`).

use relay_core::id::MessageId;
use relay_core::machine::Outcome;
use reqwest::Method;
use serde::Deserialize;

use super::api::{Api, ApiError};
use super::errors::{self, Meaning};
use super::template::{Filled, Templates};
use crate::channels::Outgoing;

/// While Twilio does not accept us, what needs it waits so long between two looks.
pub(super) const CREDENTIALS_PAUSE_MS: u64 = 30_000;

/// Has Twilio tell again what nobody took, for as long as it tries at all (Twilio docs, "Webhooks connection overrides").
pub(super) const TELL_AGAIN: &str = "#rc=5&rp=all";

/// Names the template of a message in the address of its receipts: whichever relay hears of it knows which one failed.
pub(super) const TEMPLATE: &str = "template";

/// What Twilio answers to a message that it takes.
#[derive(Deserialize)]
struct Created {
    sid: String,
}

/// Hand one message over: with buttons where it has some and a template is there, else as text.
pub(super) async fn send(api: &Api, templates: &Templates, public_url: &str, message: &Outgoing<'_>) -> Outcome {
    let Some(Filled { sid, variables }) = templates.fill(message.say, &body(message)) else {
        return post(api, &text_form(api, public_url, message)).await;
    };
    let mut form = address_form(api, public_url, message, &format!("?{TEMPLATE}={sid}"));
    form.extend([("ContentSid", sid.clone()), ("ContentVariables", variables)]);
    match create(api, &form).await {
        Err(ApiError::Refused { code, meaning: meaning @ (Meaning::Template | Meaning::Variables), .. }) => {
            if meaning == Meaning::Template {
                templates.is_of_no_use(&sid, code);
            }
            post(api, &text_form(api, public_url, message)).await
        }
        answer => outcome(answer),
    }
}

type Form = Vec<(&'static str, String)>;

/// `query` is told back with whatever becomes of the message.
fn address_form(api: &Api, public_url: &str, message: &Outgoing<'_>, query: &str) -> Form {
    let (conversation, effect) = (message.conversation, message.effect.0);
    vec![
        ("To", message.to.name.clone()),
        ("From", api.config.from.clone()),
        ("StatusCallback", format!("{public_url}/receipt/{conversation}/{effect}{query}{TELL_AGAIN}")),
    ]
}

fn text_form(api: &Api, public_url: &str, message: &Outgoing<'_>) -> Form {
    let mut form = address_form(api, public_url, message, "");
    let body = body(message);
    if !body.is_empty() {
        form.push(("Body", body));
    }
    if let Some(picture) = &message.picture {
        form.push(("MediaUrl", picture.to_string()));
    }
    form
}

/// Text and code as one body; nothing with a document, for which WhatsApp has no caption (Twilio docs, "WhatsApp media
/// messages"). Fences inside the code would end it early, so they are broken up.
pub(super) fn body(message: &Outgoing<'_>) -> String {
    if message.say.document {
        return String::new();
    }
    let fenced = message.say.code.as_deref().map(|code| format!("```\n{}\n```", code.trim_end().replace("```", "'''")));
    match (message.text(), fenced) {
        (text, Some(code)) if text.is_empty() => code,
        (text, Some(code)) => format!("{text}\n{code}"),
        (text, None) => text,
    }
}

async fn post(api: &Api, form: &Form) -> Outcome {
    outcome(create(api, form).await)
}

async fn create(api: &Api, form: &Form) -> Result<Created, ApiError> {
    api.json(api.request(Method::POST, api.account("/Messages.json")).form(form)).await
}

/// What becomes of a message that could not be looked for: it is in doubt still, and what is no failed try does not count as one.
pub(super) fn not_now(error: ApiError) -> Outcome {
    match error {
        ApiError::Busy(retry_after_ms) => Outcome::busy(retry_after_ms),
        ApiError::Refused { meaning: Meaning::Credentials, .. } => Outcome::Delayed { pause_ms: CREDENTIALS_PAUSE_MS },
        ApiError::NoAnswer(retry_after_ms) => Outcome::NoAnswer { waited_ms: 0, retry_after_ms },
        ApiError::NotConnected | ApiError::Refused { .. } => Outcome::NO_ANSWER,
    }
}

fn outcome(answer: Result<Created, ApiError>) -> Outcome {
    match answer {
        Ok(created) => match MessageId::parse(created.sid) {
            Ok(message) => Outcome::Sent { message },
            Err(_) => Outcome::NO_ANSWER,
        },
        Err(ApiError::NoAnswer(retry_after_ms)) => Outcome::NoAnswer { waited_ms: 0, retry_after_ms },
        Err(ApiError::NotConnected) => Outcome::busy(None),
        Err(ApiError::Busy(retry_after_ms)) => Outcome::busy(retry_after_ms),
        Err(ApiError::Refused { meaning: Meaning::Credentials, .. }) => {
            Outcome::Delayed { pause_ms: CREDENTIALS_PAUSE_MS }
        }
        Err(ApiError::Refused { meaning: Meaning::Failure(failure), .. }) => Outcome::Undelivered { failure },
        Err(ApiError::Refused { code, meaning: Meaning::Template | Meaning::Variables, .. }) => {
            Outcome::Undelivered { failure: errors::given_up(code) }
        }
    }
}

#[cfg(test)]
mod tests {
    use relay_core::id::{Address, ChannelKind, ConversationId, EffectSeq};
    use relay_core::machine::Say;

    use super::*;

    #[test]
    fn code_is_fenced_and_cannot_end_its_fence() {
        let (to, conversation) =
            (Address { channel: ChannelKind::Twilio, name: "a".into() }, ConversationId::parse("c").unwrap());
        let shown = |text: &str, code: Option<&str>, links: [Option<&str>; 3]| {
            let say = Say { text: text.into(), code: code.map(str::to_owned), ..Say::default() };
            let [page, review, follow] = links.map(|address| address.map(|address| address.parse().unwrap()));
            let (effect, picture) = (EffectSeq(1), None);
            body(&Outgoing { to: &to, conversation: &conversation, effect, say: &say, picture, page, review, follow })
        };
        let none = [None, None, None];
        assert_eq!(shown("hi", None, none), "hi");
        assert_eq!(shown("hi", Some("a\n```\nb\n"), none), "hi\n```\na\n'''\nb\n```");
        assert_eq!(shown("", Some("x"), none), "```\nx\n```");
        let paged = shown("All of it:", None, [Some("https://h/pages/1"), None, None]);
        assert_eq!(paged, "All of it: https://h/pages/1");
        let reviewed = shown("Done.", Some("x"), [None, Some("https://h/r/1.0.2"), None]);
        assert_eq!(reviewed, "Done.\nReview: https://h/r/1.0.2\n```\nx\n```");
        let followed = shown("Working.", None, [None, None, Some("https://h/runs/a-1-1?key=1.0.2")]);
        assert_eq!(followed, "Working.\nFollow it: https://h/runs/a-1-1?key=1.0.2");
    }
}
