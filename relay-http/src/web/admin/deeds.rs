//! What operators wanted done, and what came of it.

use axum::response::Response;
use maud::{Markup, html};
use relay_core::store::operators::{Deed, DeedKind, DeedOutcome};

use super::{Page, Part, View, link_to, live, page, pager, short, when};

/// `/admin/deeds`
pub fn deeds(view: &View, deeds: &[Deed], at: Page) -> Response {
    let body = html! {
        h1 { "Audit" }
        p.muted { "What operators have asked for here, the latest first. It also stands in the log of the relay that was asked. You are " (view.who) "." }
        (live("deeds", &html! {
            div.card {
                @if deeds.is_empty() { p.empty { "Nothing yet." } } @else {
                    table.blocks {
                        thead { tr { th { "When" } th { "Who" } th { "What" } th { "Outcome" } } }
                        tbody {
                            @for deed in deeds {
                                tr {
                                    td data-label="When" { (when(deed.at, view.now)) }
                                    td data-label="Who" { (deed.who) }
                                    td data-label="What" { span { (what(&deed.what)) } }
                                    td data-label="Outcome" { span { (outcome(deed.outcome.as_ref())) } }
                                }
                            }
                        }
                    }
                }
            }
            (pager(at, "/admin/deeds", ""))
        }))
    };
    page(view, Part::Deeds, "Audit", &body)
}

fn what(what: &DeedKind) -> Markup {
    match what {
        DeedKind::SignIn => html! { "sign in" },
        DeedKind::Cancel { conversation } => html! { "cancel the run of " (link_to(conversation)) },
        DeedKind::Redrive { letter } => html! { "put dead letter " (letter) " back" },
        DeedKind::Forget { conversation } => html! { "erase " span.mono { (short(conversation.as_str())) } },
        DeedKind::AskVm { conversation } => html! { "ask the VM of " (link_to(conversation)) },
        DeedKind::Drain { node } => html! { "drain relay " span.mono { (short(node.as_str())) } },
        DeedKind::Undrain { node } => html! { "let relay " span.mono { (short(node.as_str())) } " take work again" },
    }
}

/// Of what is carried out just now, and of what a relay did not live to tell, no more is known than that it was asked for.
fn outcome(outcome: Option<&DeedOutcome>) -> Markup {
    match outcome {
        None => html! { span.badge.warn { "asked" } " " span.muted { "it is not known whether it was done" } },
        Some(DeedOutcome::Done) => html! { span.badge.good { "done" } },
        Some(DeedOutcome::Failed(why)) => html! { span.badge.bad { "failed" } " " (why) },
    }
}
