//! The page around the diff: what it is, what has become of it, and the buttons.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use maud::{Markup, html};
use relay_core::machine::event::VERDICT_CHARS_MAX;
use relay_core::protocol::review::ReviewIndex;

use super::diff::{badge, counts, files, grouped, path, sections};
use super::read::{PAGE_ROWS_MAX, Stretch, Subject};
use super::standing::{Standing, Told};
use crate::web::assets::REVIEW;
use crate::web::layout;

/// Of more files the list is closed at first.
const LISTED_OPEN_MAX: usize = 12;

/// What a page shows.
pub struct Shown<'a> {
    /// Its own link.
    pub signed: &'a str,
    /// What that names.
    pub subject: &'a Subject,
    /// The files.
    pub index: &'a ReviewIndex,
    /// The rows.
    pub stretch: &'a Stretch,
    /// What has become of it.
    pub standing: &'a Standing,
    /// Proves that a form came from this page.
    pub form: &'a str,
    /// What is to be said first.
    pub notice: Option<Notice>,
    /// What was written to the agent and could not be taken.
    pub draft: &'a str,
}

/// A page, or a part of one, that says one thing.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// In a few words.
    pub title: &'static str,
    /// In a sentence or two.
    pub detail: &'static str,
}

/// The whole page.
pub fn page(shown: &Shown<'_>) -> Markup {
    let told = shown.standing.told();
    html! {
        (layout::bar("Textslash", &html! { p.muted { "Run " (shown.subject.run.number()) } }))
        main.column.review data-signed=(shown.signed) data-state=(told.state) data-passing[shown.standing.is_passing()] {
            @if let Some(notice) = shown.notice {
                div.notice.warn role="alert" { strong { (notice.title) } p { (notice.detail) } }
            }
            @if !shown.standing.is_open() { (written(shown.draft)) }
            (summary(shown, &told))
            section #rows aria-label="Changes" {
                (earlier(shown.stretch))
                (sections(shown.signed, shown.index, shown.stretch))
            }
            @if shown.standing.is_open() { (answer(shown)) }
        }
    }
}

/// A whole page that says one thing, and gives back what was written.
pub fn notice(notice: Notice, text: &str) -> Markup {
    html! {
        (layout::bar("Textslash", &html! {}))
        main.column.narrow {
            section.card.stack { h1 { (notice.title) } p { (notice.detail) } }
            (written(text))
        }
    }
}

/// What was written and not taken, to be copied.
fn written(text: &str) -> Markup {
    html! {
        @if !text.trim().is_empty() {
            section.card.stack { label { "What you wrote" textarea readonly { (text) } } }
        }
    }
}

/// The page as it is sent.
pub fn answered(status: StatusCode, title: &str, body: &Markup) -> Response {
    let mut response = layout::page(title, Some(&REVIEW), body);
    *response.status_mut() = status;
    response.headers_mut().insert(HeaderName::from_static("x-robots-tag"), HeaderValue::from_static("noindex"));
    response
}

fn summary(shown: &Shown<'_>, told: &Told) -> Markup {
    let stat = &shown.index.stat;
    html! {
        section.card.stack {
            div.row {
                h1 { (grouped(stat.files)) @if stat.files == 1 { " file" } @else { " files" } " changed" }
                span.counts.end {
                    span.plus { "+" (grouped(stat.insertions)) } " " span.minus { "−" (grouped(stat.deletions)) }
                }
            }
            div #standing class={ "notice " (told.tone) } role="status" { (standing(told)) }
            @if shown.standing.is_passing() && !shown.standing.is_open() {
                noscript { p { a href="" { "Look again" } } }
            }
            details.files open[shown.index.files.len() <= LISTED_OPEN_MAX] {
                summary { "Files" }
                (list(shown.index, shown.stretch))
            }
        }
    }
}

fn standing(told: &Told) -> Markup {
    html! {
        strong { (told.title) }
        p { (super::signs::shown(&told.detail)) }
        @if let Some(link) = &told.link {
            p { a href=(link) rel="noreferrer noopener" { "Open the pull request" } }
        }
    }
}

fn list(index: &ReviewIndex, stretch: &Stretch) -> Markup {
    let here: Vec<usize> = files(index, stretch).map(|(number, _)| number).collect();
    html! {
        ol {
            @for (number, file) in index.files.iter().enumerate() {
                li {
                    // What is on another page is found by its first row there.
                    @if here.binary_search(&number).is_ok() {
                        a href={ "#f" (number) } { (path(&file.path)) }
                    } @else {
                        a href={ "?row=" (file.row) "#f" (number) } { (path(&file.path)) }
                    }
                    (badge(file.change))
                    (counts(file))
                }
            }
        }
    }
}

fn earlier(stretch: &Stretch) -> Markup {
    let rows = u32::try_from(PAGE_ROWS_MAX).unwrap_or(u32::MAX);
    html! {
        @if stretch.from > 0 {
            a.button.earlier href={ "?row=" (stretch.from.saturating_sub(rows)) "#rows" } {
                (grouped(stretch.from)) " rows come before"
            }
        }
    }
}

fn answer(shown: &Shown<'_>) -> Markup {
    let bound = html! {
        input type="hidden" name="tree" value=(shown.subject.tree);
        input type="hidden" name="form" value=(shown.form);
    };
    html! {
        section.answer aria-label="Your answer" {
            p #why hidden {}
            form method="post" action=(shown.signed) {
                (bound)
                button.primary name="verdict" value="approve" { "Approve" }
                button.danger name="verdict" value="reject" { "Reject" }
            }
            details.ask open[!shown.draft.is_empty()] {
                summary { "Ask for changes" }
                form.stack method="post" action=(shown.signed) {
                    (bound)
                    label {
                        "What should be different?"
                        textarea name="text" required maxlength=(VERDICT_CHARS_MAX) { (shown.draft) }
                    }
                    button.primary name="verdict" value="changes" { "Send to the agent" }
                }
            }
        }
    }
}
