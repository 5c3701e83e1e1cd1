//! The form before a part of the relay that is not for everybody.

use axum::response::Response;
use maud::html;

use super::layout;

/// The form before `part`, which sends its token to `action`: what the relay was started with as `variable`. `wrong` is what was
/// wrong with the last one.
pub fn page(part: &str, action: &str, variable: &str, wrong: Option<&str>) -> Response {
    let body = html! {
        (layout::bar("Textslash", &html! {}))
        main.column.narrow {
            form.card.stack method="post" action=(action) {
                h1 { (part) }
                @if let Some(wrong) = wrong { p.notice.bad role="alert" { (wrong) } }
                label {
                    "Token"
                    input type="password" name="token" autocomplete="current-password" required autofocus;
                    span.hint { "What the relay was started with as " code { (variable) } "." }
                }
                button.primary { "Sign in" }
            }
        }
    };
    layout::page("Sign in · Textslash", None, &body)
}
