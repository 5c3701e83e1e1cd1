//! What Claude Code asks before it goes on (its control protocol, `can_use_tool`): questions of the agent's to the person, and
//! whether a tool may be used. Each becomes an inquiry; without a reply the answer is no.

use relay_core::protocol::{InquiryOption, OPTIONS_MAX};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::driver::inquirer::{Detail, Inquirer};
use crate::text::clip;

/// The tool that asks the person.
const ASK: &str = "AskUserQuestion";
/// Questions at once; the tool itself takes four.
const QUESTIONS_MAX: usize = 4;
const LABEL_CHARS_MAX: usize = 100;
const DESCRIPTION_CHARS_MAX: usize = 300;
/// Of what a tool is to be used with.
const INPUT_CHARS_MAX: usize = 500;
const YES: &str = "Yes";

#[derive(Deserialize)]
struct Asked {
    questions: Vec<AskedQuestion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AskedQuestion {
    question: String,
    #[serde(default)]
    options: Vec<AskedOption>,
    #[serde(default)]
    multi_select: bool,
}

#[derive(Deserialize)]
struct AskedOption {
    label: String,
    #[serde(default)]
    description: String,
}

impl Inquirer<'_> {
    /// The answer to a request to use `tool` with `input`, as the control protocol has it.
    pub(super) async fn decide(&self, tool: &str, input: Value) -> Value {
        match (tool, Asked::deserialize(&input)) {
            (ASK, Ok(asked)) => self.ask_all(asked, input).await,
            (ASK, Err(_)) => denied("The question could not be read."),
            _ => self.ask_whether(tool, input).await,
        }
    }

    async fn ask_all(&self, asked: Asked, mut input: Value) -> Value {
        let mut answers = Map::new();
        for AskedQuestion { question, options, multi_select } in asked.questions.into_iter().take(QUESTIONS_MAX) {
            let options = options.into_iter().take(OPTIONS_MAX).map(|option| InquiryOption {
                label: clip(&option.label, LABEL_CHARS_MAX),
                description: clip(&option.description, DESCRIPTION_CHARS_MAX),
            });
            match self.ask(question.clone(), options.collect(), multi_select).await {
                Ok(reply) => drop(answers.insert(question, reply.into())),
                Err(unanswered) => return denied(&unanswered.to_string()),
            }
        }
        if let Some(input) = input.as_object_mut() {
            input.insert("answers".to_owned(), answers.into());
        }
        json!({"behavior": "allow", "updatedInput": input})
    }

    async fn ask_whether(&self, tool: &str, input: Value) -> Value {
        let detail = Detail::of(&input.to_string(), INPUT_CHARS_MAX);
        let text = format!("May the agent use *{}*?\n{detail}", clip(tool, LABEL_CHARS_MAX));
        let option = |label: &str| InquiryOption { label: label.to_owned(), description: String::new() };
        match self.ask(text, vec![option(YES), option("No")], false).await {
            Ok(reply) if reply == YES => json!({"behavior": "allow", "updatedInput": input}),
            Ok(reply) => denied(&format!("The person said: {reply}")),
            Err(unanswered) => denied(&unanswered.to_string()),
        }
    }
}

fn denied(message: &str) -> Value {
    json!({"behavior": "deny", "message": message})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::desk::{Desk, Replied};
    use crate::driver::AgentEvent;

    /// What is decided when the person replies so to every inquiry, and what they are asked.
    async fn decided(tool: &str, input: Value, replies: &[Option<&str>]) -> (Value, Vec<String>) {
        let (desk, (events, mut told)) = (Desk::default(), mpsc::channel(16));
        let timeout = if replies.contains(&None) { Duration::from_millis(20) } else { Duration::from_secs(60) };
        let inquirer = Inquirer { desk: &desk, events: &events, timeout };
        let person = async {
            let mut asked = Vec::new();
            for reply in replies {
                let Some(AgentEvent::Inquiry { number, text, .. }) = told.recv().await else { panic!("no inquiry") };
                asked.push(text);
                match reply {
                    Some(reply) => assert_eq!(desk.reply(number, (*reply).to_owned()), Replied::Now),
                    None => assert_eq!(told.recv().await, Some(AgentEvent::InquiryOver(number))),
                }
            }
            asked
        };
        tokio::join!(inquirer.decide(tool, input), person)
    }

    #[tokio::test]
    async fn an_agent_that_has_asked_too_often_is_told_so_and_nobody_is_asked() {
        let (desk, (events, mut told)) = (Desk::default(), mpsc::channel(16));
        let timeout = Duration::from_secs(60);
        let inquirer = Inquirer { desk: &desk, events: &events, timeout };
        // What is dropped was asked all the same.
        std::iter::repeat_with(|| desk.open()).take(20).for_each(drop);
        let decided = inquirer.decide("Bash", json!({"command": "ls"})).await;
        assert!(decided["message"].as_str().is_some_and(|message| message.contains("20 times")), "{decided}");
        assert!(told.try_recv().is_err());
    }

    #[tokio::test]
    async fn every_question_is_asked_and_answered_by_its_words() {
        let input = json!({"questions": [
            {"question": "Which colour?", "options": [{"label": "Red", "description": "warm"}, {"label": "Blue"}]},
            {"question": "Which sizes?", "multiSelect": true, "options": []},
        ]});
        let (decided, asked) = decided(ASK, input.clone(), &[Some("Blue"), Some("S, M")]).await;
        assert_eq!(asked, ["Which colour?", "Which sizes?"]);
        assert_eq!(decided["behavior"], "allow");
        assert_eq!(decided["updatedInput"]["questions"], input["questions"]);
        assert_eq!(decided["updatedInput"]["answers"], json!({"Which colour?": "Blue", "Which sizes?": "S, M"}));
    }

    #[tokio::test]
    async fn without_a_reply_the_answer_is_no() {
        let question = json!({"questions": [{"question": "Which colour?"}]});
        let (first, _) = decided(ASK, question, &[None]).await;
        assert_eq!(first["behavior"], "deny");
        let (second, _) = decided("ExitPlanMode", json!({}), &[None]).await;
        assert_eq!(second["behavior"], "deny");
        let (unreadable, _) = decided(ASK, json!({"questions": 7}), &[]).await;
        assert_eq!(unreadable["behavior"], "deny");
    }

    #[tokio::test]
    async fn a_tool_may_be_used_when_the_person_says_yes() {
        let input = json!({"plan": "do it"});
        let (yes, asked) = decided("ExitPlanMode", input.clone(), &[Some("Yes")]).await;
        assert!(asked[0].contains("May the agent use *ExitPlanMode*?"));
        assert_eq!(yes, json!({"behavior": "allow", "updatedInput": input}));
        let (no, _) = decided("ExitPlanMode", input, &[Some("not yet")]).await;
        assert_eq!(no, json!({"behavior": "deny", "message": "The person said: not yet"}));
    }
}
