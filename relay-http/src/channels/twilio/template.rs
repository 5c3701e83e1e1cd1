//! The buttons: quick-reply templates of Twilio's Content API, one for every approval, and one for the inquiries of each number of
//! options. Where one can't be used, typed words do.
//!
//! A template has a fixed number of buttons; what they say and stand for may be variables, so that two stored templates serve every
//! inquiry with two or three options. More than three buttons need an approval by WhatsApp, which a text of variables alone does
//! not get. A list would hold ten, but how a webhook tells of a picked item is not in Twilio's documentation. A template made for
//! each inquiry would be a call more, and leave what the agent asks at Twilio for good.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use relay_core::machine::{Asked, Choice, Say, split};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::api::{Api, ApiError};
use super::limits::{BUTTON_LINE_UNITS_MAX, TITLE_UNITS_MAX};
use crate::config::TwilioConfig;
use crate::config::twilio::{APPROVAL_CONTENT_SID, INQUIRY_CONTENT_SIDS};
use crate::http::under;

/// Options of an inquiry for which there are templates, in the order of their names in the setting.
pub const OPTIONS: [usize; 2] = [2, 3];

/// What the buttons of the template for approvals say and stand for.
const APPROVAL_BUTTONS: [(&str, &str); 3] =
    [("Approve", "approve:{{2}}"), ("Reject", "reject:{{2}}"), ("Show diff", "diff")];

/// A template, filled in.
pub struct Filled {
    /// Its name.
    pub sid: String,
    /// `ContentVariables`
    pub variables: String,
}

/// All templates with buttons.
pub struct Templates {
    approval: Template,
    inquiries: Vec<Template>,
}

/// One template, which is there or not.
struct Template {
    /// Where its name was set.
    setting: &'static str,
    /// Buttons that it needs to have.
    buttons: usize,
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

/// What Twilio has of a template.
#[derive(Deserialize)]
struct Stored {
    types: Types,
}

#[derive(Deserialize)]
struct Types {
    #[serde(rename = "twilio/quick-reply")]
    quick_reply: Option<QuickReply>,
}

#[derive(Deserialize)]
struct QuickReply {
    actions: Vec<Value>,
}

impl Stored {
    fn buttons(&self) -> usize {
        self.types.quick_reply.as_ref().map_or(0, |reply| reply.actions.len())
    }
}

impl Templates {
    /// Those that `config` names.
    pub fn new(config: &TwilioConfig) -> Self {
        let inquiries = config.inquiry_content_sids.iter().flatten().zip(OPTIONS);
        let inquiry =
            |(sid, options): (&String, usize)| Template::new(INQUIRY_CONTENT_SIDS, options, Some(sid.clone()));
        Self {
            approval: Template::new(APPROVAL_CONTENT_SID, APPROVAL_BUTTONS.len(), config.approval_content_sid.clone()),
            inquiries: inquiries.map(inquiry).collect(),
        }
    }

    /// The buttons of a message that reads `body`; `None` where it has none, or there is no template that can have them. A text
    /// that is no line goes without: where the machine knows of the buttons, they come on a line after it.
    pub fn fill(&self, say: &Say, body: &str) -> Option<Filled> {
        if say.typed || !split::is_line(body) || split::units(body) > BUTTON_LINE_UNITS_MAX {
            return None;
        }
        let (template, variables) = match (&say.choice, &say.asked) {
            (Some(choice), _) => (&self.approval, approval_variables(choice, body)),
            (None, Some(asked)) => {
                let at = OPTIONS.iter().position(|options| *options == asked.labels.len())?;
                (self.inquiries.get(at)?, inquiry_variables(asked, body))
            }
            (None, None) => return None,
        };
        Some(Filled { sid: template.sid()?, variables: Value::from(variables).to_string() })
    }

    /// Twilio does not know this template, or does not let it be used: say so once, and do without from now on.
    pub fn is_of_no_use(&self, sid: &str, code: Option<u32>) {
        for template in self.all().filter(|template| template.sid().as_deref() == Some(sid)) {
            template.is_of_no_use(sid, code);
        }
    }

    /// Why some are of no use, if they are not.
    pub fn concerns(&self) -> impl Iterator<Item = String> {
        self.all().filter_map(|template| template.concern.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Ask Twilio for all of them.
    pub async fn check(&self, api: &Api) {
        for template in self.all() {
            template.check(api).await;
        }
    }

    fn all(&self) -> impl Iterator<Item = &Template> {
        std::iter::once(&self.approval).chain(&self.inquiries)
    }
}

impl Template {
    fn new(setting: &'static str, buttons: usize, sid: Option<String>) -> Self {
        Self { setting, buttons, sid: Mutex::new(sid), concern: Mutex::new(None) }
    }

    fn sid(&self) -> Option<String> {
        self.sid.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_of_no_use(&self, sid: &str, code: Option<u32>) {
        self.give_up(format!(
            "The template {sid} in {} can't be used (Twilio error {}), so people answer by typing: clear the setting, make \
             another with `relay admin twilio-template`, set what it prints, and start the relay again.",
            self.setting,
            code.unwrap_or_default()
        ));
    }

    fn give_up(&self, concern: String) {
        if self.sid.lock().unwrap_or_else(PoisonError::into_inner).take().is_none() {
            return;
        }
        tracing::warn!("{concern}");
        *self.concern.lock().unwrap_or_else(PoisonError::into_inner) = Some(concern);
    }

    async fn check(&self, api: &Api) {
        let Some(sid) = self.sid() else { return };
        let url = under(&api.config.content_url, &format!("/v1/Content/{sid}"));
        match api.json::<Stored>(api.request(Method::GET, url)).await {
            Err(ApiError::Refused { code, status: StatusCode::NOT_FOUND, .. }) => self.is_of_no_use(&sid, code),
            // What the person presses would stand for something else than it says.
            Ok(stored) if stored.buttons() != self.buttons => self.give_up(format!(
                "The template {sid} in {} has {} buttons where {} are needed, so people answer by typing: set the names in \
                 the order in which `relay admin twilio-template` prints them, and start the relay again.",
                self.setting,
                stored.buttons(),
                self.buttons
            )),
            // That we may not look says nothing of whether it can be used.
            _ => {}
        }
    }
}

fn approval_variables(choice: &Choice, body: &str) -> Map<String, Value> {
    variables([body.to_owned(), format!("{}:{}", choice.run, choice.tree)])
}

fn inquiry_variables(asked: &Asked, body: &str) -> Map<String, Value> {
    let titles = titles(&asked.labels);
    variables([body.to_owned(), format!("{}:{}", asked.run, asked.number)].into_iter().chain(titles))
}

/// What the buttons say: the options where each fits and differs from the others, as WhatsApp wants it; else their numbers.
fn titles(labels: &[String]) -> Vec<String> {
    let trimmed: HashSet<&str> = labels.iter().map(|label| label.trim()).collect();
    let fits = |label: &&str| split::is_line(label) && split::units(label) <= TITLE_UNITS_MAX;
    match trimmed.len() == labels.len() && trimmed.iter().all(fits) {
        true => labels.iter().map(|label| label.trim().to_owned()).collect(),
        false => (1..=labels.len()).map(|number| number.to_string()).collect(),
    }
}

/// By their numbers, from 1.
fn variables(values: impl IntoIterator<Item = String>) -> Map<String, Value> {
    (1..).zip(values).map(|(number, value)| (number.to_string(), value.into())).collect()
}

/// Make the template for approvals; its name. What a button stands for names the run and the diff, so that an old one is known as
/// old.
pub async fn create_approval(api: &Api) -> Result<String, ApiError> {
    let examples = ["Run 1: 3 files, +42 −7. Approve or reject?", "run:tree"].map(str::to_owned);
    let buttons = APPROVAL_BUTTONS.map(|(title, id)| (title.to_owned(), id.to_owned()));
    create(api, &definition("textslash_approval", variables(examples), buttons)).await
}

/// Make the template for inquiries with so many options; its name. A button's payload is that of [`Asked::payload`].
pub async fn create_inquiry(api: &Api, options: usize) -> Result<String, ApiError> {
    let titles = (1..=options).map(|number| format!("Option {number}"));
    let examples = ["❓ Which one? Answer with a number, or in your own words.", "run:number"].map(str::to_owned);
    let button = |number: usize| (format!("{{{{{}}}}}", number + 2), format!("reply:{{{{2}}}}:{number}"));
    let name = format!("textslash_inquiry_{options}");
    create(api, &definition(&name, variables(examples.into_iter().chain(titles)), (1..=options).map(button))).await
}

/// A text, and a button for each title and what it stands for.
fn definition(name: &str, examples: Map<String, Value>, buttons: impl IntoIterator<Item = (String, String)>) -> Value {
    let button = |(title, id)| json!({ "type": "QUICK_REPLY", "title": title, "id": id });
    let actions: Vec<Value> = buttons.into_iter().map(button).collect();
    json!({
        "friendly_name": name,
        "language": "en",
        "variables": examples,
        "types": { "twilio/quick-reply": { "body": "{{1}}", "actions": actions } },
    })
}

async fn create(api: &Api, definition: &Value) -> Result<String, ApiError> {
    let url: Url = under(&api.config.content_url, "/v1/Content");
    let created: Created = api.json(api.request(Method::POST, url).json(definition)).await?;
    Ok(created.sid)
}

#[cfg(test)]
mod tests {
    use relay_core::id::RunId;

    use super::*;

    fn say(labels: &[&str]) -> Say {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let asked = Asked { run: RunId::parse("r-1").unwrap(), number: 2, labels };
        Say { asked: Some(asked), ..Say::default() }
    }

    fn templates() -> Templates {
        let named = |sid: &str, options| Template::new(INQUIRY_CONTENT_SIDS, options, Some(sid.to_owned()));
        let approval = Template::new(APPROVAL_CONTENT_SID, APPROVAL_BUTTONS.len(), None);
        Templates { approval, inquiries: vec![named("HX2", 2), named("HX3", 3)] }
    }

    fn filled(labels: &[&str], body: &str) -> Option<(String, Value)> {
        let Filled { sid, variables } = templates().fill(&say(labels), body)?;
        Some((sid, serde_json::from_str(&variables).unwrap()))
    }

    #[test]
    fn an_inquiry_has_the_template_of_its_number_of_options() {
        let two = json!({"1": "Which?", "2": "r-1:2", "3": "Red", "4": "Dark blue"});
        assert_eq!(filled(&["Red", " Dark blue"], "Which?"), Some(("HX2".to_owned(), two)));
        let three = json!({"1": "Which?", "2": "r-1:2", "3": "a", "4": "b", "5": "c"});
        assert_eq!(filled(&["a", "b", "c"], "Which?"), Some(("HX3".to_owned(), three)));
    }

    #[test]
    fn what_no_template_can_have_is_text() {
        assert_eq!(filled(&[], "Which?"), None);
        assert_eq!(filled(&["a"], "Which?"), None);
        assert_eq!(filled(&["a", "b", "c", "d"], "Which?"), None);
        assert!(filled(&["a", "b"], &"x".repeat(BUTTON_LINE_UNITS_MAX)).is_some());
        assert_eq!(filled(&["a", "b"], &"x".repeat(BUTTON_LINE_UNITS_MAX + 1)), None);
        for body in ["Which?\nThat.", "Which?\tThat.", "Which?     That.", ""] {
            assert_eq!(filled(&["a", "b"], body), None, "{body:?} is no line");
        }
        assert!(templates().fill(&Say { typed: true, ..say(&["a", "b"]) }, "Which?").is_none());
        let templates = templates();
        templates.is_of_no_use("HX2", Some(63029));
        assert!(templates.fill(&say(&["a", "b"]), "Which?").is_none());
        assert!(templates.fill(&say(&["a", "b", "c"]), "Which?").is_some(), "the other one is as good as before");
        assert_eq!(templates.concerns().count(), 1);
    }

    #[test]
    fn options_that_do_not_fit_on_buttons_are_numbers_there() {
        let titles = |labels: &[&str]| titles(&say(labels).asked.unwrap().labels);
        assert_eq!(titles(&["Yes", "No"]), ["Yes", "No"]);
        let long = "x".repeat(TITLE_UNITS_MAX + 1);
        for labels in [["Yes", &long], ["Yes", "Yes "], ["Yes", " "], ["Yes", "No\nway"], ["Yes", "No\tway"]] {
            assert_eq!(titles(&labels), ["1", "2"], "{labels:?}");
        }
    }
}
