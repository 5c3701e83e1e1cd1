//! Relays and VMs.

use axum::response::Response;
use maud::{Markup, html};
use relay_core::id::ConversationId;
use relay_core::store::operators::Node;

use super::{Page, Part, View, form, link_to, live, page, pager, since, when};
use crate::directory::fly::wire::Machine;
use crate::presence;

/// Where the VMs are.
pub enum Vms {
    /// One for everybody, there.
    One(String),
    /// One for each person: a page of them, and how many there are.
    Each(Vec<Machine>, usize, Page),
    /// They could not be listed, and why.
    Unknown(String),
}

/// `/admin/machines`
pub fn machines(view: &View, nodes: &[Node], vms: &Vms) -> Response {
    let body = html! {
        h1 { "Machines" }
        (live("relays", &html! { div.card { h2 { "Relays" } (node_rows(view, nodes)) } }))
        (live("vms", &html! {
            div.card {
                h2 { "VMs" }
                @match vms {
                    Vms::One(at) => {
                        p { "One VM for everybody, at " span.mono.wrap { (at) } "." }
                        p.muted { "How it is can be asked on the page of any conversation." }
                    }
                    Vms::Unknown(why) => { p.notice.warn { (why) } }
                    Vms::Each(machines, count, at) => { (vm_rows(machines, *count, *at)) }
                }
            }
        }))
    };
    page(view, Part::Machines, "Machines", &body)
}

pub(super) fn node_rows(view: &View, nodes: &[Node]) -> Markup {
    html! {
        @if nodes.is_empty() { p.empty { "None has told that it is there." } } @else {
            table.blocks {
                thead { tr { th { "Relay" } th { "Health" } th { "Up for" } th.number { "Works on" } th { "Version" } th {} } }
                tbody { @for node in nodes { (node_row(view, node)) } }
            }
        }
    }
}

fn node_row(view: &View, node: &Node) -> Markup {
    let beat = &node.beat;
    let is_silent = presence::is_silent(beat, view.now);
    let (word, action) = if node.drain { ("Undrain", "undrain") } else { ("Drain", "drain") };
    html! {
        tr {
            td { span.mono.wrap title=(beat.node) { (beat.instance) } }
            td data-label="Health" {
                span {
                    @match (is_silent, beat.drained, node.drain) {
                        (true, ..) => { span.badge.bad { "silent" } " " span.muted { (when(beat.at, view.now)) } }
                        (false, true, _) => { span.badge.warn { @if beat.turns == 0 { "drained" } @else { "draining" } } }
                        (false, false, true) => { span.badge.warn { "is told to drain" } }
                        (false, false, false) => { span.badge.good { "well" } }
                    }
                }
            }
            td data-label="Up for" { (since(beat.started_at, view.now)) }
            td.number data-label="Works on" { (beat.turns) }
            td data-label="Version" { (beat.version) }
            td { (form(view, &format!("/admin/nodes/{}/{action}", beat.node), &html! { button { (word) } })) }
        }
    }
}

fn vm_rows(machines: &[Machine], count: usize, at: Page) -> Markup {
    html! {
        p.muted { (count) " machines on Fly.io. What they say of themselves is asked on the page of their conversation." }
        table.blocks {
            thead { tr { th { "Machine" } th { "State" } th { "Host" } th { "Conversation" } th { "Made" } } }
            tbody {
                @for machine in machines {
                    @let owner = machine.user().and_then(|user| ConversationId::parse(user).ok());
                    tr {
                        td.mono { (machine.id) }
                        td data-label="State" { span { (vm_state(&machine.state)) } }
                        td data-label="Host" { (machine.host_status.as_deref().unwrap_or("–")) }
                        td data-label="Conversation" { @if let Some(owner) = &owner { (link_to(owner)) } @else { span.badge.bad { "nobody's" } } }
                        td data-label="Made" { (machine.created_at.as_deref().unwrap_or("–")) }
                    }
                }
            }
        }
        (pager(at, "/admin/machines", ""))
    }
}

fn vm_state(state: &str) -> Markup {
    let kind = match state {
        "started" => "good",
        "stopped" | "suspended" => "",
        "starting" | "stopping" | "created" | "suspending" | "replacing" => "info",
        _ => "bad",
    };
    html! { span.badge.(kind) { (state) } }
}
