//! The pages on which a worktree is looked into.

use axum::response::Response;
use maud::{Markup, PreEscaped, html};
use relay_core::protocol::worktree::{Directory, Entry, EntryKind};
use url::Url;

use super::layout;
use crate::channels::console::person::FIRST;
use crate::review::signs::{push, shown};
use crate::routes::console::conversations;

/// Of a text, so much is shown; all of it can be downloaded.
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Stands for the relay where an address is put together.
const ORIGIN: &str = "http://relay";

/// What there is to be shown.
#[derive(Debug)]
pub enum Shown<'a> {
    /// What is in a directory.
    Directory(&'a Directory),
    /// What is in a file.
    File(&'a [u8]),
    /// Nothing now, and why.
    Wait(&'a str),
    /// Nothing, and why.
    No(&'a str),
}

/// The page of what is at `path`, for whoever came from one of their conversations.
pub fn page(conversation: u8, path: &str, what: &Shown<'_>) -> Response {
    let aside = html! { a href=(conversations::path(conversation)) { "Conversation" } };
    let at = Place { conversation, path };
    let body = html! {
        (layout::bar("Textslash", &aside))
        main.column {
            (trail(at))
            @match what {
                Shown::Directory(directory) => { (list(at, directory)) }
                Shown::File(bytes) => { (file(at, bytes)) }
                Shown::Wait(why) => {
                    p.notice.warn role="status" { (why) }
                    p { a href=(at.address(path)) { "Try again" } }
                }
                Shown::No(why) => { p.notice.warn role="status" { (shown(why)) } }
            }
        }
    };
    layout::page(&format!("{} · Files", path.rsplit('/').next().unwrap_or_default()), None, &body)
}

/// Where the worktree of a conversation is shown.
pub fn top(conversation: u8) -> String {
    Place { conversation, path: "" }.address("")
}

/// A place in the worktree of a conversation.
#[derive(Clone, Copy)]
struct Place<'a> {
    conversation: u8,
    path: &'a str,
}

impl Place<'_> {
    /// Where `path` of the same worktree is shown.
    fn address(&self, path: &str) -> String {
        self.url(path).as_str()[ORIGIN.len()..].to_owned()
    }

    /// Where what is here can be downloaded.
    fn download(&self) -> String {
        let mut url = self.url(self.path);
        url.query_pairs_mut().append_pair("download", "1");
        url.as_str()[ORIGIN.len()..].to_owned()
    }

    fn url(&self, path: &str) -> Url {
        let mut url = Url::parse(ORIGIN).and_then(|url| url.join("/console/files")).expect("it is an address");
        url.path_segments_mut().expect("it has a path").extend(path.split('/').filter(|name| !name.is_empty()));
        if self.conversation != FIRST {
            url.query_pairs_mut().append_pair("conversation", &self.conversation.to_string());
        }
        url
    }
}

/// The way to a place, and back.
fn trail(at: Place<'_>) -> Markup {
    let names: Vec<&str> = at.path.split('/').filter(|name| !name.is_empty()).collect();
    html! {
        nav.trail aria-label="Where you are" {
            ol {
                @for depth in 0..=names.len() {
                    @let name = if depth == 0 { "Files" } else { names[depth - 1] };
                    li {
                        @if depth == names.len() { h1 aria-current="page" { (shown(name)) } }
                        @else { a href=(at.address(&names[..depth].join("/"))) { (shown(name)) } }
                    }
                }
            }
        }
    }
}

fn list(at: Place<'_>, directory: &Directory) -> Markup {
    html! {
        @if directory.entries.is_empty() { p.muted { "There is nothing in it." } } @else {
            ul.entries { @for entry in &directory.entries { (row(at, entry)) } }
        }
        @if directory.more { p.muted { "There is more in it than is listed here." } }
    }
}

fn row(at: Place<'_>, entry: &Entry) -> Markup {
    let at = at.address(&format!("{}/{}", at.path, entry.name));
    html! {
        li {
            @match entry.kind {
                EntryKind::Directory => { a.wrap href=(at) { (shown(&entry.name)) "/" } span.muted.small { "folder" } }
                EntryKind::File => {
                    a.wrap href=(at) { (shown(&entry.name)) }
                    span.muted.small.nowrap { (size(entry.bytes)) }
                }
                EntryKind::Link => { span.wrap { (shown(&entry.name)) } span.muted.small { "link, not followed" } }
                EntryKind::Other => { span.wrap { (shown(&entry.name)) } span.muted.small { "can't be read" } }
            }
        }
    }
}

fn file(at: Place<'_>, bytes: &[u8]) -> Markup {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    html! {
        p.row {
            a.button href=(at.download()) { "Download" }
            span.muted.small { (size(bytes.len() as u64)) }
        }
        @match text {
            Some("") => { p.muted { "The file is empty." } }
            Some(text) => {
                @let end = text.floor_char_boundary(TEXT_BYTES_MAX);
                @if end < text.len() { p.notice.warn { "This is the beginning. Download the file to read all of it." } }
                pre.file tabindex="0" role="region" aria-label="Text of the file" { (lines(&text[..end])) }
            }
            None => { p.muted { "This is not text, so it is not shown." } }
        }
    }
}

/// Each line in an element of its own, which the stylesheet numbers.
fn lines(text: &str) -> Markup {
    let mut html = String::with_capacity(text.len() * 5 / 4);
    for line in text.lines() {
        html.push_str("<span>");
        // A line that ends as on Windows is told apart from others.
        line.chars().for_each(|sign| push(&mut html, sign));
        html.push_str("</span>\n");
    }
    PreEscaped(html)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{} MB", bytes.div_ceil(1_000_000)),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn text(path: &str, what: Shown<'_>) -> String {
        let body = to_bytes(page(FIRST, path, &what).into_body(), 1 << 22).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn an_address_is_of_exactly_one_path() {
        let at = Place { conversation: FIRST, path: "a&b" };
        assert_eq!(at.address(""), "/console/files");
        assert_eq!(at.address("src/a b?#%.rs"), "/console/files/src/a%20b%3F%23%25.rs");
        assert_eq!(at.download(), "/console/files/a&b?download=1");
        let at = Place { conversation: 2, ..at };
        assert_eq!(at.address("src"), "/console/files/src?conversation=2");
        assert_eq!(at.download(), "/console/files/a&b?conversation=2&download=1");
    }

    #[tokio::test]
    async fn what_a_repository_holds_stays_text() {
        let name = "<img src=x onerror=alert(1)>\u{202e}";
        let entries = [EntryKind::Directory, EntryKind::File, EntryKind::Link, EntryKind::Other]
            .map(|kind| Entry { name: name.to_owned(), kind, bytes: 1 })
            .to_vec();
        let html = text(name, Shown::Directory(&Directory { entries, more: true })).await;
        assert_eq!(html.matches("<img").count(), 0, "{html}");
        assert_eq!(html.matches("U+202E").count(), 5, "{html}");
        assert_eq!(html.matches("href=\"/console/files/").count(), 2, "a link is not followed: {html}");
        let html = text("a", Shown::File("</pre><script>\x1b[31m\u{202e}".as_bytes())).await;
        assert!(html.contains("&lt;/pre&gt;&lt;script&gt;") && html.contains("^[</b>[31m") && html.contains("U+202E"));
        assert!(text("a", Shown::File(b"\0\x01")).await.contains("This is not text"));
        assert!(text("a", Shown::No("`<b>` is too large")).await.contains("&lt;b&gt;"));
    }

    #[tokio::test]
    async fn a_long_text_is_shown_in_part_and_says_so() {
        let long = "ä\n".repeat(TEXT_BYTES_MAX);
        let html = text("a", Shown::File(long.as_bytes())).await;
        assert!(html.contains("This is the beginning."));
        assert!(html.matches("<span>").count() <= TEXT_BYTES_MAX / 3 + 1);
    }
}
