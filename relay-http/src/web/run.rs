//! The page of a run: what has become of it, and what happened so far, entry by entry. What happens next is sent as rows of the same
//! making, so that there is one way in which an entry is shown.

use axum::response::Response;
use maud::{Markup, PreEscaped, html};
use relay_core::id::RunId;
use relay_core::machine::LogWhat;
use relay_core::protocol::Decision;
use relay_core::signs::is_deceptive;
use relay_core::store::Logged;
use relay_core::time::Timestamp;

use super::assets::RUN;
use super::instant::{exact, utc};
use super::{chat, layout};
use crate::review::signs;

pub use standing::Standing;

mod standing;

/// Entries of one page at most.
pub const ROWS_MAX: usize = 200;
/// Their HTML at most, but for that of the latest of them: what a phone loads stays small however much was said.
const ROWS_BYTES_MAX: usize = 40 * 1024;

/// What a page shows.
pub struct Shown<'a> {
    /// Which run.
    pub run: &'a RunId,
    /// The key that it was opened with.
    pub key: Option<&'a str>,
    /// What it is for, if that is still known.
    pub task: Option<&'a str>,
    /// The latest entries of the run, or those that come before some.
    pub entries: &'a [Logged],
    /// Whether there are earlier ones.
    pub has_earlier: bool,
    /// Whether there are none later.
    pub is_latest: bool,
    /// What has become of it.
    pub standing: Standing,
    /// How far the log was read.
    pub cursor: u64,
    /// The present.
    pub now: Timestamp,
}

/// The whole page.
pub fn page(shown: &Shown<'_>) -> Response {
    let (rows, left_out) = rows(shown.entries, shown.now);
    let has_earlier = shown.has_earlier || left_out > 0;
    let first = shown.entries.get(left_out).map_or(0, |logged| logged.cursor);
    let name = format!("Run {}", shown.run.number());
    let goes_on = shown.is_latest && !shown.standing.is_over();
    let body = html! {
        (layout::bar("Textslash", &html! { p.muted { (name) } }))
        main.column.run data-after=[goes_on.then_some(shown.cursor)] {
            h1.wrap { @if let Some(task) = shown.task { (signs::shown(task)) } @else { (name) } }
            (standing_of(&shown.standing))
            nav.row aria-label="Pages" {
                a.button #earlier href={ (query(shown.key)) "before=" (first) } hidden[!has_earlier] { "Earlier" }
                @if !shown.is_latest { a.button href=(query(shown.key)) { "Latest" } }
                @if goes_on { a.button #newest href="#live" { "Newest ↓" } }
            }
            @if rows.is_empty() { p.empty #nothing { "Nothing is kept of it, or not any more." } }
            ol #rows { @for row in &rows { (PreEscaped(row)) } }
            @if goes_on {
                p.live.muted.small #live { "This is how it was when the page was loaded. " a href=(query(shown.key)) { "Load it again" } }
            }
        }
    };
    layout::page(&name, Some(&RUN), &body)
}

/// Where the page is, up to what else is asked of it.
fn query(key: Option<&str>) -> String {
    key.map_or_else(|| "?".to_owned(), |key| format!("?key={key}&"))
}

/// The last of them for which there is room, in order, and how many come before.
fn rows(entries: &[Logged], now: Timestamp) -> (Vec<String>, usize) {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    for logged in entries.iter().rev() {
        let row = row(logged, now).into_string();
        bytes += row.len();
        if !rows.is_empty() && (bytes > ROWS_BYTES_MAX || rows.len() == ROWS_MAX) {
            break;
        }
        rows.push(row);
    }
    rows.reverse();
    let left_out = entries.len() - rows.len();
    (rows, left_out)
}

/// What a page that is open adds: the entry, and what has become of the run if that tells.
pub fn fragment(logged: &Logged, now: Timestamp) -> String {
    let standing = Standing::told_by(&logged.entry.what);
    html! { (row(logged, now)) @if let Some(standing) = standing { (standing_of(&standing)) } }.into_string()
}

fn standing_of(standing: &Standing) -> Markup {
    let told = standing.told();
    html! {
        section #standing class={ "notice " (told.tone) } role="status" data-over[standing.is_over()] {
            strong { (told.title) }
            p { (signs::shown(&told.detail)) @if let Some(link) = &told.link { " " (link_to(link)) } }
        }
    }
}

fn link_to(url: &str) -> Markup {
    html! { a href=(url) rel="noreferrer noopener" { "Open the pull request" } }
}

fn row(logged: &Logged, now: Timestamp) -> Markup {
    let (kind, who, what) = told(&logged.entry.what);
    html! {
        li.(kind) data-cursor=(logged.cursor) {
            p.who { b { (who) } " " (time(logged.at, now)) }
            div.what { (what) }
        }
    }
}

/// What kind of a row it is, whose doing, and what was done.
fn told(what: &LogWhat) -> (&'static str, &'static str, Markup) {
    match what {
        LogWhat::Asked { text } => ("asked", "Person", chat::shown(text)),
        LogWhat::Said { text } => ("said", "Textslash", chat::shown(text)),
        LogWhat::Begun { task } => ("step", "Textslash", html! { p { "begins: " (signs::shown(task)) } }),
        LogWhat::Started { driver } => ("step", "Agent", html! { p { "is up: " (signs::shown(driver)) } }),
        LogWhat::Progress { text } => ("step", "Agent", chat::shown(text)),
        LogWhat::Picture { blob, caption, document: true } => (
            "said",
            "Agent",
            html! { p { "📄 " a href={ "/images/" (blob) } { (named(caption, "A document")) } " (PDF)" } },
        ),
        LogWhat::Picture { blob, caption, document: false } => (
            "said",
            "Agent",
            html! {
                figure {
                    a href={ "/images/" (blob) } {
                        img src={ "/images/" (blob) } loading="lazy" alt=(alternative(caption));
                    }
                    @if !caption.is_empty() { figcaption { (chat::shown(caption)) } }
                }
            },
        ),
        LogWhat::Inquiry { text } => ("asks", "Agent asks", chat::shown(text)),
        LogWhat::Changes { stat, .. } => (
            "said",
            "Agent",
            html! {
                p {
                    "made a diff: " b { (stat.files) @if stat.files == 1 { " file" } @else { " files" } } " "
                    span.plus { "+" (stat.insertions) } " " span.minus { "−" (stat.deletions) }
                }
            },
        ),
        LogWhat::Decided { decision } => ("step", "Textslash", html! { p { (decided(*decision)) } }),
        LogWhat::Ended { ending } => {
            let standing = Standing::Ended(ending.clone());
            let told = standing.told();
            let ended = html! {
                p { strong { (told.title) } }
                p { (signs::shown(&told.detail)) @if let Some(link) = &told.link { " " (link_to(link)) } }
            };
            ("ended", "Over", ended)
        }
        LogWhat::Operator { action } => ("step", "Operator", html! { p { (signs::shown(action)) } }),
        LogWhat::Unknown => ("step", "Textslash", html! { p { "something that only a newer relay can tell" } }),
    }
}

fn decided(decision: Decision) -> &'static str {
    match decision {
        Decision::Approve => "approved; it is being published",
        Decision::Reject => "rejected; it is being rolled back",
        Decision::Park => "it is being parked: kept, and not published",
    }
}

fn named(caption: &str, otherwise: &'static str) -> Markup {
    if caption.is_empty() {
        html! { (otherwise) }
    } else {
        signs::shown(caption)
    }
}

/// What stands in the place of a picture that is not, or no longer, there.
fn alternative(caption: &str) -> String {
    match caption.is_empty() {
        true => "A picture of the agent's".to_owned(),
        false => caption.chars().filter(|sign| !is_deceptive(*sign)).collect(),
    }
}

/// In UTC: which zone the reader is in, a script knows.
fn time(at: Timestamp, now: Timestamp) -> Markup {
    let text = utc(at).map_or_else(String::new, |time| {
        let clock = format!("{:02}:{:02} UTC", time.hour(), time.minute());
        match utc(now) {
            Some(today) if today.date() != time.date() => format!("{} {:.3} {clock}", time.day(), time.month()),
            _ => clock,
        }
    });
    html! { time datetime=(exact(at, 'T', "Z")) title=(exact(at, ' ', " UTC")) { (text) } }
}

#[cfg(test)]
mod tests;
