//! What happened in a conversation, or in one of its runs.

use maud::{Markup, html};
use relay_core::id::ConversationId;
use relay_core::machine::LogWhat;
use relay_core::protocol::Decision;
use relay_core::store::Logged;

use super::conversation::ending;
use super::{Page, View, live, pager, when, written};

/// A part of it.
pub struct History {
    /// What happened, in order.
    pub entries: Vec<Logged>,
    /// The number of the run that alone is shown.
    pub run: Option<String>,
    /// Which part.
    pub at: Page,
}

pub(super) fn history(view: &View, conversation: &ConversationId, history: &History) -> Markup {
    let path = format!("/admin/conversations/{conversation}");
    let query = history.run.as_ref().map(|run| format!("run={run}&")).unwrap_or_default();
    live(
        "history",
        &html! {
            div.card.stack {
                div.row {
                    h2 { "History" @if let Some(run) = &history.run { " of run " (run) } }
                    @if history.run.is_some() { a.end href=(path) { "All of it" } }
                }
                @if history.entries.is_empty() { p.empty { "Nothing is known, or not any more." } } @else {
                    ol.log { @for logged in &history.entries { (row(view, &path, logged)) } }
                }
                (pager(history.at, &path, &query))
            }
        },
    )
}

fn row(view: &View, path: &str, logged: &Logged) -> Markup {
    let (who, what) = told(&logged.entry.what);
    html! {
        li.(who) {
            div.row.small.muted {
                b { (who) }
                (when(logged.at, view.now))
                @if let Some(run) = &logged.entry.run { a href={ (path) "?run=" (run.number()) } { "run " (run.number()) } }
            }
            div.said { (what) }
        }
    }
}

/// Who did it, in a word that is also its class, and what.
fn told(what: &LogWhat) -> (&'static str, Markup) {
    match what {
        LogWhat::Asked { text } => ("person", written(text)),
        LogWhat::Said { text } => ("relay", written(text)),
        LogWhat::Begun { task } => ("relay", html! { "begins: " (written(task)) }),
        LogWhat::Started { driver } => ("agent", html! { "is up (" (written(driver)) ")" }),
        LogWhat::Progress { text } => ("agent", written(text)),
        LogWhat::Picture { caption, .. } => {
            ("agent", html! { "shows a picture" @if !caption.is_empty() { ": " (written(caption)) } })
        }
        LogWhat::Inquiry { text } => ("agent", html! { "asks: " (written(text)) }),
        LogWhat::Changes { stat, tree } => {
            ("agent", html! { "made a diff: " (stat) " (" span.mono { (tree.short()) } ")" })
        }
        LogWhat::Decided { decision } => ("relay", html! { (deciding(*decision)) }),
        LogWhat::Ended { ending: how } => ("relay", html! { "run over: " (ending(how)) }),
        LogWhat::Operator { action } => ("operator", written(action)),
        LogWhat::Unknown => ("relay", html! { "something that only a newer relay knows" }),
    }
}

fn deciding(decision: Decision) -> &'static str {
    match decision {
        Decision::Approve => "approved; it is being published",
        Decision::Reject => "rejected; it is being rolled back",
        Decision::Park => "it is being parked: kept, and not published",
    }
}
