//! The buttons: a quick-reply template of Twilio's Content API, one for every approval. Where it can't be used, typed words do.

use std::sync::{Mutex, PoisonError};

use relay_core::machine::Choice;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::api::{Api, ApiError};
use crate::http::under;

/// The template with the buttons, if there is one.
pub struct Template {
    /// `None` when there is none or it is of no use.
    sid: Mutex<Option<String>>,
    /// Why it is of no use.
    concern: Mutex<Option<String>>,
}

/// What Twilio answers to a new template.
#[derive(Deserialize)]
struct Created {
    sid: String,
}

impl Template {
    /// The template called `sid`.
    pub fn new(sid: Option<String>) -> Self {
        Self { sid: Mutex::new(sid), concern: Mutex::new(None) }
    }

    /// Its name and what to fill it with; `None` where there is no template.
    pub fn variables(&self, choice: &Choice, body: &str) -> Option<(String, String)> {
        let sid = self.sid.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let variables = json!({ "1": body, "2": format!("{}:{}", choice.run, choice.tree) });
        Some((sid, variables.to_string()))
    }

    /// Twilio does not know it, or does not let it be used: say so once, and do without from now on.
    pub fn is_of_no_use(&self, code: Option<u32>) {
        if self.sid.lock().unwrap_or_else(PoisonError::into_inner).take().is_none() {
            return;
        }
        let concern = format!(
            "The template in TWILIO_APPROVAL_CONTENT_SID can't be used (Twilio error {}), so people answer by typing: \
             make one with `relay admin twilio-template`, set its name, and start the relay again.",
            code.unwrap_or_default()
        );
        tracing::warn!("{concern}");
        *self.concern.lock().unwrap_or_else(PoisonError::into_inner) = Some(concern);
    }

    /// Why it is of no use, if it is not.
    pub fn concern(&self) -> Option<String> {
        self.concern.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ask Twilio for it.
    pub async fn check(&self, api: &Api) {
        let Some(sid) = self.sid.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return };
        let url = under(&api.config.content_url, &format!("/v1/Content/{sid}"));
        let found = api.call(api.request(Method::GET, url)).await;
        // That we may not look says nothing of whether it can be used.
        if let Err(ApiError::Refused { code, status: StatusCode::NOT_FOUND, .. }) = found {
            self.is_of_no_use(code);
        }
    }
}

/// Make the template; its name.
pub async fn create(api: &Api) -> Result<String, ApiError> {
    let url: Url = under(&api.config.content_url, "/v1/Content");
    let created: Created = api.json(api.request(Method::POST, url).json(&definition())).await?;
    Ok(created.sid)
}

/// One text, and a button for each answer. What a button stands for names the run and the diff, so that an old one is known as
/// old.
fn definition() -> Value {
    let button = |title: &str, id: &str| json!({ "type": "QUICK_REPLY", "title": title, "id": id });
    json!({
        "friendly_name": "textslash_approval",
        "language": "en",
        "variables": { "1": "Run 1: 3 files, +42 −7. Approve or reject?", "2": "run:tree" },
        "types": {
            "twilio/quick-reply": {
                "body": "{{1}}",
                "actions": [button("Approve", "approve:{{2}}"), button("Reject", "reject:{{2}}"), button("Show diff", "diff")],
            }
        },
    })
}
