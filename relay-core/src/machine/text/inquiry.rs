//! What a person reads of a question that the agent asks.

use std::time::Duration;

use crate::machine::split;
use crate::protocol::InquiryOption;
use crate::time::humane;

/// Nobody has replied to the agent in time.
pub const INQUIRY_OVER: &str = "Without an answer from you the agent goes on as it thinks best.";
/// A reply to an inquiry of which a message is still missing.
pub const INQUIRY_NOT_SHOWN: &str = "The agent's question has not reached you yet. Read it first, then answer.";
/// A reply that was taken in long after it was sent.
pub const REPLY_TOO_LATE: &str =
    "Your answer reached me late, so I can't be sure which question it is for. Please answer the open one again.";
/// A button of an inquiry that has its reply, or no longer waits for one.
pub const OLD_INQUIRY: &str = "That button is old; the agent no longer waits for an answer to that question.";
/// A reply to the agent that did not reach it.
pub const REPLY_LOST: &str = "Your answer did not reach the agent: your VM does not answer.";

/// Stands beside the buttons of an inquiry, on a line of its own: its options once more, where they fit.
pub(in crate::machine) fn choose_option(labels: &[String], units_max: usize) -> String {
    let one_line = |label: &String| label.split_whitespace().collect::<Vec<_>>().join(" ");
    let options: Vec<String> =
        (1..).zip(labels).map(|(number, label)| format!("{number}. *{}*", one_line(label))).collect();
    let named = format!("Your answer? {}, or your own words.", options.join(", "));
    match split::units(&named) <= units_max && split::is_line(&named) {
        true => named,
        false => format!("Your answer? A number from 1 to {}, or your own words.", labels.len()),
    }
}

/// What the agent asks, with what can be chosen.
pub(in crate::machine) fn inquiry(question: &str, options: &[InquiryOption], several: bool) -> String {
    let mut lines = vec![format!("❓ {}", question.trim())];
    lines.extend((1..).zip(options).map(|(number, InquiryOption { label, description })| match description.trim() {
        "" => format!("{number}. *{label}*"),
        description => format!("{number}. *{label}*: {description}"),
    }));
    let how = match (options.is_empty(), several) {
        (true, _) => "Answer in your own words.",
        (false, false) => "Answer with a number, or in your own words.",
        (false, true) => "Answer with numbers, or in your own words.",
    };
    let is_number = |option: &InquiryOption| option.label.trim().parse::<usize>().is_ok();
    lines.push(match options.iter().find(|option| is_number(option)) {
        Some(InquiryOption { label, .. }) => {
            let label = label.trim();
            format!("{how} A number that is an option itself means that option: *{label}* means *{label}*, whatever its place.")
        }
        None => how.to_owned(),
    });
    lines.join("\n")
}

/// Ends an inquiry.
pub(in crate::machine) fn goes_on(timeout: Duration) -> String {
    format!(" After {} the agent goes on without.", humane(timeout))
}

pub(in crate::machine) fn no_such_option(count: usize) -> String {
    format!("There is no such number: 1 to {count}, or your own words.")
}
