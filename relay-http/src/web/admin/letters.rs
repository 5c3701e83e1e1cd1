//! Dead letters.

use axum::response::Response;
use maud::{Markup, html};
use relay_core::machine::Effect;
use relay_core::store::DeadLetter;

use super::{Part, View, form, link_to, live, page, when, written};
use crate::worker::kind;

/// `/admin/letters`: those after `after`, and whether there are more.
pub fn letters(view: &View, letters: &[DeadLetter], after: u64, more: bool) -> Response {
    let body = html! {
        h1 { "Dead letters" }
        p.muted { "Chat messages that were given up: refused for good, or tried until their time was over. Mend the reason first, then redrive." }
        (live("letters", &html! {
            div.card {
                @if letters.is_empty() { p.empty { "There is none." } } @else {
                    table.blocks {
                        thead { tr { th { "Letter" } th { "Conversation" } th { "Effect" } th { "Given up" } th { "Reason" } th {} } }
                        tbody { @for letter in letters { (row(view, letter)) } }
                    }
                }
            }
            @if after > 0 || more {
                nav.row aria-label="Pages" {
                    @if after > 0 { a href="/admin/letters" { "← The oldest" } }
                    @if let (true, Some(last)) = (more, letters.last()) { a href={ "/admin/letters?after=" (last.letter) } { "More →" } }
                }
            }
        }))
    };
    page(view, Part::Letters, "Dead letters", &body)
}

fn row(view: &View, letter: &DeadLetter) -> Markup {
    let said = match &letter.effect {
        Effect::Say(say) => Some(say.text.as_str()),
        _ => None,
    };
    html! {
        tr {
            td data-label="Letter" { (letter.letter) }
            td data-label="Conversation" { (link_to(&letter.conversation)) }
            td data-label="Effect" { (kind(&letter.effect)) }
            td data-label="Given up" { (when(letter.at, view.now)) }
            td.wrap data-label="Reason" {
                div {
                    (written(&letter.reason))
                    @if let Some(said) = said { details { summary.small { "What it says" } p.said { (written(said)) } } }
                }
            }
            td { (form(view, &format!("/admin/letters/{}/redrive", letter.letter), &html! { button { "Redrive" } })) }
        }
    }
}
