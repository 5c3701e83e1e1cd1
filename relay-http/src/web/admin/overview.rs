//! All of it at a glance.

use axum::response::Response;
use maud::{Markup, html};
use relay_core::store::operators::Node;
use relay_core::store::{Activity, Survey};

use super::machines::node_rows;
use super::{Part, View, live, page, since, state};

/// What there is to see.
pub struct Sight {
    /// Counts.
    pub survey: Survey,
    /// The relays.
    pub nodes: Vec<Node>,
    /// What could be better, one sentence each.
    pub concerns: Vec<String>,
    /// Where the VMs are, in words.
    pub vms: String,
}

/// `/admin`
pub fn overview(view: &View, sight: &Sight) -> Response {
    let body = html! {
        h1 { "Overview" }
        (live("counts", &figures(view, sight)))
        (live("concerns", &concerns(&sight.concerns)))
        (live("busy", &busy(view, &sight.survey)))
        (live("relays", &html! {
            div.card {
                div.row { h2 { "Relays" } a.end href="/admin/machines" { "All machines" } }
                (node_rows(view, &sight.nodes))
            }
            div.card {
                h2 { "VMs" }
                p { (sight.vms) }
            }
        }))
    };
    page(view, Part::Overview, "Overview", &body)
}

fn figures(view: &View, sight: &Sight) -> Markup {
    let survey = &sight.survey;
    let count = |activity: Activity| survey.activities.get(&activity).map_or(0, |busy| busy.count);
    let awaiting = "/admin/approvals";
    html! {
        ul.figures {
            li { b { (survey.conversations) } a href="/admin/conversations" { "conversations" } }
            li { b { (count(Activity::Working)) } a href="/admin/conversations?state=working" { "at work" } }
            li { b { (count(Activity::AwaitingApproval)) } a href=(awaiting) { "await approval" } }
            li { b { (survey.dead_letters) } a href="/admin/letters" { "dead letters" } }
            li { b { (sight.nodes.len()) } a href="/admin/machines" { "relays" } }
            li {
                b { (survey.due) }
                span { "waiting for a relay" @if let Some(at) = survey.oldest_due_at { ", for " (since(at, view.now)) } }
            }
        }
    }
}

fn concerns(concerns: &[String]) -> Markup {
    html! {
        @if concerns.is_empty() {
            p.notice.good { "This relay has no concerns." }
        } @else {
            div.notice.warn {
                @if concerns.len() == 1 { p { (concerns[0]) } } @else {
                    ul { @for concern in concerns { li { (concern) } } }
                }
            }
        }
    }
}

fn busy(view: &View, survey: &Survey) -> Markup {
    html! {
        div.card {
            h2 { "What goes on" }
            @if survey.activities.is_empty() {
                p.empty { "Nothing goes on just now." }
            } @else {
                table {
                    thead { tr { th { "State" } th.number { "Count" } th.number { "Longest" } } }
                    tbody {
                        @for (activity, busy) in &survey.activities {
                            tr {
                                td { a href={ "/admin/conversations?state=" (activity.name()) } { (state(*activity)) } }
                                td.number { (busy.count) }
                                td.number { (since(busy.oldest_at, view.now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
