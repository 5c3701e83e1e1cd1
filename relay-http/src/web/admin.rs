//! What operators see. Nothing here asks for anything: each page is told what to show.
//!
//! Of a person there is the name of their conversation alone, never where they are reached.

use std::time::Duration;

use axum::response::Response;
use maud::{Markup, PreEscaped, html};
use relay_core::id::{ConversationId, NodeId};
use relay_core::store::Activity;
use relay_core::store::operators::Node;
use relay_core::time::{Timestamp, humane};

use super::assets::ADMIN;
use super::instant::exact;
use super::{chat, layout, sign_in};

mod conversation;
mod conversations;
mod deeds;
mod history;
mod letters;
mod machines;
mod overview;

pub use conversation::{Asked, Shown, conversation};
pub use conversations::{Listed, State, approvals, conversations};
pub use deeds::deeds;
pub use history::History;
pub use letters::letters;
pub use machines::{Vms, machines};
pub use overview::{Sight, overview};

/// What every page of a signed-in operator has.
pub struct View {
    /// Who is looking.
    pub who: String,
    /// What their forms carry.
    pub key: String,
    /// Whether there is a session to end.
    pub can_sign_out: bool,
    /// What was done just now, in a sentence.
    pub done: Option<&'static str>,
    /// What time it is.
    pub now: Timestamp,
}

/// Which part of a list is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub number: usize,
    /// Whether there is more.
    pub more: bool,
}

/// The parts of the control UI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Overview,
    Conversations,
    Approvals,
    Letters,
    Machines,
    Deeds,
}

impl Part {
    const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::Overview, "/admin", "Overview"),
        (Self::Conversations, "/admin/conversations", "Conversations"),
        (Self::Approvals, "/admin/approvals", "Approvals"),
        (Self::Letters, "/admin/letters", "Dead letters"),
        (Self::Machines, "/admin/machines", "Machines"),
        (Self::Deeds, "/admin/deeds", "Audit"),
    ];
}

fn page(view: &View, part: Part, title: &str, body: &Markup) -> Response {
    let nav = html! {
        span.badge #fresh hidden {}
        @if view.can_sign_out {
            (form(view, "/admin/sign-out", &html! { button.quiet.small { "Sign out" } }))
        }
        nav aria-label="Parts" {
            ul {
                @for (other, path, name) in Part::ALL {
                    li { a href=(path) aria-current=[(other == part).then_some("page")] { (name) } }
                }
            }
        }
    };
    let body = html! {
        (layout::bar("Textslash", &nav))
        main.column {
            @if let Some(done) = view.done { p.notice.good role="status" { (done) } }
            (body)
        }
    };
    layout::page(&format!("{title} · Textslash"), Some(&ADMIN), &body)
}

/// The form that asks for the token, and what is wrong with what was given.
pub fn sign_in(wrong: Option<&str>) -> Response {
    sign_in::page("Control", "/admin/session", "ADMIN_TOKEN", wrong)
}

/// Why something could not be done or shown.
pub fn trouble(told: &str) -> Response {
    let body = html! {
        (layout::bar("Textslash", &html! {}))
        main.column.narrow {
            div.card.stack {
                p.notice.bad role="alert" { (told) }
                a.button href="/admin" { "Overview" }
            }
        }
    };
    layout::page("Textslash", None, &body)
}

/// A form that does something: by POST, with the key of the session.
fn form(view: &View, action: &str, fields: &Markup) -> Markup {
    html! {
        form method="post" action=(action) {
            input type="hidden" name="key" value=(view.key);
            (fields)
        }
    }
}

/// A part of a page that is kept fresh. `id` tells it from the others.
fn live(id: &str, body: &Markup) -> Markup {
    html! { section.stack id=(id) data-live { (body) } }
}

/// Links to what comes before and after; `query` is that of the list, without its page.
fn pager(page: Page, path: &str, query: &str) -> Markup {
    let link = |number: usize| format!("{path}?{query}page={number}");
    html! {
        @if page.number > 1 || page.more {
            nav.row aria-label="Pages" {
                @if page.number > 1 { a href=(link(page.number - 1)) rel="prev" { "← Back" } }
                span.muted { "Page " (page.number) }
                @if page.more { a href=(link(page.number + 1)) rel="next" { "More →" } }
            }
        }
    }
}

fn link_to(conversation: &ConversationId) -> Markup {
    html! { a.mono href={ "/admin/conversations/" (conversation) } title=(conversation) { (short(conversation.as_str())) } }
}

/// The beginning of a long name, enough to tell it from others by eye.
fn short(name: &str) -> &str {
    name.get(..12).unwrap_or(name)
}

/// A relay by the machine that it runs on, as far as that is known.
fn relay(node: &NodeId, nodes: &[Node]) -> Markup {
    let instance = nodes.iter().find(|known| known.beat.node == *node).map(|known| known.beat.instance.as_str());
    html! { span.mono title=(node) { (short(instance.unwrap_or(node.as_str()))) } }
}

fn state(activity: Activity) -> Markup {
    let (kind, name) = match activity {
        Activity::Idle => ("", "idle"),
        Activity::Starting => ("info", "starting"),
        Activity::Stalled => ("bad", "stalled"),
        Activity::Working => ("good", "working"),
        Activity::AwaitingApproval => ("warn", "awaiting approval"),
        Activity::Deciding => ("info", "deciding"),
        Activity::Cancelling => ("bad", "cancelling"),
    };
    html! { span.badge.(kind) { (name) } }
}

/// What a person, an agent or another machine wrote, in its lines: every sign to be seen, none acting.
fn written(text: &str) -> Markup {
    let mut html = String::with_capacity(text.len());
    chat::plain(&mut html, text);
    PreEscaped(html)
}

/// An instant, seen from now: when it is, and exactly when.
fn when(at: Timestamp, now: Timestamp) -> Markup {
    let text = match at > now {
        true => format!("in {}", long(at.since(now))),
        false => format!("{} ago", long(now.since(at))),
    };
    html! { time.nowrap datetime=(exact(at, 'T', "Z")) title=(exact(at, ' ', " UTC")) { (text) } }
}

/// For how long it has been so.
fn since(at: Timestamp, now: Timestamp) -> Markup {
    html! { time.nowrap datetime=(exact(at, 'T', "Z")) title=(exact(at, ' ', " UTC")) { (long(now.since(at))) } }
}

/// A length of time that may be one of weeks.
fn long(time: Duration) -> String {
    let days = time.as_secs() / (24 * 3600);
    if days < 3 { humane(time) } else { format!("{days} days") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_told_as_people_say_it_and_exactly() {
        let now = Timestamp(1_800_000_000_000);
        let ago = |seconds| when(now - Duration::from_secs(seconds), now).into_string();
        assert!(ago(90).contains(">1 min ago<") && ago(90).contains("2027-01-15T07:58:30Z"), "{}", ago(90));
        assert!(ago(5 * 24 * 3600).contains(">5 days ago<"));
        assert!(when(now + Duration::from_secs(3), now).into_string().contains(">in 3 s<"));
        assert_eq!(exact(Timestamp(u64::MAX), 'T', "Z"), "", "no instant that anybody has lived to see");
    }
}
