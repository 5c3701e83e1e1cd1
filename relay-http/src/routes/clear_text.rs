//! What came in clear text to the edge in front of a relay whose address is an https one. An app's every port is public at Fly.io,
//! that for the VMs as well, where nothing is encrypted: there nothing is served but what is signed.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::callback;
use crate::app::App;
use crate::error::RequestError;

/// Around all routes.
pub async fn refuse(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_signed = request.extensions().get::<MatchedPath>().is_some_and(|path| path.as_str() == callback::ROUTE);
    let url = &app.config.public_url.url;
    if app.config.is_at_fly
        && url.scheme() == "https"
        && !is_signed
        && is_clear(request.headers(), url.port_or_known_default())
    {
        return RequestError::NotFound.into_response();
    }
    next.run(request).await
}

/// Whether the edge says so, or that another port was called than the world is to call. Who comes past the edge says neither: Fly.io's
/// own checks do, and whoever is in the private network.
fn is_clear(headers: &HeaderMap, public_port: Option<u16>) -> bool {
    let is_other = |name: &str, expected: &str| headers.get_all(name).iter().any(|value| value != expected);
    let port = public_port.map(|port| port.to_string()).unwrap_or_default();
    is_other("x-forwarded-proto", "https") || is_other("fly-forwarded-port", &port)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use axum::body::Body;
    use axum::http::{Method, StatusCode};
    use relay_core::store::sqlite::SqliteStore;
    use relay_core::telemetry::Identity;
    use relay_core::telemetry::metrics::Metrics;
    use tokio::sync::mpsc;
    use tower::ServiceExt;

    use super::*;
    use crate::config::Config;
    use crate::router::router;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const CLEAR: [(&str, &str); 2] = [("x-forwarded-proto", "http"), ("fly-forwarded-port", "3001")];
    const ENCRYPTED: [(&str, &str); 2] = [("x-forwarded-proto", "https"), ("fly-forwarded-port", "443")];

    async fn status(method: Method, path: &str, headers: &[(&'static str, &'static str)]) -> StatusCode {
        let settings = HashMap::from([
            ("RELAY_SECRET", SECRET),
            ("VM_SECRET", SECRET),
            ("VM_URL", "http://127.0.0.1:9"),
            ("PUBLIC_URL", "https://textslash-relay.fly.dev"),
            ("FLY_MACHINE_ID", "148e127db25198"),
            ("CONSOLE_TOKEN", SECRET),
            ("ADMIN_TOKEN", SECRET),
        ]);
        let config = Config::read(&settings).unwrap();
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let app = App::new(config, Metrics::new(&Identity::default()), store, mpsc::channel(1).0).unwrap();
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        router(Arc::new(app)).oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    }

    #[tokio::test]
    async fn in_clear_text_nothing_is_served_but_what_the_vm_signs() {
        let pages = [
            (Method::GET, "/console"),
            (Method::POST, "/console/session"),
            (Method::GET, "/admin"),
            (Method::POST, "/admin/session"),
            (Method::GET, "/r/anything"),
            (Method::GET, "/runs/c0ffee-1-1"),
            (Method::POST, "/webhook"),
            (Method::GET, "/health"),
        ];
        for (method, path) in pages {
            for clear in [&CLEAR[..], &CLEAR[..1], &CLEAR[1..]] {
                assert_eq!(status(method.clone(), path, clear).await, StatusCode::NOT_FOUND, "{path}");
            }
        }
        // It is looked at, and has no signature.
        assert_eq!(status(Method::POST, "/callback/c0ffee-1-1", &CLEAR).await, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn what_is_encrypted_is_served_and_so_is_fly_that_comes_past_its_edge() {
        for headers in [&ENCRYPTED[..], &[]] {
            assert_eq!(status(Method::GET, "/health", headers).await, StatusCode::OK);
            for path in ["/console", "/admin"] {
                assert_ne!(status(Method::GET, path, headers).await, StatusCode::NOT_FOUND, "{path}");
            }
        }
    }
}
