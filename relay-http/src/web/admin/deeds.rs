//! What operators have done.

use axum::response::Response;
use maud::{Markup, html};
use relay_core::store::operators::{Deed, DeedKind};

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
                        thead { tr { th { "When" } th { "Who" } th { "What" } } }
                        tbody {
                            @for deed in deeds {
                                tr {
                                    td data-label="When" { (when(deed.at, view.now)) }
                                    td data-label="Who" { (deed.who) }
                                    td data-label="What" { span { (what(&deed.what)) } }
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
        DeedKind::SignIn => html! { "signed in" },
        DeedKind::Cancel { conversation } => html! { "cancelled the run of " (link_to(conversation)) },
        DeedKind::Redrive { letter } => html! { "put dead letter " (letter) " back" },
        DeedKind::Forget { conversation } => html! { "erased " span.mono { (short(conversation.as_str())) } },
        DeedKind::AskVm { conversation } => html! { "asked the VM of " (link_to(conversation)) },
        DeedKind::Drain { node } => html! { "drained relay " span.mono { (short(node.as_str())) } },
        DeedKind::Undrain { node } => html! { "let relay " span.mono { (short(node.as_str())) } " take work again" },
    }
}
