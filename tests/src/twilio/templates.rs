//! Templates of the Content API: made, looked at, filled in; and those that a relay's operator makes.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use axum::response::Response;
use serde_json::{Map, Value, json};
use tokio::process::Command;

use super::rest::refuse;
use super::{Account, FakeTwilio};
use crate::process::binary;
use crate::server::{self, Received};

/// Variables of a template, with their values, in UTF-16 units.
const VARIABLE_MAX: usize = 255;
/// The text of a template, filled in.
const TEXT_MAX: usize = 1_024;
/// Buttons of a template that nobody has approved.
const BUTTONS_MAX: usize = 3;
const TITLE_MAX: usize = 20;
const PAYLOAD_MAX: usize = 256;

/// What a template says with its variables.
#[derive(Default)]
pub(super) struct Filled {
    pub(super) body: String,
    /// What its buttons say.
    pub(super) titles: Vec<String>,
    /// What they stand for.
    pub(super) buttons: Vec<String>,
}

impl FakeTwilio {
    /// Make the templates that `relay admin twilio-template` makes for this account: the settings that name them.
    ///
    /// # Panics
    /// When it does not end well.
    pub async fn make_templates(&self, from: &str) -> Vec<(String, String)> {
        let output = Command::new(binary("relay"))
            .args(["admin", "twilio-template"])
            .env_clear()
            .env("TWILIO_ACCOUNT_SID", &self.account.sid)
            .env("TWILIO_AUTH_TOKEN", &self.account.token)
            .env("TWILIO_FROM", from)
            .env("TWILIO_CONTENT_URL", self.url())
            .env("ALLOWED_PHONE_NUMBERS", "+15551230000")
            .output()
            .await
            .expect("the relay's program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let settings = String::from_utf8_lossy(&output.stdout).into_owned();
        settings.lines().filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

impl Account {
    /// What a template says with these variables.
    pub(super) fn fill(&self, sid: &str, variables: &str) -> Result<Filled, Box<Response>> {
        let template = self.books().templates.get(sid).cloned();
        let template = template.ok_or_else(|| Box::new(refuse(400, 21655, "The ContentSid is invalid.")))?;
        let invalid = || Box::new(refuse(400, 21656, "The ContentVariables parameter is invalid."));
        let variables: Map<String, Value> = serde_json::from_str(variables).map_err(|_| invalid())?;
        let reply = &template["types"]["twilio/quick-reply"];
        let mut texts = vec![text(&reply["body"])];
        let actions: Vec<&Value> = reply["actions"].as_array().into_iter().flatten().collect();
        texts.extend(actions.iter().flat_map(|action| [text(&action["title"]), text(&action["id"])]));
        for (name, value) in &variables {
            let value = value.as_str().filter(|value| !value.is_empty()).ok_or_else(invalid)?;
            if value.contains(['\n', '\r', '\t']) || value.contains("     ") {
                return Err(invalid());
            }
            if units(value) > VARIABLE_MAX {
                return Err(Box::new(refuse(400, 21658, "A content variable is too long.")));
            }
            for text in &mut texts {
                *text = text.replace(&format!("{{{{{name}}}}}"), value);
            }
        }
        let body = texts.remove(0);
        let (titles, buttons): (Vec<String>, Vec<String>) =
            texts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).unzip();
        let titles_fit = titles.iter().all(|title| !title.trim().is_empty() && units(title) <= TITLE_MAX);
        let payloads_fit = buttons.iter().all(|button| !button.contains("{{") && units(button) <= PAYLOAD_MAX);
        let differ = titles.iter().collect::<BTreeSet<_>>().len() == titles.len();
        if !titles_fit || !payloads_fit || !differ || units(&body) > TEXT_MAX {
            return Err(invalid());
        }
        Ok(Filled { body, titles, buttons })
    }

    pub(super) fn make_template(&self, request: &Received) -> Response {
        let template = request.json();
        let reply = &template["types"]["twilio/quick-reply"];
        let is_button = |action: &Value| {
            action["type"] == "QUICK_REPLY"
                && action["title"].as_str().is_some_and(|title| !title.is_empty() && units(title) <= TITLE_MAX)
                && action["id"].is_string()
        };
        let has_buttons = reply["actions"]
            .as_array()
            .is_some_and(|actions| (1..=BUTTONS_MAX).contains(&actions.len()) && actions.iter().all(is_button));
        let has_examples = template["variables"].as_object().is_some_and(|all| all.values().all(Value::is_string));
        if !template["language"].is_string() || !reply["body"].is_string() || !has_buttons || !has_examples {
            return refuse(400, 20001, "Invalid request");
        }
        let sid = format!("HX{:032x}", self.numbers.fetch_add(1, Ordering::Relaxed));
        self.books().templates.insert(sid.clone(), template);
        server::json(201, json!({"sid": sid}))
    }

    pub(super) fn template(&self, sid: &str) -> Response {
        match self.books().templates.get(sid) {
            Some(template) => server::json(200, template.clone()),
            None => refuse(404, 20404, "The requested resource was not found"),
        }
    }
}
