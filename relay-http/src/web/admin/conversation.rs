//! One conversation.

use axum::response::Response;
use maud::{Markup, html};
use relay_core::id::ConversationId;
use relay_core::machine::conversation::Coming;
use relay_core::machine::{Conversation, Ending, Phase, Timer, text};
use relay_core::protocol::Health;
use relay_core::store::Overview;
use relay_core::store::operators::Node;

use super::conversations::{State, due, holder, reached};
use super::history::{History, history};
use super::{Part, View, form, live, page, since, when, written};

/// What there is to see of it.
pub struct Shown {
    /// Which.
    pub conversation: ConversationId,
    /// Who has it, and what waits in it.
    pub overview: Overview,
    /// As it was committed last.
    pub state: State,
    /// The relays.
    pub nodes: Vec<Node>,
    /// What happened in it.
    pub history: History,
    /// What its VM said, if it was asked.
    pub vm: Option<Asked>,
    /// Names the next order, so that a form sent twice is one.
    pub order: String,
    /// What to type to have it forgotten.
    pub confirmation: String,
}

/// What came of asking a VM.
pub enum Asked {
    /// It answered.
    Well(Box<Health>),
    /// Nothing in time: it may be waking up.
    Silent,
    /// It said no, or there is none; in words.
    Refused(String),
}

/// `/admin/conversations/{id}`
pub fn conversation(view: &View, shown: &Shown) -> Response {
    let id = shown.conversation.as_str();
    let body = html! {
        div.row { h1.mono.wrap { (id) } (live_badge(shown)) }
        (live("facts", &html! {
            div.card { h2 { "Now" } (facts(view, shown)) }
            @if let Some(state) = shown.state.known() { (more(view, state)) }
        }))
        (history(view, &shown.conversation, &shown.history))
        (vm(view, shown))
        (actions(view, shown))
    };
    page(view, Part::Conversations, id, &body)
}

fn live_badge(shown: &Shown) -> Markup {
    html! { span #state data-live { (shown.state.badge()) } }
}

fn facts(view: &View, shown: &Shown) -> Markup {
    let Shown { overview, state, nodes, .. } = shown;
    html! {
        dl.facts {
            dt { "Relay" } dd { (holder(Some(overview), nodes)) }
            dt { "Due" } dd { (due(Some(overview), view.now)) }
            dt { "Fence" } dd { (overview.fence.0) }
            dt { "Inbox" } dd { (overview.inbox) " events" }
            dt { "Outbox" } dd { (overview.outbox) " effects" }
            @if let Some(state) = state.known() {
                dt { "Last heard" } dd { @if state.heard_at.as_millis() > 0 { (when(state.heard_at, view.now)) } @else { "–" } }
                dt { "Run" } dd { @if let Some(run) = state.run() { span.mono { (run) } } @else { "none" } }
                @if let Phase::Working { since: at, quiet, .. } = &state.phase {
                    dt { "At work for" } dd { (since(*at, view.now)) @if *quiet { " " span.badge.warn { "silent" } } }
                }
                dt { "Runs so far" } dd { (state.runs) }
                @if let Some(waking) = &state.waking { dt { "VM" } dd { "called in vain for " (since(waking.since, view.now)) } }
            }
            @if let State::Unreadable = state {
                dt { "State" } dd { "written by a newer relay; this one leaves it as it is" }
            }
        }
    }
}

fn more(view: &View, state: &Conversation) -> Markup {
    html! {
        @if let Phase::AwaitingApproval(pending) = &state.phase {
            div.card {
                h2 { "Diff that waits for an answer" }
                dl.facts {
                    dt { "Run" } dd { (pending.run.number()) }
                    dt { "Tree" } dd.mono { (pending.tree) }
                    dt { "Reached them" } dd { (reached(pending.shown, pending.lost)) }
                    @if let Some(at) = state.timers.get(&Timer::Approval) { dt { "Parked" } dd { (when(*at, view.now)) } }
                }
            }
        }
        @if let Some(inquiry) = &state.inquiry {
            div.card { h2 { "The agent asks" } p.said { (written(&inquiry.text)) } }
        }
        @if !state.queue.is_empty() || !state.arriving.is_empty() {
            div.card {
                h2 { "Queue" }
                ol.list {
                    @for task in &state.queue { li.wrap { (written(&text::task(task))) } }
                    @for arriving in &state.arriving {
                        @let here = arriving.files.iter().filter(|file| !matches!(file, Coming::Fetching { .. })).count();
                        li.muted { "a message with files, " (here) " of " (arriving.files.len()) " here" }
                    }
                }
            }
        }
        @if !state.timers.is_empty() || !state.retries.is_empty() {
            div.card {
                h2 { "Timers and retries" }
                dl.facts {
                    @for (timer, at) in &state.timers { dt { (name_of(*timer)) } dd { (when(*at, view.now)) } }
                    @for (lane, retry) in &state.retries {
                        dt { "Retry, " (format!("{lane:?}").to_lowercase()) }
                        dd { "effect " (retry.effect.0) ", " (retry.attempts) " tries so far, next " (when(retry.next_at, view.now)) }
                    }
                }
            }
        }
        @if !state.past.is_empty() {
            div.card {
                h2 { "Runs that are over" }
                dl.facts {
                    @for past in state.past.iter().rev() { dt { "Run " (past.run.number()) } dd { (ending(&past.ending)) } }
                }
            }
        }
    }
}

fn name_of(timer: Timer) -> &'static str {
    match timer {
        Timer::WakingNotice => "Say that it wakes",
        Timer::Progress => "Send progress",
        Timer::Silence => "Ask the VM",
        Timer::ApprovalWarning => "Warn",
        Timer::Approval => "Park",
        Timer::Transcript => "Give up a voice note",
    }
}

/// How a run ended. Addresses are those that the VM gave: shown, and not made links of.
pub(super) fn ending(ending: &Ending) -> Markup {
    match ending {
        Ending::PullRequest { url } => html! { "pull request " span.wrap { (written(url)) } },
        Ending::Pushed { branch } => html! { "pushed as " span.mono.wrap { (written(branch)) } },
        Ending::RolledBack => html! { "rolled back" },
        Ending::Parked { branch } => html! { "parked on " span.mono.wrap { (written(branch)) } },
        Ending::Answered => html! { "answered, no file changed" },
        Ending::Failed => html! { "failed" },
        Ending::Cancelled => html! { "cancelled" },
    }
}

fn vm(view: &View, shown: &Shown) -> Markup {
    let ask = form(
        view,
        &format!("/admin/conversations/{}/vm#vm", shown.conversation),
        &html! { button { "Ask how it is" } },
    );
    html! {
        div.card.stack #vm {
            div.row { h2 { "VM" } div.end { (ask) } }
            @match &shown.vm {
                None => { p.muted { "Asking it may wake it; none is made for this." } }
                Some(Asked::Silent) => { p.notice.warn { "No answer yet. It may be waking up: ask again in a moment." } }
                Some(Asked::Refused(why)) => { p.notice.bad { (written(why)) } }
                Some(Asked::Well(health)) => { (health_of(view, health)) }
            }
        }
    }
}

fn health_of(view: &View, health: &Health) -> Markup {
    html! {
        @if let Some(trouble) = &health.volume_trouble { p.notice.bad { (written(trouble)) } }
        dl.facts {
            dt { "Driver" } dd { (written(&health.driver)) @if let Some(version) = &health.driver_version { " " (written(version)) } }
            dt { "Confined by" } dd { @if health.isolation.is_empty() { "–" } @else { (written(&health.isolation)) } }
            dt { "Run" } dd { @if let Some(run) = &health.active_run { span.mono { (run) } } @else { "none" } }
            dt { "Repository" } dd { @if let Some(name) = &health.repository { (written(name)) } @else { "none" } }
            dt { "Reports waiting" } dd { (health.unreported_events) }
            @if let Some(at) = health.last_delivered_at { dt { "Last report" } dd { (when(at, view.now)) } }
            dt { "Free on its volume" } dd { (health.free_bytes / (1024 * 1024)) " MB" }
        }
    }
}

fn cancel(view: &View, shown: &Shown, path: &str) -> Markup {
    let going_on = shown.state.known().is_some_and(|state| state.phase != Phase::Idle || !state.arriving.is_empty());
    let cancel = html! {
        input type="hidden" name="order" value=(shown.order);
        button.danger { "Cancel the run" }
    };
    html! {
        @if going_on {
            (form(view, &format!("{path}/cancel"), &cancel))
            p.muted.small { "The run is stopped, its changes are rolled back, what waits is dropped, and the person is told that an operator did it." }
        } @else { p.muted { "Nothing goes on that could be cancelled." } }
    }
}

fn actions(view: &View, shown: &Shown) -> Markup {
    let path = format!("/admin/conversations/{}", shown.conversation);
    let forget = html! {
        label {
            span { "Type " code { (shown.confirmation) } " to erase this person" }
            input name="confirm" autocomplete="off" autocapitalize="none" spellcheck="false" required;
            span.hint {
                "The conversation, its files, pictures, history and dead letters are gone for good; with a machine of their own \
                 that as well. What Twilio keeps is erased by " code { "relay admin forget --twilio" } "."
            }
        }
        button.danger { "Forget" }
    };
    html! {
        div.card.stack {
            h2 { "Actions" }
            (live("cancel", &cancel(view, shown, &path)))
            details {
                summary.danger { "Forget this person…" }
                (form(view, &format!("{path}/forget"), &html! { div.stack { (forget) } }))
            }
        }
    }
}
