//! The pages of an invitation.

use axum::response::Response;
use maud::{Markup, html};

use super::layout;

/// How an invitation stands, for whoever opened it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It can be accepted, by a form that proves that this page was shown.
    #[expect(missing_docs, reason = "said above")]
    Open { form: String },
    /// A browser has accepted it, and this one may be that.
    #[expect(missing_docs, reason = "as above")]
    Accepted { form: String },
    /// Another browser has accepted it.
    Used,
    /// It counts no more, or never did.
    Ended,
    /// Another site's page has pressed the button.
    Elsewhere,
    /// A guest whom this browser belonged to may not come in any more.
    Left,
    /// This browser is no guest's any more, because its user wanted that.
    Gone,
}

const ASK: &str = "Ask whoever invited you for another one.";

/// The page of an invitation.
pub fn page(shown: &Shown) -> Response {
    let (heading, text) = match shown {
        Shown::Open { .. } => (
            "You are invited",
            "Write to a coding agent in your own words. You see it at work, then the diff, and decide what becomes of it.",
        ),
        Shown::Accepted { .. } => (
            "This invitation was accepted",
            "If that was in this browser, go on. In another one it can't be used again: ask for another invitation there.",
        ),
        Shown::Used => ("This invitation was used in another browser", ASK),
        Shown::Ended => ("This invitation does not count any more", ASK),
        Shown::Elsewhere => ("That did not come from this page", "Nothing was done. Open your invitation once more."),
        Shown::Left => ("Your invitation has ended", ASK),
        Shown::Gone => {
            ("This browser is signed out", "An invitation brings you back: ask whoever invited you for another one.")
        }
    };
    let body = html! {
        (layout::bar("Textslash", &html! {}))
        main.column.narrow {
            div.card.stack {
                h1 { (heading) }
                p { (text) }
                (button(shown))
            }
        }
    };
    layout::page(heading, None, &body)
}

/// Where the form goes is where it is.
fn button(shown: &Shown) -> Markup {
    html! {
        @match shown {
            Shown::Open { form } => {
                p.muted.small { "The invitation then works in this browser alone, for 30 days." }
                form.stack method="post" { (proof(form)) button.primary { "Open the console" } }
            }
            Shown::Accepted { form } => { form.stack method="post" { (proof(form)) button.primary { "Go on" } } }
            Shown::Left => { form.stack method="post" action="/console/leave" { button { "Sign out of this browser" } } }
            _ => {}
        }
    }
}

fn proof(form: &str) -> Markup {
    html! { input type="hidden" name="form" value=(form); }
}
