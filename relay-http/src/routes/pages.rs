//! `GET /pages/{blob}` (and HEAD): a long text in full, for whoever knows its name, until it expires. No script, nothing from
//! elsewhere.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use relay_core::id::BlobId;

use crate::app::App;
use crate::clock;
use crate::error::RequestError;

/// How a page's text is kept; nothing else is shown as a page.
pub const CONTENT_TYPE: &str = "text/plain; charset=utf-8";
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Long lines break; code keeps its spaces.
const STYLE: &str = "body{margin:1rem;font:0.95rem/1.5 ui-monospace,monospace;color-scheme:light dark}\
    pre{margin:0;font:inherit;white-space:pre-wrap;overflow-wrap:anywhere}";

/// The page.
pub async fn serve(State(app): State<Arc<App>>, Path(blob): Path<String>) -> Result<Response, RequestError> {
    let id = BlobId::parse(blob).map_err(|_| RequestError::NotFound)?;
    let blob = app.store.blob(&id, clock::now()).await?;
    let blob = blob.filter(|blob| blob.content_type == CONTENT_TYPE).ok_or(RequestError::NotFound)?;
    let headers = [
        (header::CACHE_CONTROL, "private, no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    ];
    Ok((headers, Html(page(&String::from_utf8_lossy(&blob.bytes)))).into_response())
}

fn page(text: &str) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta name=robots content=noindex><title>Textslash</title><style>{STYLE}</style><pre>{}</pre></html>",
        escaped(text)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        let page = page("</pre><script>alert(1)</script> & \"more\"");
        assert!(page.contains("&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;"));
        assert_eq!(page.matches("<script").count(), 0);
    }
}
