//! What pages load: embedded in the program and named after its content, so that a browser may keep it for ever and is never
//! shown an old one by a new relay.
//!
//! While two versions of the relay run side by side, a page of one may ask the other for what that does not have. It is given
//! what that has instead, to be used once: not every page can be used without.

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
        include_str!("../../static/console.css"),
    ),
);
/// What the review page does with a script.
pub static REVIEW: Asset = Asset::new("review", "js", include_str!("../../static/review.js"));
/// Keeps the control UI fresh.
pub static ADMIN: Asset = Asset::new("admin", "js", include_str!("../../static/admin.js"));
/// Adds what happens to the page of a run.
pub static RUN: Asset = Asset::new("run", "js", include_str!("../../static/run.js"));
/// The conversation itself: the console is of no use without.
pub static CONSOLE: Asset =
    Asset::importing("console", "js", include_str!("../../static/console.js"), &[&CONSOLE_FILES, &CONSOLE_TEXT]);
/// Files that are attached to a message of the console.
static CONSOLE_FILES: Asset =
    Asset::importing("console-files", "js", include_str!("../../static/console-files.js"), &[&CONSOLE_TEXT]);
/// How texts and code are shown in the console.
static CONSOLE_TEXT: Asset = Asset::new("console-text", "js", include_str!("../../static/console-text.js"));
/// What a browser shows beside a page's title.
pub static ICON: Asset = Asset::new("icon", "svg", include_str!("../../static/icon.svg"));

/// Everything that is served.
static ALL: [&Asset; 8] = [&CSS, &REVIEW, &ADMIN, &RUN, &CONSOLE, &CONSOLE_FILES, &CONSOLE_TEXT, &ICON];

/// A text that pages load.
#[derive(Debug)]
pub struct Asset {
    name: &'static str,
    extension: &'static str,
    written: &'static str,
    imports: &'static [&'static Self],
    text: OnceLock<String>,
    file: OnceLock<String>,
}

impl Asset {
    const fn new(name: &'static str, extension: &'static str, written: &'static str) -> Self {
        Self::importing(name, extension, written, &[])
    }

    /// A script that imports others of the same folder.
    const fn importing(
        name: &'static str,
        extension: &'static str,
        written: &'static str,
        imports: &'static [&'static Self],
    ) -> Self {
        Self { name, extension, written, imports, text: OnceLock::new(), file: OnceLock::new() }
    }

    /// Where it is, for as long as it is what it is.
    pub fn path(&self) -> String {
        format!("/assets/{}", self.file())
    }

    fn file(&self) -> &str {
        self.file.get_or_init(|| {
            let hash = hex::encode(Sha256::digest(self.text()));
            format!("{}.{}.{}", self.name, &hash[..HASH_CHARS], self.extension)
        })
    }

    /// As it is served: what it imports has the name of its content, too.
    fn text(&self) -> &str {
        self.text.get_or_init(|| {
            self.imports.iter().fold(self.written.to_owned(), |text, import| {
                let plain = format!("\"./{}.{}\"", import.name, import.extension);
                text.replace(&plain, &format!("\"./{}\"", import.file()))
            })
        })
    }

    /// Whether `file` is this one, of this version or of another.
    fn is_called(&self, file: &str) -> bool {
        let hash = file
            .strip_prefix(self.name)
            .and_then(|rest| rest.strip_suffix(self.extension))
            .and_then(|rest| rest.strip_prefix('.')?.strip_suffix('.'));
        hash.is_some_and(|hash| hash.len() == HASH_CHARS && hash.bytes().all(|digit| digit.is_ascii_hexdigit()))
    }

    fn content_type(&self) -> &'static str {
        match self.extension {
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        }
    }
}

/// `GET /assets/{file}`: to be kept for ever under the name of its content, and once only under that of another.
pub async fn serve(Path(file): Path<String>) -> Result<impl IntoResponse, RequestError> {
    let asset = ALL.into_iter().find(|asset| asset.is_called(&file)).ok_or(RequestError::NotFound)?;
    let kept = if asset.file() == file { "public, max-age=31536000, immutable" } else { "no-store" };
    let headers = [
        (header::CONTENT_TYPE, asset.content_type()),
        (header::CACHE_CONTROL, kept),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, asset.text()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::http::{Request, StatusCode};
    use axum::routing::get;
    use relay_core::signs::is_deceptive;
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
        assert_eq!(body, CSS.text().as_bytes());
    }

    #[tokio::test]
    async fn it_is_compressed_for_whoever_takes_that() {
        let (_, headers, body) = ask(&CSS.path(), "gzip, br").await;
        assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
        assert!(body.len() < CSS.text().len() / 2, "{} bytes", body.len());
    }

    #[tokio::test]
    async fn under_the_hash_of_another_version_it_is_served_and_not_kept() {
        let (status, headers, body) = ask("/assets/console.0123456789abcdef.js", "identity").await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(body, CONSOLE.text().as_bytes());
    }

    #[tokio::test]
    async fn any_other_name_is_not_found() {
        for file in ["web.css", "web.0000.css", "web.0123456789abcdex.css", "web.0123456789abcdef.js", "..%2Fweb.css"] {
            assert_eq!(ask(&format!("/assets/{file}"), "").await.0, StatusCode::NOT_FOUND, "{file}");
        }
    }

    #[tokio::test]
    async fn what_a_script_imports_is_there_for_ever_too() {
        for asset in ALL {
            for rest in asset.text().split(" from \"./").skip(1) {
                let file = rest.split('"').next().unwrap();
                let (status, headers, _) = ask(&format!("/assets/{file}"), "").await;
                assert_eq!(status, StatusCode::OK, "{file}");
                assert!(headers[header::CACHE_CONTROL].to_str().unwrap().ends_with("immutable"), "{file}");
            }
        }
        assert!(CONSOLE.text().contains(CONSOLE_FILES.file()));
    }

    #[test]
    fn the_console_writes_out_what_is_deceptive_and_nothing_else() {
        let class = CONSOLE_TEXT.text().split_once("const DECEPTIVE =").and_then(|(_, rest)| rest.split_once(']'));
        let (class, _) = class.expect("a class of signs");
        let mut written_out = BTreeSet::new();
        let mut from = None; // the first of a range whose last is still to come
        for sign in class.split("\\u{").skip(1) {
            let (code, after) = sign.split_once('}').expect("a sign by its code");
            let code = u32::from_str_radix(code, 16).expect("a code");
            match after {
                "-" => from = Some(code),
                "" => written_out.extend(from.take().unwrap_or(code)..=code),
                other => panic!("{other:?} stands for itself"),
            }
        }
        let deceptive = |sign: char| is_deceptive(sign) && !matches!(sign, '\t' | '\n');
        for sign in '\0'..=char::MAX {
            assert_eq!(written_out.contains(&u32::from(sign)), deceptive(sign), "{sign:?}");
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
