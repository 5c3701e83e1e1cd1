//! What is said about the page that shows all of a diff, and about what was answered there.

use super::{busy_with, ending, run_name};
use crate::id::RunId;
use crate::machine::conversation::Conversation;

/// Before the address of the page that shows all of a diff.
pub const ADDRESS: &str = "Review:";

/// An answer on the page of a diff that no longer waits.
pub(in crate::machine) fn old_page(conversation: &Conversation, run: &RunId) -> String {
    let why = match (conversation.ending(run), conversation.run() == Some(run)) {
        (Some(known), _) => ending(run, known),
        (None, true) => busy_with(&conversation.phase),
        (None, false) => "Its diff no longer waits for an answer.".to_owned(),
    };
    format!("What you answered on the page came too late. {why}")
}

/// The person wants the work of this run to be different.
pub(in crate::machine) fn revising(run: &RunId) -> String {
    format!("✏️ The work of {} goes back to the agent, with what you asked for.", run_name(run))
}

/// After the reason why it did not.
pub(in crate::machine) fn not_revised(line: &str) -> String {
    format!("{line}\nWhat you asked for on the page did not reach the agent.")
}
