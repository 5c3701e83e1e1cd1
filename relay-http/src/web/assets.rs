//! What pages load: embedded in the program and named after its content, so that a browser may keep it for ever and is never
//! shown an old one by a new relay.
//!
//! While two versions of the relay run side by side, a page of one may ask the other for what that does not have. It can be read
//! without, and is right again when it is loaded again.

use std::sync::OnceLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::IntoResponse;
use sha2::{Digest, Sha256};

use crate::error::RequestError;

/// Digits of an address that stand for the content.
const HASH_CHARS: usize = 16;

/// The stylesheet of every page.
pub static CSS: Asset = Asset::new(
    "web",
    "css",
    concat!(
        include_str!("../../static/web.css"),
        include_str!("../../static/review.css"),
        include_str!("../../static/admin.css"),
        include_str!("../../static/worktree.css"),
        include_str!("../../static/run.css"),
    ),
);
/// What the review page does with a script.
pub static REVIEW: Asset = Asset::new("review", "js", include_str!("../../static/review.js"));
/// Keeps the control UI fresh.
pub static ADMIN: Asset = Asset::new("admin", "js", include_str!("../../static/admin.js"));
/// Adds what happens to the page of a run.
pub static RUN: Asset = Asset::new("run", "js", include_str!("../../static/run.js"));
/// What a browser shows beside a page's title.
pub static ICON: Asset = Asset::new("icon", "svg", include_str!("../../static/icon.svg"));

/// Everything that is served.
static ALL: [&Asset; 5] = [&CSS, &REVIEW, &ADMIN, &RUN, &ICON];

/// A text that pages load.
#[derive(Debug)]
pub struct Asset {
    name: &'static str,
    extension: &'static str,
    text: &'static str,
    file: OnceLock<String>,
}

impl Asset {
    const fn new(name: &'static str, extension: &'static str, text: &'static str) -> Self {
        Self { name, extension, text, file: OnceLock::new() }
    }

    /// Where it is, for as long as it is what it is.
    pub fn path(&self) -> String {
        format!("/assets/{}", self.file())
    }

    fn file(&self) -> &str {
        self.file.get_or_init(|| {
            let hash = hex::encode(Sha256::digest(self.text));
            format!("{}.{}.{}", self.name, &hash[..HASH_CHARS], self.extension)
        })
    }

    fn content_type(&self) -> &'static str {
        match self.extension {
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }
}

/// `GET /assets/{file}`: a name with another hash is of another version, and not here.
pub async fn serve(Path(file): Path<String>) -> Result<impl IntoResponse, RequestError> {
    let asset = ALL.into_iter().find(|asset| asset.file() == file).ok_or(RequestError::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, asset.content_type()),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, asset.text))
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use axum::routing::get;
    use tower::ServiceExt;
    use tower_http::compression::CompressionLayer;

    use super::*;

    async fn ask(path: &str, encoding: &str) -> (StatusCode, axum::http::HeaderMap, Vec<u8>) {
        let router = Router::new().route("/assets/{file}", get(serve)).layer(CompressionLayer::new());
        let request = Request::get(path).header(header::ACCEPT_ENCODING, encoding).body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, to_bytes(body, 1 << 20).await.unwrap().to_vec())
    }

    #[tokio::test]
    async fn an_asset_is_there_for_ever_under_the_name_of_its_content() {
        let (status, headers, body) = ask(&CSS.path(), "identity").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers[header::CONTENT_TYPE], "text/css; charset=utf-8");
        assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
        assert_eq!(body, CSS.text.as_bytes());
    }

    #[tokio::test]
    async fn it_is_compressed_for_whoever_takes_that() {
        let (_, headers, body) = ask(&CSS.path(), "gzip, br").await;
        assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
        assert!(body.len() < CSS.text.len() / 2, "{} bytes", body.len());
    }

    #[tokio::test]
    async fn another_hash_is_not_found() {
        for path in ["/assets/web.0000000000000000.css", "/assets/web.css", "/assets/..%2Fweb.css"] {
            assert_eq!(ask(path, "").await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn names_are_all_different_and_sayable() {
        let mut files: Vec<_> = ALL.iter().map(|asset| asset.file()).collect();
        assert!(files.iter().all(|file| file.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))));
        files.sort_unstable();
        files.dedup();
        assert_eq!(files.len(), ALL.len());
    }
}
