//! The frame of every page, and the headers that keep it to itself.

use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets::{Asset, CSS, ICON};

/// A page with `title`, of `body`. What `script` adds, the page can be read without.
pub fn page(title: &str, script: Option<&Asset>, body: &Markup) -> Response {
    framed(title, script, body, "", "")
}

/// A page that fills the window, of which a keyboard on the screen takes its part, and that is of no use without `script`, which
/// may show pictures that it has itself.
pub fn app(title: &str, script: &Asset, body: &Markup) -> Response {
    framed(title, Some(script), body, ", interactive-widget=resizes-content", " blob:")
}

fn framed(title: &str, script: Option<&Asset>, body: &Markup, viewport: &str, pictures: &str) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content={ "width=device-width, initial-scale=1" (viewport) };
                meta name="color-scheme" content="light dark";
                meta name="theme-color" content="#f5f6f4" media="(prefers-color-scheme: light)";
                meta name="theme-color" content="#0f1312" media="(prefers-color-scheme: dark)";
                meta name="robots" content="noindex";
                title { (title) }
                link rel="icon" href=(ICON.path());
                link rel="stylesheet" href=(CSS.path());
                @if let Some(script) = script {
                    script type="module" src=(script.path()) {}
                }
            }
            body { (body) }
        }
    };
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'{pictures}; connect-src 'self'; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Html(page.into_string())).into_response()
}

/// The bar at the top of a page: what this is, and where else one can go.
pub fn bar(name: &str, aside: &Markup) -> Markup {
    html! {
        header.bar {
            div.column {
                span.mark aria-hidden="true" { "/" }
                p.name { (name) }
                (aside)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn a_page_loads_nothing_from_elsewhere_and_text_stays_text() {
        let body = html! { (bar("<b>Textslash", &html! {})) main { "</main><script>alert(1)</script>" } };
        let response = page("</title><script>", None, &body);
        let headers = response.headers().clone();
        assert!(headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none'; "));
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let text = String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
        assert!(text.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{text}");
        assert_eq!(text.matches("<script").count(), 0, "{text}");
        assert!(text.contains("<title>&lt;/title&gt;&lt;script&gt;</title>"), "{text}");
        assert!(!text.contains("//"), "no address of another host: {text}");
    }
}
