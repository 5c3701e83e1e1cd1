//! Lists of conversations.

use axum::response::Response;
use maud::{Markup, html};
use relay_core::id::ConversationId;
use relay_core::machine::{Conversation, Phase, Timer};
use relay_core::store::operators::Node;
use relay_core::store::{Activity, Overview, Survey};
use relay_core::time::Timestamp;

use super::{Page, Part, View, link_to, live, page, pager, relay, since, state, when};

/// One conversation of a list.
pub struct Listed {
    /// Which.
    pub conversation: ConversationId,
    /// Who has it, and what waits in it.
    pub overview: Option<Overview>,
    /// As it was committed last.
    pub state: State,
    /// Since when the same goes on, where that is known.
    pub since: Option<Timestamp>,
}

/// What is stored of a conversation.
pub enum State {
    /// Nothing yet.
    New,
    /// This.
    Known(Box<Conversation>),
    /// Something that this program does not know.
    Unreadable,
}

impl State {
    /// What can be read.
    pub fn known(&self) -> Option<&Conversation> {
        match self {
            Self::Known(conversation) => Some(conversation),
            Self::New | Self::Unreadable => None,
        }
    }

    pub(super) fn badge(&self) -> Markup {
        match self {
            Self::New => html! { span.badge { "new" } },
            Self::Known(conversation) => state(Activity::of(&conversation.phase)),
            Self::Unreadable => html! { span.badge.bad { "unreadable" } },
        }
    }
}

/// `/admin/conversations`
pub fn conversations(
    view: &View,
    survey: &Survey,
    nodes: &[Node],
    only: Option<Activity>,
    listed: &[Listed],
    at: Page,
) -> Response {
    let count = |activity: &Activity| survey.activities.get(activity).map_or(0, |busy| busy.count);
    let query = only.map(|only| format!("state={}&", only.name())).unwrap_or_default();
    let body = html! {
        h1 { "Conversations" }
        (live("conversations", &html! {
            nav.filter aria-label="States" {
                ul {
                    li {
                        a href="/admin/conversations" aria-current=[only.is_none().then_some("true")] {
                            "all " span.muted { (survey.conversations) }
                        }
                    }
                    @for activity in Activity::BUSY.iter().filter(|activity| count(activity) > 0 || only == Some(**activity)) {
                        li {
                            a href={ "/admin/conversations?state=" (activity.name()) }
                                aria-current=[(only == Some(*activity)).then_some("true")]
                            {
                                (activity.name().replace('_', " ")) " " span.muted { (count(activity)) }
                            }
                        }
                    }
                }
            }
            div.card {
                @if listed.is_empty() { p.empty { "There is none." } } @else { (table(view, nodes, only, listed)) }
            }
            (pager(at, "/admin/conversations", &query))
        }))
    };
    page(view, Part::Conversations, "Conversations", &body)
}

fn table(view: &View, nodes: &[Node], only: Option<Activity>, listed: &[Listed]) -> Markup {
    html! {
        table.blocks {
            thead {
                tr {
                    th { "Conversation" }
                    th { "State" }
                    th { @if only.is_some() { "For" } @else { "Last heard" } }
                    th.number { "Queue" }
                    th.number { "Inbox" }
                    th.number { "Outbox" }
                    th { "Relay" }
                    th { "Due" }
                }
            }
            tbody {
                @for one in listed {
                    @let known = one.state.known();
                    tr {
                        td { (link_to(&one.conversation)) }
                        td data-label="State" { span { (one.state.badge()) } }
                        td data-label=(if only.is_some() { "For" } else { "Last heard" }) {
                            @match (one.since, known) {
                                (Some(at), _) => { (since(at, view.now)) }
                                (None, Some(state)) if state.heard_at > Timestamp(0) => { (when(state.heard_at, view.now)) }
                                _ => { "–" }
                            }
                        }
                        td.number data-label="Queue" { (known.map_or(0, |state| state.queue.len())) }
                        td.number data-label="Inbox" { (one.overview.as_ref().map_or(0, |overview| overview.inbox)) }
                        td.number data-label="Outbox" { (one.overview.as_ref().map_or(0, |overview| overview.outbox)) }
                        td data-label="Relay" { (holder(one.overview.as_ref(), nodes)) }
                        td data-label="Due" { (due(one.overview.as_ref(), view.now)) }
                    }
                }
            }
        }
    }
}

/// Who has the lease.
pub(super) fn holder(overview: Option<&Overview>, nodes: &[Node]) -> Markup {
    match overview.and_then(|overview| overview.holder.as_ref()) {
        Some(node) => relay(node, nodes),
        None => html! { span.muted { "nobody" } },
    }
}

/// When the lease ends or, without one, something has to be done.
pub(super) fn due(overview: Option<&Overview>, now: Timestamp) -> Markup {
    let Some(Overview { due_at: Some(at), holder, .. }) = overview else { return html! { span.muted { "–" } } };
    html! { @if holder.is_some() { "lease ends " } (when(*at, now)) }
}

/// `/admin/approvals`
pub fn approvals(view: &View, listed: &[Listed], at: Page) -> Response {
    let body = html! {
        h1 { "Pending approvals" }
        (live("approvals", &html! {
            div.card {
                @if listed.is_empty() { p.empty { "No diff waits for an answer." } } @else {
                    table.blocks {
                        thead { tr { th { "Conversation" } th { "Run" } th { "Diff" } th { "Reached them" } th { "Waits for" } th { "Parked" } } }
                        tbody { @for one in listed { (approval(view, one)) } }
                    }
                }
            }
            (pager(at, "/admin/approvals", ""))
        }))
    };
    page(view, Part::Approvals, "Pending approvals", &body)
}

fn approval(view: &View, one: &Listed) -> Markup {
    let known = one.state.known();
    let pending = known.and_then(|state| match &state.phase {
        Phase::AwaitingApproval(pending) => Some(pending),
        _ => None,
    });
    html! {
        tr {
            td { (link_to(&one.conversation)) }
            @if let Some(pending) = pending {
                td data-label="Run" { (pending.run.number()) }
                td data-label="Diff" { span.mono { (pending.tree.short()) } }
                td data-label="Reached them" { span { (reached(pending.shown, pending.lost)) } }
            } @else {
                td data-label="Run" { "–" }
                td data-label="Diff" { span.muted { "answered just now" } }
                td {}
            }
            td data-label="Waits for" { @if let Some(at) = one.since { (since(at, view.now)) } }
            td data-label="Parked" {
                @if let Some(at) = known.and_then(|state| state.timers.get(&Timer::Approval)) { (when(*at, view.now)) } @else { "–" }
            }
        }
    }
}

/// Whether a diff has reached the person.
pub(super) fn reached(shown: bool, lost: bool) -> Markup {
    match (shown, lost) {
        (true, _) => html! { span.badge.good { "yes" } },
        (false, true) => html! { span.badge.bad { "lost on the way" } },
        (false, false) => html! { span.badge.warn { "on the way" } },
    }
}
