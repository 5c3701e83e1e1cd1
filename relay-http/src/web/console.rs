//! The page on which a person talks with their agent. What is said is put into it by `static/console.js`.

use axum::response::Response;
use maud::{Markup, html};

use super::assets::CONSOLE;
use super::{layout, sign_in, worktree};
use crate::channels::console::conversations::Conversations;
use crate::channels::console::person::Person;
use crate::review::signs::shown;
use crate::routes::console::conversations;

/// What a conversation is called in which nothing was written yet.
const UNTITLED: &str = "New conversation";

/// What has an answer at once, whatever goes on.
const QUICK: [&str; 4] = ["status", "queue", "diff", "help"];
/// What the dialog offers first; the relay looks at what a file is, whatever it is called.
const ACCEPTED: &str = "image/jpeg,image/png,image/webp,image/gif,application/pdf,text/*,audio/*,.docx,.xlsx,.pptx";

/// What the page shows.
pub struct View {
    /// Which conversation.
    pub shown: u8,
    /// All of the person's.
    pub conversations: Conversations,
    /// Who looks at it.
    pub person: Person,
    /// Whether there is something to sign out of.
    pub may_leave: bool,
    /// Whether all conversations work on one VM.
    pub shares_vm: bool,
}

/// The page.
pub fn page(view: &View) -> Response {
    let title = view.conversations.iter().find(|(number, _)| *number == view.shown).map_or("", |(_, title)| title);
    let title = if title.is_empty() { UNTITLED } else { title };
    let body = html! {
        div.console data-address=(view.person.address(view.shown).name) {
            (layout::bar("Textslash", &html! {
                button #menu type="button" popovertarget="conversations" aria-label="Conversations" title="Conversations" {
                    (icon("M4 7h16M4 12h16M4 17h16"))
                }
                span #connection role="status" data-state="connecting" { "Connecting…" }
                a #files href=(worktree::top(view.shown)) { "Files" }
                button #cancel type="button" title="Stop the run and forget what waits" { "Cancel" }
            }))
            (list(view))
            p #notice role="alert" hidden {}
            main tabindex="0" aria-label="Conversation" { (conversation(view, title)) }
            footer {
                button.primary #newest type="button" hidden { "New messages ↓" }
                div.column { (composer()) }
            }
        }
    };
    layout::app(&format!("{title} · Textslash"), &CONSOLE, &body)
}

/// The person's conversations: beside the one that is shown, or over it where there is no room.
fn list(view: &View) -> Markup {
    let is_one = view.conversations.iter().count() == 1;
    html! {
        nav #conversations popover aria-label="Conversations" {
            form method="post" action={ "/console/conversations?conversation=" (view.shown) } {
                button #begin disabled[view.conversations.are_all(&view.person)] { "New conversation" }
            }
            ul {
                @for (number, title) in view.conversations.iter() {
                    li {
                        a href=(conversations::path(number)) aria-current=[(number == view.shown).then_some("page")] {
                            @if title.is_empty() { span.untitled { (UNTITLED) } } @else { span { (shown(title)) } }
                        }
                    }
                }
            }
            @if view.conversations.are_all(&view.person) {
                p.muted.small { "These are as many as there can be. Whoever runs this relay can erase one." }
            } @else if !is_one && view.shares_vm {
                p.muted.small { "All of them work on the same files, one at a time." }
            } @else if !is_one {
                p.muted.small { "Each of them works on a VM of its own." }
            }
            @if view.may_leave {
                form.leave method="post" action="/console/leave" { button { "Sign out" } }
            }
        }
    }
}

/// The form that asks for the token, and what is wrong with what was given.
pub fn sign_in(wrong: Option<&str>) -> Response {
    sign_in::page("Console", "/console/session", "CONSOLE_TOKEN", wrong)
}

fn conversation(view: &View, title: &str) -> Markup {
    html! {
        h1.unseen { (shown(title)) }
        div.column #log role="log" aria-live="polite" aria-label="Messages" aria-busy="true" {}
        div.column #welcome {
            span.mark aria-hidden="true" { "/" }
            h2 { "What should your agent do?" }
            p {
                "Write it in your own words. You see the agent at work, then the diff. "
                "Nothing is pushed until you approve it."
            }
        }
        noscript {
            div.column.stack {
                p.notice.warn {
                    "This conversation needs JavaScript. Allow it for this address, then load the page again."
                }
                p { "Without it you can read " a href=(worktree::top(view.shown)) { "the files of your worktree" } "." }
            }
        }
    }
}

fn composer() -> Markup {
    html! {
        div.chips role="group" aria-label="Quick questions" {
            @for word in QUICK { button type="button" value=(word) { (word) } }
        }
        ul #attached aria-label="Attached files" hidden {}
        form #form {
            button #attach type="button" aria-label="Attach files" title="Attach files" {
                (icon("m8 13 6.5-6.5a3 3 0 0 1 4.2 4.2l-8.5 8.6a5 5 0 0 1-7.1-7.1L11.5 4"))
            }
            input #chooser type="file" multiple hidden aria-label="Files" accept=(ACCEPTED);
            textarea #composer rows="1" placeholder="Write a message" aria-label="Message"
                aria-describedby="keys" enterkeyhint="send" autocomplete="off" {}
            button.primary #send type="submit" aria-label="Send" title="Send (Enter)" {
                (icon("M12 19V5M5.5 11.5 12 5l6.5 6.5"))
            }
        }
        p.unseen #told role="status" {}
        p #keys { "Enter sends, Shift+Enter starts a new line, ↑ brings back what you sent, Esc leaves." }
    }
}

fn icon(path: &str) -> Markup {
    html! { svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" { path d=(path) {} } }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::header;

    use super::*;
    use crate::channels::console::person::FIRST;

    #[tokio::test]
    async fn it_may_show_files_that_are_about_to_be_sent_and_says_what_to_do_without_a_script() {
        let view = View {
            shown: FIRST,
            conversations: Conversations::default(),
            person: Person::Owner,
            may_leave: false,
            shares_vm: true,
        };
        let response = page(&view);
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.contains("; img-src 'self' blob:; "), "{policy}");
        let text = String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
        assert_eq!(text.matches("<script").count(), 1, "{text}");
        assert!(text.contains("<noscript>") && text.contains("needs JavaScript"), "{text}");
    }
}
